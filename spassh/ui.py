"""What the user sees on standard error. Standard output belongs to the ssh stream."""

from __future__ import annotations

import os

from .errors import SpasshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

Tell: TypeAlias = "Callable[[str], None]"
"""Takes one sentence of the story that `-v` tells."""

_STDERR = 2


def printable(text: str) -> str:
    """Return `text` with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def write(text: str) -> None:
    """Write one line to standard error, if anybody is there to read it."""
    line = f"spassh: {printable(text)}\n"
    try:
        os.write(_STDERR, line.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # There is nowhere left to complain.


def show(error: SpasshError) -> None:
    """Write an error and its hint."""
    write(f"error: {error}")
    if error.hint:
        write(f"hint: {error.hint}")


def storyteller(clock: Callable[[], float], began: float) -> Tell:
    """Return what writes each sentence with the milliseconds since `began`."""

    def tell(sentence: str) -> None:
        write(f"{1000 * (clock() - began):6.1f} ms: {sentence}")

    return tell


def silent(_: str) -> None:
    """Tell nothing: the story without `-v`."""
