"""A disk that fails: stands for the module `os` inside `spassh_server.store`."""

import errno
import io
import os
from typing import Any


class KilledError(BaseException):
    """The program was killed at this call."""


class _File(io.FileIO):
    """A file whose writes reach the disk, or fail, or are cut off by a kill."""

    def __init__(self, disk: "Disk", fd: int) -> None:
        super().__init__(fd, "wb")
        self._disk = disk

    def write(self, data: Any) -> int:
        if self._disk.dead:
            # What a killed program had in its buffers is never written.
            return len(data)
        self._disk.enter("write to a new file")
        written: int | None = super().write(data)
        assert written is not None
        return written


class Disk:
    """Every call that the store makes; each can be told to fail, or to be the last."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._failing: dict[str, int] = {}
        self._left = -1
        self.dead = False
        self.short = False
        """Whether an append writes less than it was given."""

    def fail(self, *calls: str, error: int = errno.ENOSPC) -> None:
        """Let `calls` fail from now on."""
        self._failing |= dict.fromkeys(calls, error)

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._failing.clear()
        self.short = False

    def kill_after(self, calls: int) -> None:
        """Let so many calls succeed, and none after them."""
        self._left = calls

    def enter(self, call: str) -> None:
        """Count a call, and fail it if it is to fail."""
        if self._left == 0:
            self.dead = True
            raise KilledError(call)
        self._left -= 1
        if call in self._failing:
            raise OSError(self._failing[call], os.strerror(self._failing[call]))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, name: str, flags: int, mode: int, *, dir_fd: int) -> int:
        if flags & os.O_CREAT:
            self.enter("create")
        elif flags & os.O_APPEND:
            self.enter("open to append")
        else:
            self.enter("open to read")
        return os.open(name, flags, mode, dir_fd=dir_fd)

    def fdopen(self, fd: int, mode: str) -> Any:
        return (
            io.BufferedWriter(_File(self, fd)) if "w" in mode else os.fdopen(fd, mode)
        )

    def write(self, fd: int, data: bytes) -> int:
        self.enter("append")
        return os.write(fd, data[:10] if self.short else data)

    def fsync(self, fd: int) -> None:
        self.enter("sync the directory" if fd == self._directory else "sync a new file")
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        self.enter("sync")
        os.fdatasync(fd)

    def rename(self, old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self.enter("rename")
        os.rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self.enter("unlink")
        os.unlink(name, dir_fd=dir_fd)


WRITING = (
    "create",
    "open to append",
    "write to a new file",
    "append",
    "sync a new file",
    "sync the directory",
    "sync",
    "rename",
)
"""Every call that changes the file; `unlink`, which takes it away, is apart."""
