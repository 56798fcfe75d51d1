"""Which line of ssh's configuration says how a host is reached.

ssh tells which files it reads and which blocks in them apply, but not whose line it has
taken. That is the first one with the value that it says it has.
"""

import os
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

MAX_BYTES: Final = 1 << 20
"""Most bytes of a file that are looked at."""

_READING: Final = re.compile(r"debug1: Reading configuration data (.+)")
_APPLYING: Final = re.compile(r"debug1: (.+) line ([0-9]{1,9}): Applying options for ")
_LINE: Final = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*")


class Place(NamedTuple):
    """A line of a file."""

    path: str
    number: int

    def __str__(self) -> str:
        """Say where it is."""
        return f"{self.path} line {self.number}"


def find_line(
    story: Iterable[str],
    keywords: Iterable[str],
    value: str,
    read: Callable[[str], str],
) -> Place | None:
    """Return the line with one of `keywords` and this `value`, or None.

    Args:
        story: what `ssh -v -G` tells.
        keywords: in small letters.
        value: what `ssh -G` says.
        read: returns the text of a file, and nothing if it cannot be read.
    """
    story = list(story)
    applied = {
        (match[1], int(match[2])) for match in map(_APPLYING.match, story) if match
    }
    paths = [match[1] for match in map(_READING.fullmatch, story) if match]
    wanted = set(keywords)
    for path in dict.fromkeys(paths):
        applies = True
        for number, line in enumerate(read(path).splitlines(), 1):
            match = _LINE.fullmatch(line)
            keyword = match[1].lower() if match else ""
            if keyword == "host":
                applies = (path, number) in applied
            elif keyword == "match":
                # ssh does not tell at this level; the value has to.
                applies = True
            elif match and keyword in wanted and applies and match[2] == value:
                return Place(path, number)
    return None


def read_config(path: str) -> str:
    """Return the text of a file that ssh has read, as far as it can be read."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
