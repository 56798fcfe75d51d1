"""What the granter hands to the listener, through a real socket."""

import os
import socket
from collections.abc import Callable, Iterator
from errno import ESTALE
from pathlib import Path
from typing import Any

import pytest
from unit.server.child import NOBODY, in_child, needs_root
from unit.server.parties import CONFIG

from spassh_server.privsep import handout as handout_module
from spassh_server.privsep import message
from spassh_server.privsep.handout import Handout
from spassh_server.privsep.message import Answer, decode_answer
from spassh_server.privsep.sandbox import keep_capabilities

Capture = pytest.CaptureFixture[str]
Files = list[tuple[Answer, bytes | None]]


class Hands:
    """Both ends of the socket, and a directory of users."""

    def __init__(self, path: Path) -> None:
        self.users = path / "users.d"
        self.users.mkdir()
        self.main = path / "spasshd.toml"
        self.main.write_text("main")
        self.socket, self.theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.socket.setblocking(False)
        settings = CONFIG._replace(users_dir=str(self.users), path=str(self.main))
        self.handout = Handout(settings)

    def everything(self, number: int = 7) -> Files:
        """Return each answer, with what its descriptor leads to."""
        self.handout.send(self.theirs, number)
        found: Files = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, message.SIZE + 1, 2)
            except BlockingIOError:
                return found
            assert len(fds) <= 1
            content = None
            for fd in fds:
                content = os.read(fd, 1000)
                os.close(fd)
            found.append((decode_answer(data), content))

    def user_files(self) -> dict[str, bytes | None]:
        """Return the users' files; see that the others are as they have to be."""
        first, *files, last = self.everything()
        assert first == (Answer(message.MAIN_FILE, 7), b"main")
        assert last == (Answer(message.USERS_END, 7), None)
        assert {(one.kind, one.number) for one, _ in files} <= {(message.USER_FILE, 7)}
        return {answer.name: content for answer, content in files}

    def close(self) -> None:
        self.socket.close()
        self.theirs.close()
        os.close(self.handout._directory)


@pytest.fixture
def hands(tmp_path: Path) -> Iterator[Hands]:
    made = Hands(tmp_path)
    yield made
    made.close()


def test_files_are_handed_over_open_the_configuration_first(hands: Hands) -> None:
    for name in ("bob", "ada"):
        (hands.users / f"{name}.toml").write_text(name)
        (hands.users / f"{name}.toml").chmod(0o600)
    assert hands.everything(5) == [
        (Answer(message.MAIN_FILE, 5), b"main"),
        (Answer(message.USER_FILE, 5, "ada.toml"), b"ada"),
        (Answer(message.USER_FILE, 5, "bob.toml"), b"bob"),
        (Answer(message.USERS_END, 5), None),
    ]


def test_files_are_handed_over_for_reading_alone(hands: Hands) -> None:
    (hands.users / "ada.toml").write_text("ada")
    hands.handout.send(hands.theirs, 7)
    for _ in range(2):
        _, (fd,), _, _ = socket.recv_fds(hands.socket, message.SIZE, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
        os.close(fd)


def test_files_are_looked_for_each_time(hands: Hands) -> None:
    assert hands.user_files() == {}
    (hands.users / "ada.toml").write_text("ada")
    assert hands.user_files() == {"ada.toml": b"ada"}
    (hands.users / "ada.toml").rename(hands.users / "bob.toml")
    assert hands.user_files() == {"bob.toml": b"ada"}


def test_a_configuration_that_was_replaced_is_the_new_one(hands: Hands) -> None:
    hands.everything()
    hands.main.unlink()
    hands.main.write_text("new")
    assert hands.everything()[0] == (Answer(message.MAIN_FILE, 7), b"new")


@pytest.mark.parametrize("kind", ["gone", "loop", "socket"])
def test_a_configuration_that_cannot_be_opened_is_announced_without_a_descriptor(
    hands: Hands, capsys: Capture, kind: str
) -> None:
    """So that the listener keeps the users that were in it."""
    hands.main.unlink()
    if kind == "loop":
        hands.main.symlink_to(hands.main)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(hands.main))
    (hands.users / "ada.toml").write_text("ada")
    assert hands.everything() == [
        (Answer(message.MAIN_FILE, 7), None),
        (Answer(message.USER_FILE, 7, "ada.toml"), b"ada"),
        (Answer(message.USERS_END, 7), None),
    ]
    assert f"error: {hands.main}: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ada", "ada.toml~", "ada.toml.123.tmp"])
def test_what_is_no_users_file_is_passed_over(
    hands: Hands, capsys: Capture, name: str
) -> None:
    (hands.users / name).touch()
    assert hands.user_files() == {}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["\u00e4.toml", "a" * 44 + ".toml"])
def test_names_that_fit_no_message_are_reported(
    hands: Hands, capsys: Capture, name: str
) -> None:
    """Who owns the file is locked out, and somebody should know why."""
    (hands.users / name).touch()
    assert hands.user_files() == {}
    line = f"error: {hands.users}: {name!a}: not the name of a user's file"
    assert line in capsys.readouterr().err.replace("\\\\", "\\")


def test_a_name_as_long_as_a_users_is_handed_over(hands: Hands) -> None:
    name = "a" * 32 + ".toml"
    (hands.users / name).touch()
    assert list(hands.user_files()) == [name]


def test_fifos_are_not_waited_for(hands: Hands) -> None:
    os.mkfifo(hands.users / "ada.toml")
    (hands.users / "bob.toml").write_text("bob")
    assert hands.user_files() == {"ada.toml": b"", "bob.toml": b"bob"}


