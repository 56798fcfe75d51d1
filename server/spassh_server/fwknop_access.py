"""The files of fwknopd, line by line: fwknopd.conf, access.conf and what they include.

Pure but for the two functions that read, which whoever calls this gives.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .toml import ConfigError

MAX_DEPTH: Final = 3
"""How deep files may include each other, as in fwknopd."""
MAX_FILES: Final = 256
"""How many are read, the same one again among them: one line includes a file, so three
files of 64 KiB could stand for 10^11 lines."""

_LINE = re.compile(r"\s*(\S+)(?:\s+([^;\r\n]*))?")


class Line(NamedTuple):
    """One variable where it is set."""

    path: str
    number: int
    name: str
    value: str

    @property
    def is_yes(self) -> bool:
        """Whether it switches something on."""
        return self.value.upper().startswith("Y")


class Files(NamedTuple):
    """How files and directories are read."""

    text: Callable[[str], str]
    """Returns what is in a file, or raises ConfigError."""
    names: Callable[[str], list[str]]
    """Returns the names in a directory, or raises ConfigError."""


Stanza = list[Line]
"""The lines from one SOURCE to the next."""


def read_lines(path: str, files: Files) -> list[Line]:
    """Return the lines of one file without its comments; nothing is included.

    Raises:
        ConfigError: it cannot be read.
    """
    found = []
    for number, text in enumerate(files.text(path).split("\n"), 1):
        match = _LINE.match(text)
        if match and not match[1].startswith(("#", ";")):
            name = match[1].rstrip(":;")
            found.append(Line(path, number, name, (match[2] or "").strip()))
    return found


def read_access(path: str, files: Files) -> tuple[list[Stanza], list[Line]]:
    """Return the stanzas of an access.conf, and lines that are in none.

    Raises:
        ConfigError: a file cannot be read, or includes go too deep.
    """
    stanzas: list[Stanza] = []
    outside: list[Line] = []
    for line in _included(path, files, 0, iter(range(MAX_FILES))):
        if line.name == "SOURCE":
            stanzas.append([line])
        elif stanzas:
            stanzas[-1].append(line)
        else:
            outside.append(line)
    return stanzas, outside


def _included(
    path: str, files: Files, depth: int, left: Iterator[int]
) -> Iterator[Line]:
    """Yield the lines of a file, and of others in the place where it includes them."""
    if next(left, None) is None:
        raise ConfigError(
            path,
            0,
            "",
            f"is more than the {MAX_FILES} files that are read",
            "import them in parts: a directory for each",
        )
    for line in read_lines(path, files):
        if not line.name.startswith("%include"):
            yield line
            continue
        if depth >= MAX_DEPTH:
            raise ConfigError(
                line.path,
                line.number,
                line.name,
                f"more than {MAX_DEPTH} files deep",
                "write what it includes here",
            )
        target = os.path.join(os.path.dirname(path), line.value)
        targets = [target]
        if line.name == "%include_folder":
            names = sorted(files.names(target))
            targets = [os.path.join(target, one) for one in names if _is_conf(one)]
        for one in targets:
            yield from _included(one, files, depth + 1, left)


def _is_conf(name: str) -> bool:
    return name.endswith(".conf")
