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
    text = RIGHT.replace("0x400", "0x401").replace('"spassh-7"', '"../etc"')
    found = salvage(write(tmp_path, text))
    assert (found.firewall_name, found.mark) == ("spassh", DEFAULT_MARK)
    assert found.run_dir == "/run/elsewhere"


@pytest.mark.parametrize("mode", [0o666, None], ids=["others can write it", "gone"])
def test_a_file_that_cannot_be_believed_is_as_if_it_were_not_there(
    tmp_path: Path, mode: int | None
) -> None:
    path = write(tmp_path, RIGHT, mode or 0o600)
    if mode is None:
        (tmp_path / "spasshd.toml").unlink()
    found = salvage(path)
    assert (found.firewall_name, found.mark) == ("spassh", DEFAULT_MARK)
    assert found.run_dir == str(tmp_path / "run")


def test_the_file_that_has_no_other_name_has_its_usual_place_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(path: str, *, secret: bool) -> str:
        raise config.ConfigError(path, 0, "", "no such file or directory", "")

    monkeypatch.setattr("spassh_server.salvage.read_private", gone)
    found = salvage(DEFAULT_PATH)
    assert found.run_dir == "/run/spassh"
    assert found.firewall_name == "spassh"
