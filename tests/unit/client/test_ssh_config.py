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
from spassh.verbs.ssh_config import BLOCK, include, includes, write_blocks

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


def ssh_says(config: Path, host: str) -> list[str]:
    ssh = shutil.which("ssh")
    assert ssh, "apt install openssh-client"
    argv = [ssh, "-G", "-F", str(config), host]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("before", BEFORE)
def test_ssh_goes_through_spassh_for_the_hosts_of_profiles_whatever_was_there(
    home: Home, config: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_config, "which", lambda _: "/usr/bin/spassh")
    home.profile("a.toml", hosts='["server", "*.site", "!www.site", "git@forge"]')
    home.profile("b.toml", hosts='["other", "!ann@*"]')
    home.profile("c.toml", hosts='["third"]').chmod(0o644)
    write(config, before)
    include(str(config), write_blocks(home.path))
    for host in ("server", "db.site", "forge", "other"):
        said = ssh_says(config, host)
        assert "proxyusefdpass yes" in said
        assert "proxycommand /usr/bin/spassh proxy --fdpass -- %h %p" in said
    assert config.read_text().startswith(before)


def test_nothing_changes_for_hosts_without_a_profile(home: Home, config: Path) -> None:
    """They may have a ProxyCommand of their own, which can pass no socket."""
    home.profile(hosts='["server", "*.site", "!www.site"]')
    write(config, "Host old\n    ProxyCommand nc %h %p\n")
    hosts = ("old", "www.site", "unrelated")
    before = [ssh_says(config, host) for host in hosts]
    include(str(config), write_blocks(home.path))
    assert [ssh_says(config, host) for host in hosts] == before


@pytest.mark.parametrize("letter", ['"', "\\", "*", "?", "[", "\n"])
def test_a_path_that_no_include_can_name_is_refused(
    tmp_path: Path, letter: str
) -> None:
    with pytest.raises(SpasshError, match="no Include can name"):
        write_blocks(str(tmp_path / f"a{letter}b"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("before", BEFORE)
def test_an_include_is_found_again(home: Home, config: Path, before: str) -> None:
    write(config, before)
    path = write_blocks(home.path)
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
        ("Include {path}\0", False),
        ("Include {path} \0other", False),
    ],
)
def test_an_include_is_found_in_every_spelling(
    home: Home, config: Path, line: str, is_ours: bool
) -> None:
    path = write_blocks(home.path)
    write(config, f"User ann\n{line.format(path=path)}\n")
    assert includes(str(config), path) is is_ours


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(
    home: Home, config: Path
) -> None:
    path = write_blocks(home.path)
    assert not includes(str(config), path)
    include(str(config), path)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert config.read_text() == (
        f"# Added by 'spassh enroll'.\nHost *\n    Include \"{path}\"\n"
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
    include(str(config), write_blocks(home.path))
    assert config.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert target.read_bytes().startswith(before)
    assert b"\nHost *\n    Include " in target.read_bytes()
    assert os.listdir(tmp_path / "dot-ssh") == ["config"]


def test_a_file_that_cannot_be_replaced_is_as_it_was(
    home: Home, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_blocks(home.path)
    write(config, "User ann\n")

    def rename(_: str, __: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(SpasshError, match=r"^cannot write "):
        include(str(config), path)
    assert config.read_text() == "User ann\n"
    assert os.listdir(config.parent) == ["config"]


def test_our_own_file_is_written_anew_for_the_profiles_that_there_are(
    home: Home,
) -> None:
    first = home.profile("a.toml", hosts='["one"]')
    path = Path(write_blocks(home.path))
    assert "\nHost one\n" in path.read_text()
    first.unlink()
    home.profile("b.toml", hosts='["two"]')
    assert write_blocks(home.path) == str(path)
    assert "\nHost two\n" in path.read_text()
    assert "Host one" not in path.read_text()


@pytest.mark.parametrize("name", ["my home", "o'b"])
def test_a_path_with_a_blank_or_a_quote_is_one_word(
    tmp_path: Path, config: Path, name: str
) -> None:
    home = Home(tmp_path / name)
    home.profile(hosts='["server"]')
    path = write_blocks(home.path)
    write(config, "")
    include(str(config), path)
    assert includes(str(config), path)
    assert "proxyusefdpass yes" in ssh_says(config, "server")


@pytest.mark.parametrize(
    ("found", "name", "command"),
    [
        (True, "sp%", "/spassh"),
        (False, "sp%", "'{home}/sp%%'"),
        # python -m spassh, which is no program.
        (False, "__main__.py", "spassh"),
    ],
)
def test_the_program_is_named_by_its_path(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: bool,
    name: str,
    command: str,
) -> None:
    """The next shell, cron or an editor may have another PATH."""
    Home(tmp_path).profile()
    (tmp_path / "sp%").touch(0o755)
    monkeypatch.setattr(ssh_config, "which", lambda _: "/spassh" if found else None)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / name)])
    text = Path(write_blocks(str(tmp_path))).read_text()
    program = command.format(home=tmp_path)
    assert f"    ProxyCommand {program} proxy --fdpass -- %h %p\n" in text
