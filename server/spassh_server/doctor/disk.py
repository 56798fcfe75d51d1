"""The directory of the replay memory, and the disk that it is on."""

import os
import stat
from typing import NamedTuple


class Disk(NamedTuple):
    """A directory, or why there is none."""

    problem: str = ""
    is_missing: bool = False
    is_directory: bool = True
    """And no link to one: the daemon follows none."""
    uid: int = 0
    gid: int = 0
    mode: int = 0
    read_only: bool = False
    free: int = 0
    """Bytes that who is not root may still write."""
    files: int | None = None
    """How many files there may still be; None where there is no such limit."""


def look_at_disk(path: str) -> Disk:
    """Look at the directory `path`."""
    try:
        status = os.lstat(path)
        system = os.statvfs(path)
    except FileNotFoundError:
        return Disk(is_missing=True)
    except OSError as error:
        return Disk(problem=error.strerror or str(error))
    return Disk(
        is_directory=stat.S_ISDIR(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mode=stat.S_IMODE(status.st_mode),
        read_only=bool(system.f_flag & os.ST_RDONLY),
        free=system.f_bavail * system.f_frsize,
        files=system.f_favail if system.f_files else None,
    )
