"""Files that hold secrets or decide who gets in: read and written with care."""

import os
import stat

from .limits import MAX_FILE_BYTES
from .toml import ConfigError

# Whoever we are when this is imported. The listener becomes somebody else later on, and
# must not begin to believe what that account has written.
_OWNERS = frozenset({0, os.geteuid()})


def read_private(path: str, *, secret: bool) -> str:
    """Read a small text file that only its owner can have written.

    With `secret`, nobody else may have read it either.

    Raises:
        ConfigError: missing, not a regular file, too large, or open to others. The
            hint is the command that mends it.
    """
    try:
        # Not blocking: somebody may have put a named pipe there.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(path, 0, "", _lower(error), _remedy(error)) from error
    try:
        return read_open(fd, path, secret=secret)
    finally:
        os.close(fd)


def read_open(fd: int, path: str, *, secret: bool) -> str:
    """Do what `read_private` does with a file that is open already.

    Raises:
        ConfigError: as `read_private`.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(path, 0, "", "not a regular file", "replace it")
    if status.st_uid not in _OWNERS:
        raise ConfigError(
            path, 0, "", f"belongs to uid {status.st_uid}", f"chown root: {path}"
        )
    if secret:
        require_private(fd, path)
    if status.st_mode & 0o022:
        raise ConfigError(path, 0, "", "writable by others", f"chmod 644 {path}")
    try:
        data = _read_whole(fd)
    except OSError as error:
        raise ConfigError(
            path, 0, "", _lower(error), "see whether the disk is well"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(
            path, 0, "", f"larger than {MAX_FILE_BYTES} bytes", "replace it"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(path, line, "", "not UTF-8", "save it as UTF-8") from error


def _read_whole(fd: int) -> bytes:
    """Return all that is in a file, and of one that is too large a byte too much.

    A disk somewhere in the network may give it in pieces, and what limits a user may be
    in the last.
    """
    data = b""
    while piece := os.read(fd, MAX_FILE_BYTES + 1 - len(data)):
        data += piece
    return data


def require_private(fd: int, path: str) -> None:
    """See that nobody but its owner can read or write the open file.

    Raises:
        ConfigError: others can.
    """
    if os.fstat(fd).st_mode & 0o077:
        raise ConfigError(
            path, 0, "", "readable or writable by others", f"chmod 600 {path}"
        )


def write_new(path: str, text: str) -> None:
    """Write a file of mode 0600 whole or not at all; it must not exist yet.

    Raises:
        FileExistsError: it exists.
        OSError: it cannot be written.
    """
    temporary = _write_temporary(path, text)
    try:
        # A link, unlike a rename, fails when the name is taken.
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
    sync_directory(os.path.dirname(path) or ".")


def replace(path: str, text: str, *, like: os.stat_result | None = None) -> None:
    """Write a file whole or not at all, in the place of one that may exist.

    Args:
        path: where.
        text: what.
        like: whose mode, owner and group it gets; otherwise it is ours alone.

    Raises:
        OSError: it cannot be written.
    """
    temporary = _write_temporary(path, text, like)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path) or ".")


def _write_temporary(path: str, text: str, like: os.stat_result | None = None) -> str:
    temporary = f"{path}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if like is not None:
                # The owner first: a change of it may take bits out of the mode.
                os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, stat.S_IMODE(like.st_mode))
            os.fsync(fd)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lower(error: OSError) -> str:
    return (error.strerror or "cannot be opened").lower()


def _remedy(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "make it with 'spasshd init'"
    if isinstance(error, PermissionError):
        return "run this as root"
    return "see that the path is right"
