import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.server.parties import CONFIG, key, key_table

from spassh_server.limits import MAX_TOLD_ERRORS, MAX_USER_FILES
from spassh_server.privsep import message
from spassh_server.privsep.message import Answer, ListUsers
from spassh_server.reload import Reload
from spassh_server.users import Users

NOBODY = Users([])
Hand = Callable[..., None]


class Directory:
    """users_dir, handed over as the granter does."""

    def __init__(self, path: Path) -> None:
        self.path = path / "users.d"
        self.path.mkdir()
        self.main = path / "spasshd.toml"
        self.write_main("")
        self.reload = Reload(
            CONFIG._replace(users_dir=str(self.path), path=str(self.main))
        )
        self.replies: list[Any] = []

    def write_main(self, text: str, mode: int = 0o600) -> None:
        self.main.write_text(text)
        self.main.chmod(mode)

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

    def add_main(self, number: int) -> None:
        fd = os.open(self.main, os.O_RDONLY)
        self.reload.add(Answer(message.MAIN_FILE, number), [fd])
        os.close(fd)

    def end(self, number: int, before: Users = NOBODY) -> Users | None:
        return self.reload.end(Answer(message.USERS_END, number), before)

    def read(self, before: Users = NOBODY) -> Users:
        number = self.begin(reply=True)
        self.add_main(number)
        self.add(number)
        users = self.end(number, before)
        assert users is not None
        return users

    @property
    def errors(self) -> list[str]:
        """What the administrator was told last."""
        errors: list[dict[str, str]] = self.replies[-1]["errors"]
        assert all(error.keys() == {"error", "hint"} for error in errors)
        return [
            error["error"].replace(f"{self.path}/", "").replace(f"{self.main}", "MAIN")
            for error in errors
        ]


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_the_users_are_those_that_have_a_file(directory: Directory) -> None:
    directory.write("ada", key_table(1))
    directory.write("bob", key_table(2))
    users = directory.read()
    assert sorted(users.by_name) == ["ada", "bob"]
    assert users.owner(key(2).public) == (key(2), users.by_name["bob"])
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


