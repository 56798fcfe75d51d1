"""Files that are written whole or not at all, and mostly for nobody else to read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import SpasshError, lower_reason


class TakenError(SpasshError):
    """There is a file of that name."""


def make_directory(path: str) -> None:
    """Make a directory for its owner alone, unless it is there.

    Raises:
        SpasshError: it cannot be made.
    """
    with _told(path):
        os.makedirs(path, mode=0o700, exist_ok=True)


def replace_file(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file, in the place of the one that may be there.

    Raises:
        SpasshError: it cannot be written; the old one is as it was.
    """
    # A link stays a link: people keep their settings elsewhere.
    target = os.path.realpath(path)
    with _told(path), _written(target, text, mode) as temporary:
        os.rename(temporary, target)


def create_file(path: str, text: str) -> None:
    """Write a file of mode 0600 that does not exist yet.

    Raises:
        TakenError: it does.
        SpasshError: it cannot be written.
    """
    with _told(path), _written(path, text) as temporary:
        try:
            # A link, unlike a rename, fails when the name is taken.
            os.link(temporary, path)
        except FileExistsError as error:
            raise TakenError(f"{path}: is there already") from error
        os.unlink(temporary)


@contextmanager
def _written(path: str, text: str, mode: int = 0o600) -> Iterator[str]:
    """Write `text` beside `path`; the caller moves it, and then it is durable."""
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, f".{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            if mode != 0o600:
                os.fchmod(fd, mode)
            os.fsync(fd)
        yield temporary
    except BaseException:
        os.unlink(temporary)
        raise
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what the system says into what we say."""
    try:
        yield
    except OSError as error:
        raise SpasshError(
            f"cannot write {path}: {lower_reason(error)}",
            "see that the directory is yours and that there is room",
        ) from error
