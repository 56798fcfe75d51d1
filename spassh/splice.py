"""Bytes from a socket into a pipe or back, inside the kernel: splice(2) of Linux."""

from __future__ import annotations

import errno
import os
from stat import S_ISFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Self

MOST: Final = 1 << 20
"""Most bytes of one call, and in a pipe that is busy. Linux grants as much to everyone,
unless /proc/sys/fs/pipe-max-size says otherwise."""

BUSY: Final = 1 << 14
"""Bytes of one call that are no keystrokes. A new pipe has room for 16 packets of the
network, which are more than this."""

UNSUPPORTED: Final = {errno.EINVAL, errno.ENOSYS, errno.EPERM}
"""A kernel without it, not for these two, and a sandbox that does not know it."""


class Splice:
    """One direction of a connection with a pipe at our end."""

    __slots__ = ("_grown", "_sink", "_source", "source_is_pipe")

    def __init__(self, source: int, sink: int, *, source_is_pipe: bool) -> None:
        """Move from `source` to `sink`, of which the other one is a socket."""
        self._source = source
        self._sink = sink
        self.source_is_pipe = source_is_pipe
        self._grown = False

    @classmethod
    def between(cls, source: int, sink: int) -> Self | None:
        """Return what moves bytes from one to the other, or None if nothing can."""
        if not hasattr(os, "splice"):
            return None  # This is not Linux.
        source_is_pipe, sink_is_pipe = (
            S_ISFIFO(os.fstat(fd).st_mode) for fd in (source, sink)
        )
        if not (source_is_pipe or sink_is_pipe):
            return None
        return cls(source, sink, source_is_pipe=source_is_pipe)

    def move(self) -> int:
        """Move what there is, as far as there is room; return how many bytes.

        Zero is the end of the source, or urgent data at the end of the connection,
        which splice(2) does not step over.

        Raises:
            OSError: as read(2) and write(2) would.
        """
        moved = os.splice(self._source, self._sink, MOST, flags=os.SPLICE_F_NONBLOCK)
        if moved >= BUSY and not self._grown:
            self._grow()
        return moved

    def is_of_sink(self, error: OSError) -> bool:
        """Tell which end has failed.

        A pipe knows one error, that nobody reads it. All others are the socket's.
        """
        return self.source_is_pipe or isinstance(error, BrokenPipeError)

    def _grow(self) -> None:
        """Enlarge the pipe, so that less is done more often.

        Not before it is worth it: all the pipes of a user share an allowance, and when
        it is used up, his next pipes hold next to nothing.
        """
        # Less than a millisecond, and not at the start of a session.
        import fcntl

        self._grown = True
        pipe = self._source if self.source_is_pipe else self._sink
        try:
            if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < MOST:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, MOST)
        except OSError:
            return  # The allowance is used up. It goes on more slowly.
