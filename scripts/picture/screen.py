"""What a program wrote to a terminal, as lines of text with their looks."""

import re
from typing import NamedTuple

_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")
_LOOKS = {1: "bold", 2: "dim", 31: "red", 32: "green", 33: "yellow"}


class Span(NamedTuple):
    """Text that looks the same all through."""

    text: str
    looks: tuple[str, ...]


def read_screen(output: str) -> list[list[Span]]:
    """Return the lines in `output`, each as spans.

    Raises:
        ValueError: it has an escape sequence that is none of colour.
    """
    lines: list[list[Span]] = [[]]
    looks: tuple[str, ...] = ()
    for text, codes in _pieces(output.replace("\r\n", "\n")):
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append([])
            if not all(one.isprintable() for one in part):
                raise ValueError(f"a line has more than colours: {part!r}")
            if part:
                lines[-1].append(Span(part, looks))
        for code in map(int, filter(None, codes.split(";"))):
            looks = (*looks, _LOOKS[code]) if code in _LOOKS else ()
    return lines if lines[-1] else lines[:-1]


def _pieces(output: str) -> list[tuple[str, str]]:
    """Cut `output` behind each escape sequence: text, and the codes that follow it."""
    words = [*_ESCAPE.split(output), ""]
    return list(zip(words[::2], words[1::2], strict=True))
