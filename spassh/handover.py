"""Give the established socket to ssh: the socket itself, or every byte of it."""

import os
import select
import socket
from collections.abc import Callable
from stat import S_ISFIFO, S_ISSOCK
from typing import Final

from .errors import SpasshError, lower_reason

CHUNK: Final = 128 * 1024
"""Most bytes in flight in each direction: twice what a pipe holds."""

_STDIN = 0
_STDOUT = 1

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


def can_pass(stdout: int = _STDOUT) -> bool:
    """Tell whether standard output is a socket over which ssh may wait for another.

    With `ProxyUseFdpass yes` it is. Programs that read ssh_config and know no such
    thing give us pipes, and are served by the relay all the same.
    """
    if not S_ISSOCK(os.fstat(stdout).st_mode):
        return False
    with socket.socket(fileno=os.dup(stdout)) as sock:
        return sock.family == socket.AF_UNIX


def pass_socket(sock: socket.socket, stdout: int = _STDOUT) -> None:
    """Send the socket itself to ssh, which is done with us then.

    Raises:
        SpasshError: ssh is gone.
    """
    with socket.socket(fileno=os.dup(stdout)) as to_ssh:
        try:
            socket.send_fds(to_ssh, [b"\0"], [sock.fileno()])
        except OSError as error:
            raise SpasshError(f"ssh did not wait: {lower_reason(error)}") from error


def relay(sock: socket.socket, stdin: int = _STDIN, stdout: int = _STDOUT) -> None:
    """Copy both ways until both ends have ended, or until nobody reads `stdout`.

    Each direction ends by itself: the end of `stdin` is passed on as the end of our
    half of the connection, and the end of the connection closes `stdout`.

    Raises:
        SpasshError: the connection broke, or `stdout` takes no more. What came before
            has been written.
    """
    # Not blocking, or one direction could hold up the other. Terminals and files are
    # left alone: they are shared with the shell, and they do not stall.
    ours = [fd for fd in (stdin, stdout) if _can_stall(fd) and os.get_blocking(fd)]
    sock.setblocking(False)
    for fd in ours:
        os.set_blocking(fd, False)
    up = _Flow(stdin, sock.fileno(), lambda: sock.shutdown(socket.SHUT_WR))
    down = _Flow(sock.fileno(), stdout, lambda: _end_output(stdout))
    try:
        _copy(up, down)
    finally:
        for fd in ours:
            _make_blocking(fd)
    if down.read_error is not None:
        raise SpasshError(
            f"connection lost: {lower_reason(down.read_error)}",
            "log in again; if it happens often, set ServerAliveInterval in ssh_config",
        )
    # Without a reader there is nobody to complain to either.
    if down.write_error is not None and not isinstance(
        down.write_error, ConnectionError
    ):
        raise SpasshError(
            f"cannot write the output: {lower_reason(down.write_error)}",
            "see that there is room where standard output goes",
        )


class _Flow:
    """One direction. It reads only when all that was read before is written."""

    __slots__ = (
        "_end",
        "data",
        "over",
        "read_error",
        "sink",
        "source",
        "source_ended",
        "write_error",
    )

    def __init__(self, source: int, sink: int, end: Callable[[], None]) -> None:
        """Copy from `source` to `sink`; `end` tells the sink that there is no more."""
        self.source = source
        self.sink = sink
        self._end = end
        self.data = memoryview(b"")
        self.source_ended = False
        self.over = False
        self.read_error: OSError | None = None
        self.write_error: OSError | None = None

    def read(self) -> None:
        """Take what there is, and write as much of it as there is room for."""
        try:
            self.data = memoryview(os.read(self.source, CHUNK))
        except BlockingIOError:
            return
        except OSError as error:
            self.read_error = error
        self.source_ended = not self.data
        self.write()

    def write(self) -> None:
        """Write what is left, and end the sink after the last byte."""
        try:
            while self.data:
                self.data = self.data[os.write(self.sink, self.data) :]
            if self.source_ended:
                self.over = True
                self._end()
        except BlockingIOError:
            pass
        except OSError as error:
            self.write_error = error
            self.over = True

    @property
    def broken(self) -> bool:
        """Tell whether it did not simply end."""
        return self.read_error is not None or self.write_error is not None


def _copy(up: _Flow, down: _Flow) -> None:
    """Serve both flows until they are over, or until the output is in vain."""
    while not (up.over and down.over):
        poll = select.poll()
        for fd, events in _interests(up, down).items():
            poll.register(fd, events)
        ready = dict(poll.poll())
        # Nobody reads our output any more, or hears us after the connection's end.
        if ready.get(up.sink if down.over else down.sink, 0) & _GONE:
            return
        for flow in (up, down):
            if flow.over:
                continue
            if flow.data and flow.sink in ready:
                flow.write()
            elif not flow.data and flow.source in ready:
                flow.read()
        if down.broken:
            return


def _interests(up: _Flow, down: _Flow) -> dict[int, int]:
    """Return what to wait for, by descriptor. Errors and hang-ups always count."""
    events = {up.sink if down.over else down.sink: 0}
    for flow in (up, down):
        if flow.data and not flow.over:
            events[flow.sink] = events.get(flow.sink, 0) | select.POLLOUT
        elif not flow.over:
            events[flow.source] = events.get(flow.source, 0) | select.POLLIN
    return events


def _can_stall(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return S_ISFIFO(mode) or S_ISSOCK(mode)


def _end_output(fd: int) -> None:
    """Tell the reader that there is no more, whichever kind of descriptor it has."""
    if S_ISSOCK(os.fstat(fd).st_mode):
        # The same socket may be our standard input, which keeps it open.
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.shutdown(socket.SHUT_WR)
    os.close(fd)


def _make_blocking(fd: int) -> None:
    try:
        os.set_blocking(fd, True)
    except OSError:
        return  # It is our output, and it has been closed.
