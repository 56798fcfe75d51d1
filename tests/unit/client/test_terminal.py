"""Questions at the terminal."""

import os
import pty
from collections.abc import Iterator

import pytest

from spassh.verbs import terminal
from spassh.verbs.terminal import ask_password, confirm


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of the terminal."""
    ours, theirs = pty.openpty()
    monkeypatch.setattr(terminal, "_TERMINAL", os.ttyname(theirs))
    yield ours
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("y\n", True),
        ("YES\n", True),
        ("\n", True),
        ("n\n", False),
        ("no\n", False),
        ("yesterday\n", False),
        ("\x04", False),
    ],
)
def test_yes_or_enter_is_yes_and_all_else_is_no(
    keyboard: int, typed: str, answer: bool
) -> None:
    os.write(keyboard, typed.encode())
    assert confirm("really?\x1b[2J") is answer
    # Before or behind the echo of what was typed.
    said = b""
    while b"[Y/n] " not in said:
        said += os.read(keyboard, 4096)
    assert b"really?\\x1b[2J [Y/n] " in said


def test_nobody_to_ask_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_TERMINAL", "/nowhere")
    assert confirm("really?") is None
    assert ask_password("password: ") is None
