"""Which sockets that dial have their answer: poll(2), and select(2) on Windows."""

from __future__ import annotations

import _socket as socket
import errno
import select
from time import sleep

from .sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Answer: TypeAlias = "tuple[int, int]"
    """The descriptor of a socket, and its error: 0 if it is connected."""


def answers() -> Answers:
    """Return what this system can wait with."""
    return _Polled() if hasattr(select, "poll") else Answers()


class Answers:
    """Waits by select(2), which tells on Windows of a failure as an exception."""

    __slots__ = ("_socks",)

    def __init__(self) -> None:
        """Wait for none."""
        self._socks: dict[int, Socket] = {}

    def add(self, sock: Socket) -> None:
        """Wait for this one, too, which has begun to connect."""
        self._socks[sock.fileno()] = sock

    def remove(self, fd: int) -> None:
        """Wait for it no more."""
        del self._socks[fd]

    def wait(self, seconds: float) -> list[Answer]:
        """Wait so long for an answer, and return those that are there."""
        if not self._socks:
            # Windows refuses to wait for no socket at all.
            sleep(seconds)
            return []
        fds = list(self._socks)
        _, connected, failed = select.select([], fds, fds, seconds)
        found = [(fd, self._error(fd)) for fd in {*connected, *failed}]
        return [(fd, code) for fd, code in found if code or fd not in failed]

    def _error(self, fd: int) -> int:
        return self._socks[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


class _Polled(Answers):
    """Waits by poll(2)."""

    __slots__ = ("_poll",)

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()

    def add(self, sock: Socket) -> None:
        super().add(sock)
        self._poll.register(sock, select.POLLOUT)

    def remove(self, fd: int) -> None:
        super().remove(fd)
        self._poll.unregister(fd)

    def wait(self, seconds: float) -> list[Answer]:
        found = []
        for fd, event in self._poll.poll(1000 * seconds):
            code = self._error(fd)
            if not code and event & (select.POLLERR | select.POLLHUP):
                if not event & select.POLLHUP:
                    # Linux may say that there is an error before it says which: the
                    # next poll(2) returns at once, and then SO_ERROR has it.
                    continue
                code = errno.ECONNABORTED
            found.append((fd, code))
        return found
