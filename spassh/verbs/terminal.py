"""Questions to whoever sits at the terminal, whatever standard input is."""

import os
from getpass import getpass
from typing import Final

from ..ui import printable

_TERMINAL: Final = "/dev/tty"


def confirm(question: str) -> bool | None:
    """Ask a question whose usual answer is yes; None if there is nobody to ask."""
    try:
        fd = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        os.write(fd, f"{printable(question)} [Y/n] ".encode())
        answer = os.read(fd, 256)
    finally:
        os.close(fd)
    # Nothing at all, not even a newline, is the end of the input.
    return answer.strip().lower() in {b"y", b"yes"} or answer in {b"\n", b"\r\n"}


def ask_password(prompt: str) -> str | None:
    """Ask for a password; None if there is nobody to ask."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        # getpass would take it from standard input, with the echo on.
        return None
    try:
        return getpass(printable(prompt))
    except EOFError:
        return ""
