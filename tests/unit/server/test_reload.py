import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.server.parties import CONFIG, key, key_table

from spassh_server.limits import MAX_USER_FILES
from spassh_server.privsep import message
from spassh_server.privsep.message import Answer, ListUsers
from spassh_server.reload import Reload
from spassh_server.users import Users

NOBODY = Users([])
Hand = Callable[..., None]


class Directory:
    """users_dir, handed over as the granter does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reload = Reload(CONFIG._replace(users_dir=str(path)))
        self.replies: list[Any] = []

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        (self.path / f"{name}.toml").write_text(text)
        (self.path / f"{name}.toml").chmod(mode)

    def begin(self, *, reply: bool = False) -> int:
        data = self.reload.begin(self.replies.append if reply else None)
        wanted = message.decode_request(data)
        assert isinstance(wanted, ListUsers)
        return wanted.number

    def add(self, number: int, *names: str) -> None:
        for name in names or sorted(os.listdir(self.path)):
            fd = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK)
            self.reload.add(Answer(message.USER_FILE, number, name), [fd])
            os.close(fd)

    def end(self, number: int, before: Users = NOBODY) -> Users | None:
        return self.reload.end(Answer(message.USERS_END, number), before)

    def read(self, before: Users = NOBODY) -> Users:
        number = self.begin(reply=True)
        self.add(number)
        users = self.end(number, before)
        assert users is not None
        return users

    @property
    def errors(self) -> list[str]:
        """What the administrator was told last."""
        errors: list[str] = self.replies[-1]["errors"]
        return [error.removeprefix(f"{self.path}/") for error in errors]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_the_users_are_those_that_have_a_file(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    directory.write("bob", key_table(2))
    users = directory.read()
    assert sorted(users.by_name) == ["ada", "bob"]
    assert users.owner(key(2).public).name == "bob"
    assert directory.errors == []


def test_a_changed_file_changes_its_user(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    before = directory.read()
    directory.write("ada", "lifetime = 99\n" + key_table(2))
    after = directory.read(before)
    assert after.by_name["ada"].lifetime == 99
    assert after.by_name["ada"].keys == (key(2),)


def test_a_removed_file_removes_its_user(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    directory.write("bob", key_table(2))
    before = directory.read()
    (directory.path / "ada.toml").unlink()
    after = directory.read(before)
    assert list(after.by_name) == ["bob"]
    assert directory.errors == []


def break_text(directory: Directory) -> None:
    directory.write("ada", "nonsense")


def break_mode(directory: Directory) -> None:
    directory.write("ada", key_table(1), mode=0o644)


def break_encoding(directory: Directory) -> None:
    (directory.path / "ada.toml").write_bytes(b"\xff")


def break_kind(directory: Directory) -> None:
    (directory.path / "ada.toml").unlink()
    os.mkfifo(directory.path / "ada.toml", 0o600)


def break_size(directory: Directory) -> None:
    directory.write("ada", "#" * 70_000)


BREAKS = {
    "text": (break_text, "ada.toml:1: not valid TOML"),
    "mode": (break_mode, "ada.toml: readable or writable by others"),
    "encoding": (break_encoding, "ada.toml:1: not UTF-8"),
    "kind": (break_kind, "ada.toml: not a regular file"),
    "size": (break_size, "ada.toml: larger than"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_file_leaves_its_user_as_before(
    directory: Directory, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    breaking, error = BREAKS[kind]
    directory.write("ada", key_table(1))
    directory.write("bob", key_table(2))
    before = directory.read()
    breaking(directory)
    directory.write("bob", key_table(3))
    after = directory.read(before)
    assert after.by_name["ada"] is before.by_name["ada"]
    assert after.by_name["bob"].keys == (key(3),)
    assert [error] == [one[: len(error)] for one in directory.errors]
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_file_of_nobody_lets_nobody_in(
    directory: Directory, kind: str
) -> None:
    directory.write("ada", key_table(1))
    BREAKS[kind][0](directory)
    assert len(directory.read()) == 0
    assert len(directory.errors) == 1


def test_a_file_that_could_not_be_opened_leaves_its_user_as_before(
    directory: Directory,
) -> None:
    directory.write("ada", key_table(1))
    before = directory.read()
    number = directory.begin(reply=True)
    directory.reload.add(Answer(message.USER_FILE, number, "ada.toml"), [])
    after = directory.end(number, before)
    assert after is not None
    assert after.by_name["ada"] is before.by_name["ada"]
    assert directory.errors == ["ada.toml: cannot be opened"]


def test_a_descriptor_that_cannot_be_read_leaves_its_user_as_before(
    directory: Directory,
) -> None:
    directory.write("ada", key_table(1))
    before = directory.read()
    number = directory.begin(reply=True)
    fd = os.open(directory.path / "ada.toml", os.O_WRONLY)
    directory.reload.add(Answer(message.USER_FILE, number, "ada.toml"), [fd])
    os.close(fd)
    after = directory.end(number, before)
    assert after is not None
    assert after.by_name["ada"] is before.by_name["ada"]
    assert len(directory.errors) == 1


@pytest.mark.parametrize("name", [".toml", "-a.toml", "a b.toml"])
def test_a_file_with_no_users_name_is_reported(directory: Directory, name: str) -> None:
    directory.write(name.removesuffix(".toml"), key_table(1))
    assert len(directory.read()) == 0
    assert directory.errors[0].startswith(f"{name}: not a user name")


def test_a_key_of_two_users_is_reported(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    directory.write("bob", key_table(1))
    users = directory.read()
    assert directory.errors == ["bob.toml: key: belongs to ada already"]
    assert users.owner(key(1).public).name == "ada"


def test_a_newer_reload_replaces_one_that_is_under_way(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    before = directory.read()
    first = directory.begin()
    directory.add(first)
    directory.write("bob", key_table(2))
    (directory.path / "ada.toml").unlink()
    second = directory.begin()
    assert first != second
    # What the granter still answers to the first is of no account.
    directory.reload.add(Answer(message.USER_FILE, first, "ada.toml"), [])
    assert directory.end(first, before) is None
    directory.add(second)
    users = directory.end(second, before)
    assert users is not None
    assert list(users.by_name) == ["bob"]


def test_everybody_who_asked_is_answered_by_the_newest_reload(
    directory: Directory,
) -> None:
    directory.write("ada", "nonsense")
    first = directory.begin(reply=True)
    second = directory.begin(reply=True)
    assert directory.end(first) is None
    assert directory.replies == []
    directory.add(second)
    directory.end(second)
    assert len(directory.replies) == 2
    assert directory.replies[0] == directory.replies[1]
    assert len(directory.errors) == 1


def test_nobody_is_answered_twice(directory: Directory) -> None:
    number = directory.begin(reply=True)
    directory.end(number)
    number = directory.begin()
    directory.end(number)
    assert len(directory.replies) == 1


def test_an_answer_out_of_turn_does_not_end_a_reload(directory: Directory) -> None:
    number = directory.begin()
    assert directory.end(number + 1) is None
    assert directory.end(0) is None
    assert directory.end(number) is not None


def test_the_number_of_a_reload_fits_its_message(directory: Directory) -> None:
    directory.reload._number = 0xFFFFFFFF
    assert directory.begin() == 0


def test_only_so_many_files_are_kept(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_USER_FILES > 1000
    monkeypatch.setattr("spassh_server.reload.MAX_USER_FILES", 2)
    for number, name in enumerate("abc", 1):
        directory.write(name, key_table(number))
    assert list(directory.read().by_name) == ["a", "b"]
