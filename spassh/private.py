"""Files that hold secrets: where they are, and whether they are fit to be used."""

from __future__ import annotations

import os
import sys
from stat import S_ISREG

from .errors import ProfileError, lower_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_FILE_BYTES: Final = 16 * 1024
"""Most bytes of a profile or a key file: a profile has less than one thousand."""

_OTHERS = 0o077

# Windows knows neither.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def config_home() -> str:
    """Return the directory of the profiles and of the client's own key.

    `SPASSH_CONFIG_HOME` names it, and `XDG_CONFIG_HOME` the directory that it is in;
    else it is where the system keeps such things.
    """
    chosen = os.environ.get("SPASSH_CONFIG_HOME", "")
    if chosen:
        return chosen
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification tells to ignore a base directory that is not absolute.
    if os.path.isabs(base):
        return os.path.join(base, "spassh")
    if sys.platform in {"darwin", "win32"}:
        # It takes 8 to 13 ms of a login, and only there (ADR 0008). Its directory for
        # configuration has moved on macOS between two versions, and that for data not.
        from platformdirs import user_data_dir

        return user_data_dir("spassh", appauthor=False)
    return os.path.expanduser("~/.config/spassh")


class PrivateFile:
    """A text file that was read, and whether it is as private as it must be.

    The two are apart so that a profile can tell which hosts it is for, even if others
    can read it: only the logins to those hosts are then refused.
    """

    __slots__ = ("_mode", "_owner", "path", "text")

    def __init__(self, path: str) -> None:
        """Read the file. Links are followed: people keep their settings elsewhere.

        Raises:
            FileNotFoundError: there is none.
            ProfileError: it cannot be read, or it is no small text file.
        """
        self.path = path
        try:
            # Not blocking: somebody may have put a named pipe there.
            fd = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
            try:
                status = os.fstat(fd)
                data = b""
                if S_ISREG(status.st_mode):
                    data = _read_whole(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ProfileError(
                path,
                f"cannot be read: {lower_reason(error)}",
                f"see whose it is with: ls -ld {shell_word(path)}",
            ) from error
        if not S_ISREG(status.st_mode):
            raise ProfileError(path, "not a regular file", "replace it by one")
        if len(data) > MAX_FILE_BYTES:
            raise ProfileError(
                path,
                f"larger than {MAX_FILE_BYTES} bytes",
                "import the invite again with 'spassh import --force'",
            )
        self._owner = status.st_uid
        self._mode = status.st_mode
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise ProfileError(
                path, f"not UTF-8 in line {line}", "save it as UTF-8"
            ) from error

    def check(self) -> None:
        """See that nobody else can have read or written it.

        Raises:
            ProfileError: somebody can. The hint is the command that mends it.
        """
        if sys.platform == "win32":
            return  # Owners and modes are no such thing there: a profile is private.
        # The same descriptor was asked that was read, so nobody can swap the file.
        if self._owner not in (0, os.geteuid()):
            raise ProfileError(
                self.path,
                f"belongs to another user, uid {self._owner}",
                f"chown {os.geteuid()} {shell_word(self.path)}",
            )
        if self._mode & _OTHERS:
            raise ProfileError(
                self.path,
                "other users can read or change it",
                f"chmod 600 {shell_word(self.path)}",
            )


def _read_whole(fd: int) -> bytes:
    """Return all that is in a file, which a disk of a network may give in pieces.

    Of one that is too large, it is a byte too much.
    """
    data = b""
    while piece := os.read(fd, MAX_FILE_BYTES + 1 - len(data)):
        data += piece
    return data


def shell_word(path: str) -> str:
    """Spell `path` as one word of a shell command that can be copied."""
    plain = path.replace("/", "").replace(".", "").replace("-", "").replace("_", "")
    if plain.isalnum() and plain.isascii():
        return path
    return "'" + path.replace("'", "'\\''") + "'"
