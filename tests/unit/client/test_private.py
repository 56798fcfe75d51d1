import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spassh.errors import ProfileError
from spassh.private import MAX_FILE_BYTES, PrivateFile, config_home, shell_word


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("text\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_is_fit(path: Path, mode: int) -> None:
    path.chmod(mode)
    file = PrivateFile(str(path))
    file.check()
    assert file.text == "text\n"


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o666])
def test_a_file_that_others_can_use_in_any_way_is_not(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ProfileError) as caught:
        PrivateFile(str(path)).check()
    assert str(caught.value) == f"{path}: other users can read or change it"
    assert caught.value.hint == f"chmod 600 {path}"


def test_the_hint_mends_it_even_if_the_name_is_odd(tmp_path: Path) -> None:
    path = tmp_path / "it's $HOME; *"
    path.write_text("text\n")
    path.chmod(0o644)
    with pytest.raises(ProfileError) as caught:
        PrivateFile(str(path)).check()
    subprocess.run(["sh", "-c", caught.value.hint], check=True)
    PrivateFile(str(path)).check()


def test_a_file_of_another_user_is_not_fit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        owner = 12345
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ProfileError) as caught:
        PrivateFile(str(path)).check()
    assert str(caught.value) == f"{path}: belongs to another user, uid {owner}"
    assert caught.value.hint == f"chown {os.geteuid()} {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
def test_a_file_of_root_is_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PrivateFile(str(path))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    file.check()


def test_the_file_is_judged_that_was_read(path: Path) -> None:
    path.chmod(0o644)
    file = PrivateFile(str(path))
    path.chmod(0o600)
    with pytest.raises(ProfileError):
        file.check()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file_is_refused_at_once(path: Path, make: object) -> None:
    path.unlink()
    assert callable(make)
    make(path)
    with pytest.raises(ProfileError, match="not a regular file"):
        PrivateFile(str(path))


def test_the_largest_file_is_read_and_a_larger_one_is_not(path: Path) -> None:
    path.write_text("x" * MAX_FILE_BYTES)
    assert len(PrivateFile(str(path)).text) == MAX_FILE_BYTES
    path.write_text("x" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ProfileError, match="larger than 16384 bytes"):
        PrivateFile(str(path))


def test_a_file_that_comes_in_pieces_is_read_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lines of a profile may be what narrows it."""
    read = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: read(fd, min(size, 2)))
    file = PrivateFile(str(path))
    monkeypatch.undo()
    assert file.text == "text\n"


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        PrivateFile(f"{path}/below")
    assert str(caught.value) == f"{path}/below: cannot be read: not a directory"
    assert caught.value.hint == f"see whose it is with: ls -ld {path}/below"


def test_a_missing_file_is_another_matter(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PrivateFile(f"{path}.gone")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SPASSH_CONFIG_HOME": "/a"}, "/a"),
        ({"SPASSH_CONFIG_HOME": "/a", "XDG_CONFIG_HOME": "/b"}, "/a"),
        ({"SPASSH_CONFIG_HOME": "", "XDG_CONFIG_HOME": "/b"}, "/b/spassh"),
        ({"XDG_CONFIG_HOME": "/b"}, "/b/spassh"),
        ({"XDG_CONFIG_HOME": "relative"}, "/home/x/.config/spassh"),
        ({"XDG_CONFIG_HOME": ""}, "/home/x/.config/spassh"),
        ({}, "/home/x/.config/spassh"),
    ],
)
def test_where_the_profiles_are(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SPASSH_CONFIG_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/x")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert config_home() == expected


ELSEWHERE = {
    "darwin": "/home/x/Library/Application Support/spassh",
    "freebsd14": "/home/x/.config/spassh",
}


@pytest.fixture(params=ELSEWHERE)
def elsewhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Be on another system, and return where the profiles are there."""
    for name in ("SPASSH_CONFIG_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setattr(sys, "platform", request.param)

    def forget() -> None:
        # It looks where it is when it is loaded.
        for name in [one for one in sys.modules if one.startswith("platformdirs")]:
            del sys.modules[name]

    forget()
    yield ELSEWHERE[request.param]
    forget()


def test_on_other_systems_the_profiles_are_where_these_keep_them(
    elsewhere: str,
) -> None:
    assert config_home() == elsewhere


@pytest.mark.usefixtures("elsewhere")
def test_the_environment_names_their_place_on_every_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/b")
    assert config_home() == "/b/spassh"
    monkeypatch.setenv("SPASSH_CONFIG_HOME", "/a")
    assert config_home() == "/a"
    assert "platformdirs" not in sys.modules


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/home/x/.config/spassh/a-b_c.toml", "/home/x/.config/spassh/a-b_c.toml"),
        ("/home/two words", "'/home/two words'"),
        ("/it's", "'/it'\\''s'"),
        ("/é", "'/é'"),
        ("/", "'/'"),
    ],
)
def test_a_path_is_spelled_as_one_word(path: str, word: str) -> None:
    assert shell_word(path) == word