def test_files_that_cannot_be_opened_are_announced_without_a_descriptor(
    hands: Hands, capsys: Capture
) -> None:
    """So the listener knows that they are there, and that it cannot read them."""
    (hands.users / "ada.toml").symlink_to("ada.toml")
    (hands.users / "bob.toml").write_text("bob")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(hands.users / "cat.toml"))
    files = hands.user_files()
    assert files == {"ada.toml": None, "bob.toml": b"bob", "cat.toml": None}
    assert "ada.toml: Too many levels of symbolic links" in capsys.readouterr().err


@needs_root
def test_files_that_root_without_its_powers_may_not_open_do_not_stop_it(
    hands: Hands,
) -> None:
    (hands.users / "ada.toml").write_text("ada")
    (hands.users / "ada.toml").chmod(0o600)
    os.chown(hands.users / "ada.toml", NOBODY, NOBODY)
    (hands.users / "bob.toml").write_text("bob")

    def work() -> dict[str, bytes | None]:
        keep_capabilities(frozenset())
        return hands.user_files()

    assert in_child(work) == {"ada.toml": None, "bob.toml": b"bob"}


def below_a_foreign_one(hands: Hands, path: Path, capsys: Capture) -> tuple[Any, str]:
    """Return what is handed over and said by a root that is not let in to `path`."""

    def work() -> tuple[list[tuple[int, str]], str]:
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)
        keep_capabilities(frozenset())
        told = [(answer.kind, answer.name) for answer, _ in hands.everything()]
        return told, capsys.readouterr().err

    try:
        return in_child(work)
    finally:
        os.chown(path, 0, 0)


@needs_root
def test_a_directory_below_one_of_somebody_else_stays_open(
    hands: Hands, tmp_path: Path, capsys: Capture
) -> None:
    """Root without its powers cannot come back to it, and need not."""
    (hands.users / "ada.toml").write_text("ada")
    told, said = below_a_foreign_one(hands, tmp_path, capsys)
    assert told[1] == (message.USER_FILE, "ada.toml")
    assert f"{hands.users}: " not in said


@needs_root
def test_a_directory_below_one_of_somebody_else_that_is_gone_is_not_an_empty_one(
    hands: Hands, tmp_path: Path, capsys: Capture
) -> None:
    hands.users.rmdir()
    told, said = below_a_foreign_one(hands, tmp_path, capsys)
    assert told[1] == (message.NO_USERS_DIR, "")
    assert f"{hands.users}: " in said


def test_a_bounded_number_of_files_is_handed_over(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(handout_module, "MAX_USER_FILES", 2)
    for name in "cab":
        (hands.users / f"{name}.toml").touch()
    assert list(hands.user_files()) == ["a.toml", "b.toml"]
    assert "only the first 2 files are read" in capsys.readouterr().err


def test_no_descriptor_stays_open(hands: Hands) -> None:
    (hands.users / "ada.toml").touch()
    (hands.users / "bob.toml").symlink_to("bob.toml")
    hands.everything()
    before = os.listdir("/proc/self/fd")
    hands.everything()
    assert len(before) == len(os.listdir("/proc/self/fd"))


def test_a_directory_that_was_replaced_is_found(hands: Hands, tmp_path: Path) -> None:
    (hands.users / "old.toml").touch()
    hands.everything()
    hands.users.rename(tmp_path / "old")
    hands.users.mkdir()
    (hands.users / "new.toml").touch()
    assert list(hands.user_files()) == ["new.toml"]


def remove(users: Path) -> None:
    users.rmdir()


def rename(users: Path) -> None:
    users.rename(users.parent / "elsewhere")


def replace_by_file(users: Path) -> None:
    users.rmdir()
    users.touch()


def replace_by_loop(users: Path) -> None:
    users.rmdir()
    users.symlink_to(users)


@pytest.mark.parametrize("lose", [remove, rename, replace_by_file, replace_by_loop])
def test_a_directory_that_is_gone_is_not_an_empty_one(
    hands: Hands, capsys: Capture, lose: Callable[[Path], None]
) -> None:
    """Else all of its users would be locked out, and nobody would be told."""
    lose(hands.users)
    assert hands.everything() == [
        (Answer(message.MAIN_FILE, 7), b"main"),
        (Answer(message.NO_USERS_DIR, 7), None),
        (Answer(message.USERS_END, 7), None),
    ]
    assert f"error: {hands.users}: " in capsys.readouterr().err


def test_a_directory_that_cannot_be_listed_is_not_an_empty_one(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Such as that of a file server which is away; it does not end the granter."""

    def fail(_: int) -> list[str]:
        raise OSError(ESTALE, os.strerror(ESTALE))

    monkeypatch.setattr("spassh_server.privsep.handout.os.listdir", fail)
    kinds = [answer.kind for answer, _ in hands.everything()]
    assert kinds == [message.MAIN_FILE, message.NO_USERS_DIR, message.USERS_END]
    assert f"error: {hands.users}: Stale file handle" in capsys.readouterr().err


def test_a_directory_that_is_there_again_is_read(hands: Hands) -> None:
    hands.users.rmdir()
    hands.everything()
    hands.users.mkdir()
    assert hands.user_files() == {}
    (hands.users / "ada.toml").write_text("ada")
    assert hands.user_files() == {"ada.toml": b"ada"}


def test_without_a_directory_there_is_nothing_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"users\.d"):
        Handout(CONFIG._replace(users_dir=str(tmp_path / "users.d")))