class TestADirectoryThatIsGone:
    """It is no empty one: that is how all are locked out at once."""

    @staticmethod
    def reload(directory: Directory, before: Users) -> Users:
        number = directory.begin(reply=True)
        directory.add_main(number)
        directory.reload.add(Answer(message.NO_USERS_DIR, number), [])
        users = directory.end(number, before)
        assert users is not None
        return users

    def test_keeps_its_users(
        self, directory: Directory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        directory.write("ada", key_table(1))
        directory.write("bob", key_table(2))
        before = directory.read()
        after = self.reload(directory, before)
        assert after.by_name == before.by_name
        assert after.owner(key(1).public) == (key(1), before.by_name["ada"])
        (told,) = directory.replies[-1]["errors"]
        assert told == {
            "error": f"{directory.path}: cannot be opened",
            "hint": "its users stay as before: see the log",
        }
        assert f"error: {directory.path}: cannot be opened" in capsys.readouterr().err

    def test_keeps_nobody_who_was_in_the_configuration_file(
        self, directory: Directory
    ) -> None:
        directory.write("ada", key_table(1))
        directory.write_main(in_main("eve", 2) + in_main("fay", 3))
        before = directory.read()
        directory.write_main(in_main("fay", 4))
        after = self.reload(directory, before)
        assert sorted(after.by_name) == ["ada", "fay"]
        assert after.by_name["fay"].keys == (key(4),)

    def test_has_no_say_when_it_is_there_again(self, directory: Directory) -> None:
        directory.write("ada", key_table(1))
        before = self.reload(directory, directory.read())
        (directory.path / "ada.toml").unlink()
        assert len(directory.read(before)) == 0
        assert directory.errors == []


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
    assert users.owner(key(1).public)[1].name == "ada"


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


def test_only_so_many_errors_are_told_and_all_are_logged(
    directory: Directory, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(MAX_TOLD_ERRORS + 5):
        directory.write(f"u{number}", "nonsense")
    directory.read()
    assert len(directory.errors) == MAX_TOLD_ERRORS
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == MAX_TOLD_ERRORS + 5


def in_main(name: str, number: int, line: str = "") -> str:
    """Spell a user of the configuration file."""
    table = key_table(number).replace("[[key]]", f"[[users.{name}.key]]")
    return f"[users.{name}]\n{line}\n{table}"


class TestTheConfigurationFile:
    def test_may_have_users(self, directory: Directory) -> None:
        directory.write_main(in_main("eve", 2, "lifetime = 99"))
        directory.write("ada", key_table(1))
        users = directory.read()
        assert sorted(users.by_name) == ["ada", "eve"]
        assert users.by_name["eve"].lifetime == 99
        assert directory.errors == []

    def test_that_lost_a_user_removes_the_user(self, directory: Directory) -> None:
        directory.write_main(in_main("eve", 2) + in_main("fay", 3))
        before = directory.read()
        directory.write_main(in_main("fay", 3))
        assert list(directory.read(before).by_name) == ["fay"]
        directory.write_main("")
        assert list(directory.read(before).by_name) == []
        assert directory.errors == []

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("nonsense", "MAIN:1: not valid TOML"),
            ("users = 3", "MAIN:1: users: "),
            ("#" * 70_000, "MAIN: larger than"),
        ],
    )
    def test_that_is_broken_keeps_its_users_and_no_others(
        self, directory: Directory, text: str, error: str
    ) -> None:
        directory.write_main(in_main("eve", 2))
        directory.write("ada", key_table(1))
        directory.write("bob", key_table(4))
        before = directory.read()
        directory.write_main(text)
        directory.write("ada", key_table(3))
        (directory.path / "bob.toml").unlink()
        for _ in range(2):
            after = directory.read(before)
            assert after.by_name["eve"] is before.by_name["eve"]
            assert sorted(after.by_name) == ["ada", "eve"]
            assert after.by_name["ada"].keys == (key(3),)
            assert [error] == [one[: len(error)] for one in directory.errors]
            before = after

    def test_that_others_can_read_keeps_its_users(self, directory: Directory) -> None:
        directory.write_main(in_main("eve", 2))
        before = directory.read()
        directory.write_main(in_main("eve", 3), mode=0o644)
        after = directory.read(before)
        assert after.by_name["eve"] is before.by_name["eve"]
        assert directory.errors == ["MAIN: readable or writable by others"]

    def test_without_users_may_be_read_by_others(self, directory: Directory) -> None:
        directory.write_main("lifetime = 10", mode=0o644)
        directory.read()
        assert directory.errors == []

    def test_that_could_not_be_opened_keeps_its_users(
        self, directory: Directory
    ) -> None:
        directory.write_main(in_main("eve", 2))
        before = directory.read()
        number = directory.begin(reply=True)
        directory.reload.add(Answer(message.MAIN_FILE, number), [])
        after = directory.end(number, before)
        assert after is not None
        assert after.by_name["eve"] is before.by_name["eve"]
        assert directory.errors == ["MAIN: cannot be opened"]

    def test_with_a_broken_user_keeps_that_one_and_takes_the_others_over(
        self, directory: Directory
    ) -> None:
        directory.write_main(in_main("eve", 2) + in_main("fay", 3))
        before = directory.read()
        directory.write_main(in_main("eve", 4, "ports = 3") + in_main("fay", 5))
        after = directory.read(before)
        assert after.by_name["eve"] is before.by_name["eve"]
        assert after.by_name["fay"].keys == (key(5),)
        (error,) = directory.errors
        assert error.startswith("MAIN:2: ")

    def test_has_a_say_before_a_file_of_the_same_user(
        self, directory: Directory
    ) -> None:
        directory.write_main(in_main("eve", 2))
        directory.write("eve", key_table(3))
        users = directory.read()
        assert users.by_name["eve"].keys == (key(2),)
        assert directory.errors == ["eve.toml: eve is in MAIN as well"]

    @pytest.mark.parametrize("known", [False, True])
    def test_has_it_even_if_the_user_is_broken_there(
        self, directory: Directory, known: bool
    ) -> None:
        """Nobody gets other permissions by a typing error."""
        directory.write_main(in_main("eve", 2))
        before = directory.read() if known else NOBODY
        directory.write_main(in_main("eve", 2, "prots = []"))
        directory.write("eve", key_table(3))
        for _ in range(2):
            users = directory.read(before)
            assert [*users.by_name] == ["eve"] * known
            assert len(directory.errors) == 2
            directory.write_main("nonsense")

    def test_that_is_broken_lets_a_file_of_the_same_user_in_no_more(
        self, directory: Directory
    ) -> None:
        directory.write_main(in_main("eve", 2))
        before = directory.read()
        directory.write_main("nonsense")
        directory.write("eve", key_table(3))
        users = directory.read(before)
        assert users.by_name["eve"].keys == (key(2),)

    def test_and_a_users_file_do_not_share_a_key(self, directory: Directory) -> None:
        directory.write_main(in_main("eve", 1) + in_main("fay", 1))
        directory.write("ada", key_table(1))
        users = directory.read()
        assert users.owner(key(1).public)[1].name == "eve"
        assert directory.errors == [
            "MAIN: key: belongs to eve already",
            "ada.toml: key: belongs to eve already",
        ]

    def test_of_an_older_reload_is_of_no_account(self, directory: Directory) -> None:
        first = directory.begin()
        directory.write_main(in_main("eve", 1))
        directory.begin()
        directory.add_main(first)
        users = directory.end(first + 1)
        assert users is not None
        assert len(users) == 0
