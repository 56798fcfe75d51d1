"""The way back, whatever has become of the configuration."""

from pathlib import Path

import pytest

from spassh_server import config
from spassh_server.config import DEFAULT_MARK, DEFAULT_PATH
from spassh_server.salvage import salvage

RIGHT = """\
protect = ["tcp/22"]
firewall_name = "spassh-7"
mark = 0x400
run_dir = "/run/elsewhere"
"""


def write(directory: Path, text: str, mode: int = 0o644) -> str:
    path = directory / "spasshd.toml"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        RIGHT + "lifetme = 9\n",
        RIGHT.replace('protect = ["tcp/22"]', "protect = ["),
        RIGHT.replace('["tcp/22"]', '["tcp/ssh"]'),
        "= \n" + RIGHT,
        RIGHT + "[[forward]]\n" + "nonsense\n",
        RIGHT + "firewall_name = 7\n",
    ],
    ids=["right", "key", "bracket", "port", "no key", "table", "twice"],
)
def test_a_mistake_elsewhere_costs_nothing(tmp_path: Path, text: str) -> None:
    found = salvage(write(tmp_path, text))
    assert (found.firewall_name, found.mark) == ("spassh-7", 0x400)
    assert found.run_dir == "/run/elsewhere"


def test_what_is_broken_itself_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    found = salvage(write(tmp_path, RIGHT.replace("0x400", "0x401")))
    assert (found.firewall_name, found.mark) == ("spassh-7", DEFAULT_MARK)
    assert found.run_dir == "/run/elsewhere"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (RIGHT, 0o666),
        (RIGHT, None),
        (RIGHT.replace('"spassh-7"', '"../etc"'), 0o600),
        ("lifetme = 9\n", 0o600),
    ],
    ids=["others can write it", "gone", "another name", "no name"],
)
def test_the_rules_of_the_usual_file_are_not_taken_for_those_of_another(
    tmp_path: Path, text: str, mode: int | None
) -> None:
    """A typing error in --config must not open what another daemon guards."""
    path = write(tmp_path, text, mode or 0o600)
    if mode is None:
        (tmp_path / "spasshd.toml").unlink()
    with pytest.raises(config.ConfigError, match="firewall_name: cannot be read"):
        salvage(path)


def test_the_file_that_has_no_other_name_has_its_usual_place_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(path: str, *, secret: bool) -> str:
        raise config.ConfigError(path, 0, "", "no such file or directory", "")

    monkeypatch.setattr("spassh_server.salvage.read_private", gone)
    found = salvage(DEFAULT_PATH)
    assert found.run_dir == "/run/spassh"
    assert found.firewall_name == "spassh"
