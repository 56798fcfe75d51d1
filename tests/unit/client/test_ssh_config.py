"""What is written for ssh, and that ssh takes it as it is meant."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from unit.client.parties import Home

from spassh.errors import SpasshError
from spassh.verbs import ssh_config
from spassh.verbs.ssh_config import BLOCK, include, includes, write_block

EXAMPLE = Path(__file__).parents[3] / "contrib" / "ssh_config.example"

BEFORE = (
    "",
    "User ann",
    "User ann\n",
    "Host other\n    User bob\n",
    "Match host other\n    User bob",
    "Host *\n    User ann\n\nHost other !server\n    User bob\n",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "dot-ssh" / "config"


def write(config: Path, text: str | bytes, mode: int = 0o600) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_bytes(text.encode() if isinstance(text, str) else text)
    config.chmod(mode)


def test_the_block_is_that_of_the_example() -> None:
    lines = [line.split("#")[0].rstrip() for line in EXAMPLE.read_text().splitlines()]
    assert [line for line in lines if line] == BLOCK.splitlines()


@pytest.mark.parametrize("before", BEFORE)
def test_ssh_goes_through_spassh_for_every_host_whatever_was_there(
    home: Home, config: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_config, "which", lambda _: "/usr/bin/spassh")
    if not shutil.which("ssh"):
        pytest.skip("no ssh here")
    write(config, before)
    include(str(config), write_block(home.path))
    for host in ("server", "other"):
        said = subprocess.run(
            ["ssh", "-G", "-F", str(config), host],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        assert "proxyusefdpass yes" in said
        assert "proxycommand spassh proxy --fdpass -- %h %p" in said
    assert config.read_text().startswith(before)


@pytest.mark.parametrize("before", BEFORE)
def test_an_include_is_found_again(home: Home, config: Path, before: str) -> None:
    write(config, before)
    path = write_block(home.path)
    assert not includes(str(config), path)
    include(str(config), path)
    assert includes(str(config), path)


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("Include {path}", True),
        ("  include\t{path}", True),
        ("INCLUDE={path}", True),
        ('Include "{path}"', True),
        ("Include ../config/ssh_config", True),
        ("Include other {path} # why", True),
        ("# Include {path}", False),
        ("Include other", False),
        ("IncludeX {path}", False),
        ("Include {path}.old", False),
        ("Host {path}", False),
        ("Include '{path}", False),
        ("Include", False),
    ],
)
def test_an_include_is_found_in_every_spelling(
    home: Home, config: Path, line: str, is_ours: bool
) -> None:
    path = write_block(home.path)
    write(config, f"User ann\n{line.format(path=path)}\n")
    assert includes(str(config), path) is is_ours


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(
    home: Home, config: Path
) -> None:
    path = write_block(home.path)
    assert not includes(str(config), path)
    include(str(config), path)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert config.read_text() == (
        f"# Added by 'spassh enroll'.\nHost *\n    Include {path}\n"
    )


def test_a_link_its_target_s_mode_and_every_byte_stay(
    home: Home, config: Path, tmp_path: Path
) -> None:
    target = tmp_path / "kept"
    write(config, "")
    config.unlink()
    config.symlink_to(target)
    before = b"# caf\xe9 \xff\r\nUser ann\r\n"
    target.write_bytes(before)
    target.chmod(0o644)
    include(str(config), write_block(home.path))
    assert config.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert target.read_bytes().startswith(before)
    assert b"\nHost *\n    Include " in target.read_bytes()
    assert os.listdir(tmp_path / "dot-ssh") == ["config"]


def test_a_file_that_cannot_be_replaced_is_as_it_was(
    home: Home, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_block(home.path)
    write(config, "User ann\n")

    def rename(_: str, __: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(SpasshError, match=r"^cannot write "):
        include(str(config), path)
    assert config.read_text() == "User ann\n"
    assert os.listdir(config.parent) == ["config"]


def test_what_somebody_has_changed_in_our_own_file_stays(home: Home) -> None:
    path = write_block(home.path)
    Path(path).write_text("# mine\n")
    assert write_block(home.path) == path
    assert Path(path).read_text() == "# mine\n"


def test_a_path_with_a_blank_is_one_word(tmp_path: Path, config: Path) -> None:
    path = write_block(str(tmp_path / "my home"))
    include(str(config), path)
    assert includes(str(config), path)
    assert f'    Include "{path}"\n' in config.read_text()


@pytest.mark.parametrize(
    ("found", "name", "command"),
    [
        (True, "sp%", "spassh"),
        (False, "sp%", "'{home}/sp%%'"),
        # python -m spassh, which is no program.
        (False, "__main__.py", "spassh"),
    ],
)
def test_a_program_that_path_does_not_lead_to_is_named_by_its_path(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: bool,
    name: str,
    command: str,
) -> None:
    """Else no host at all could be reached any more."""
    (tmp_path / "sp%").touch(0o755)
    monkeypatch.setattr(ssh_config, "which", lambda _: "/spassh" if found else None)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / name)])
    text = Path(write_block(str(tmp_path))).read_text()
    program = command.format(home=tmp_path)
    assert f"    ProxyCommand {program} proxy --fdpass -- %h %p\n" in text
