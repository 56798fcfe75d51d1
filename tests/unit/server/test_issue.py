"""Invites that are sealed, or shown as a code: `user add` and `user rotate`."""

import builtins
import os
import pty
import select
import struct
import sys
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from unit.server.test_qr import scanned

from spassh.protocol.invite import decode_invite
from spassh.protocol.sealed_invite import decode_sealed, open_sealed
from spassh_server.limits import MIN_PASSPHRASE

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli
from spassh_server.verbs import issue

PASSPHRASE = "correct horse"  # noqa: S105 - of a test

Spasshd = Callable[..., tuple[int, str, str]]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "users.d"


@pytest.fixture
def spasshd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Spasshd:
    """Run a verb in this process."""
    path = str(tmp_path / "etc" / "spasshd.toml")

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", path])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert run("init", "--address", "server.example")[0] == 0
    return run


def typing(monkeypatch: pytest.MonkeyPatch, *typed: str | None) -> list[str]:
    """Answer at the terminal; return where the prompts are written down."""
    answers, prompts = iter(typed), list[str]()

    def ask(prompt: str) -> str | None:
        prompts.append(prompt)
        return next(answers)

    monkeypatch.setattr(issue, "ask_password", ask)
    return prompts


def test_a_passphrase_is_asked_for_twice_and_seals_the_invite(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = typing(monkeypatch, PASSPHRASE, PASSPHRASE)
    code, out, err = spasshd("user", "add", "ada", "--passphrase")
    assert (code, out.count("\n"), PASSPHRASE in err) == (0, 1, False)
    assert prompts == ["passphrase for the invite: ", "the same once more: "]
    invite = open_sealed(decode_sealed(out.strip()), PASSPHRASE)
    assert (invite.user, invite.address) == ("ada", "server.example")
    assert invite.secret


def test_no_two_invites_are_sealed_with_the_same_salt(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, *[PASSPHRASE] * 4)
    salts = {
        decode_sealed(spasshd("user", "add", name, "--passphrase")[1].strip()).salt
        for name in ("ada", "bob")
    }
    assert len(salts) == 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nsecond line\n"])
def test_a_passphrase_comes_from_the_first_line_of_a_file(
    spasshd: Spasshd, tmp_path: Path, end: str
) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(f" {PASSPHRASE} {end}".encode())
    file.chmod(0o600)
    assert spasshd("user", "add", "ada")[0] == 0
    code, out, _ = spasshd("user", "rotate", "ada", "--passphrase-file", str(file))
    assert code == 0
    assert open_sealed(decode_sealed(out.strip()), f" {PASSPHRASE} ").user == "ada"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([None], "--passphrase: there is no terminal to ask on"),
        ([PASSPHRASE, PASSPHRASE + "x"], "the two passphrases differ"),
        ([PASSPHRASE, None], "the two passphrases differ"),
        (["", ""], "a passphrase has 1 to 1024 bytes"),
        (["x" * 1025] * 2, "a passphrase has 1 to 1024 bytes"),
        (["\udcff" * 12] * 2, "a passphrase is text in UTF-8"),
        (
            ["x" * (MIN_PASSPHRASE - 1)] * 2,
            f"the passphrase is too short: it takes {MIN_PASSPHRASE} letters",
        ),
    ],
)
def test_without_a_good_passphrase_nothing_is_changed(
    spasshd: Spasshd,
    users: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str | None],
    message: str,
) -> None:
    typing(monkeypatch, *typed)
    code, out, err = spasshd("user", "add", "ada", "--passphrase")
    assert (code, out) == (1, "")
    assert err.startswith(f"spasshd: error: {message}\nspasshd: hint: ")
    assert os.listdir(users) == []


def test_a_shortest_passphrase_is_long_enough(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    typing(monkeypatch, *["x" * MIN_PASSPHRASE] * 2)
    assert spasshd("user", "add", "ada", "--passphrase")[0] == 0


def test_a_file_that_others_can_read_is_no_place_for_a_passphrase(
    spasshd: Spasshd, tmp_path: Path, users: Path
) -> None:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE)
    file.chmod(0o644)
    code, out, err = spasshd("user", "add", "ada", "--passphrase-file", str(file))
    assert (code, out) == (1, "")
    assert f"error: {file}: readable or writable by others\n" in err
    assert f"hint: chmod 600 {file}\n" in err
    file.unlink()
    code, out, err = spasshd("user", "add", "ada", "--passphrase-file", str(file))
    assert (code, out) == (1, "")
    assert f"error: {file}: no such file or directory\n" in err
    assert "hint: its first line is the passphrase\n" in err
    assert os.listdir(users) == []


