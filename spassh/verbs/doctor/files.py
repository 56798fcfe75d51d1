"""The files with secrets, and who else can write where they are."""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Place(NamedTuple):
    """A directory on the way to a file."""

    path: str
    uid: int
    mode: int

    @property
    def is_open(self) -> bool:
        """Whether others may put a file there, or take one away."""
        is_sticky = bool(self.mode & stat.S_ISVTX)
        return bool(self.mode & 0o022) and not is_sticky


def places(paths: Iterable[str]) -> list[Place]:
    """Return every directory on the way to `paths` that there is, the nearest first.

    Links are followed: where they lead is what counts.
    """
    found: dict[str, Place] = {}
    for path in paths:
        for directory in _above(os.path.realpath(path)):
            try:
                status = os.stat(directory)
            except OSError:
                continue
            mode = stat.S_IMODE(status.st_mode)
            found.setdefault(directory, Place(directory, status.st_uid, mode))
    return list(found.values())


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path