def test_an_interruption_at_the_prompt_changes_nothing(
    spasshd: Spasshd, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(issue, "ask_password", interrupted)
    assert spasshd("user", "add", "ada", "--passphrase") == (130, "", "")
    assert os.listdir(users) == []


def test_a_machine_that_is_too_small_for_scrypt_says_so(
    spasshd: Spasshd, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> str:
        raise MemoryError

    typing(monkeypatch, PASSPHRASE, PASSPHRASE)
    monkeypatch.setattr(issue, "seal_invite", no_memory)
    code, out, err = spasshd("user", "add", "ada", "--passphrase")
    assert (code, out) == (1, "")
    assert "error: there is not enough memory for a passphrase\n" in err
    assert os.listdir(users) == []


def test_the_two_ways_to_give_a_passphrase_exclude_each_other(
    spasshd: Spasshd,
) -> None:
    with pytest.raises(SystemExit) as caught:
        spasshd("user", "add", "ada", "--passphrase", "--passphrase-file", "x")
    assert caught.value.code == 2


class Terminal:
    """What is shown on it."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.name = os.ttyname(theirs)
        self._ours = ours
        self._theirs = theirs

    def resize(self, columns: int) -> None:
        ioctl(self._theirs, TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))

    def shown(self) -> str:
        data = b""
        while select.select([self._ours], [], [], 0)[0]:
            data += os.read(self._ours, 65536)
        return data.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    made = Terminal(ours, theirs)
    monkeypatch.setattr(issue, "TERMINAL", made.name)
    yield made
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def _segno() -> None:
    pytest.importorskip("segno", reason="segno is not installed: scripts/test does it")


@pytest.mark.usefixtures("_segno")
@pytest.mark.parametrize("columns", [0, 80])
def test_a_code_on_the_terminal_is_the_invite_and_nowhere_else(
    spasshd: Spasshd, terminal: Terminal, tmp_path: Path, columns: int
) -> None:
    terminal.resize(columns)
    code, out, err = spasshd("user", "add", "ada", "--qr")
    assert (code, out.count("\n")) == (0, 1)
    assert decode_invite(out.strip()).user == "ada"
    assert scanned(terminal.shown(), tmp_path) == out.strip()
    assert "\u2588" not in out + err


@pytest.mark.usefixtures("_segno")
def test_a_sealed_invite_is_a_sealed_code(
    spasshd: Spasshd,
    terminal: Terminal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typing(monkeypatch, PASSPHRASE, PASSPHRASE)
    _, out, _ = spasshd("user", "add", "ada", "--qr", "--passphrase")
    assert out.startswith("spassh-sealed-1-")
    assert scanned(terminal.shown(), tmp_path) == out.strip()


@pytest.mark.usefixtures("_segno")
def test_a_terminal_that_is_too_narrow_is_told_before_anything_is_changed(
    spasshd: Spasshd, terminal: Terminal, users: Path
) -> None:
    terminal.resize(40)
    code, out, err = spasshd("user", "add", "ada", "--qr")
    assert (code, out, terminal.shown()) == (1, "", "")
    assert "error: --qr: the code takes " in err
    assert "columns of the terminal, which has 40\n" in err
    assert os.listdir(users) == []


def test_without_a_terminal_there_is_no_code_and_nothing_is_changed(
    spasshd: Spasshd, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard error may be a log, and the code is a secret."""
    monkeypatch.setattr(issue, "TERMINAL", "/nowhere/tty")
    code, out, err = spasshd("user", "add", "ada", "--qr")
    assert (code, out) == (1, "")
    assert "error: --qr: there is no terminal to show it on\n" in err
    assert os.listdir(users) == []


@pytest.mark.usefixtures("terminal")
def test_without_segno_nothing_is_changed(
    spasshd: Spasshd, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "segno":
            raise ImportError(name)
        return really(name, *rest)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "segno", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    code, out, err = spasshd("user", "add", "ada", "--qr")
    monkeypatch.undo()
    assert (code, out) == (1, "")
    assert err.startswith("spasshd: error: --qr: segno is not installed\n")
    assert "apt install python3-segno" in err
    assert os.listdir(users) == []
