"""Every byte of a connection, both ways: a loop around poll(2), without threads."""

from __future__ import annotations

import _socket as socket
import os
import select
from stat import S_ISFIFO, S_ISSOCK
from time import sleep

from .ends import CHUNK, Ending, breaks_connection, end_output
from .splice import BUSY, UNSUPPORTED, Splice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_GONE: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL

_NAP: Final = 0.0005
"""Seconds to let more of a stream come together: what costs is to be woken."""

_EASY: Final = 16
"""So many chunks in a row find the sink empty if its reader is faster than we are."""


def copy(sock: socket.socket, stdin: int, stdout: int) -> Ending:
    """Copy both ways until both ends have ended, or until nobody reads `stdout`.

    Each direction ends by itself: the end of `stdin` is passed on as the end of our
    half of the connection, and the end of the connection closes `stdout`. What came
    before an error has been written.
    """
    # Not blocking, or one direction could hold up the other. Terminals and files are
    # left alone: they are shared with the shell, and they do not stall.
    ours = [fd for fd in (stdin, stdout) if _can_stall(fd) and os.get_blocking(fd)]
    sock.setblocking(False)
    for fd in ours:
        os.set_blocking(fd, False)
    up = Flow(stdin, sock.fileno(), lambda: sock.shutdown(socket.SHUT_WR))
    down = Flow(sock.fileno(), stdout, lambda: end_output(stdout))
    try:
        _serve(up, down)
    finally:
        for fd in ours:
            _make_blocking(fd)
    return Ending(
        down.read_error or breaks_connection(up.write_error), down.write_error
    )


class Flow:
    """One direction. It takes only when all that it took before is given on.

    What comes from a pipe is spliced. What goes to one is copied as long as its reader
    is slower than we are, for then nothing is won: ssh takes all that it finds in the
    pipe, and gets slow where that is more than a chunk (ADR 0020).
    """

    __slots__ = (
        "_easy",
        "_end",
        "_held",
        "_moved",
        "_source_ended",
        "_splice",
        "_splices",
        "full",
        "over",
        "read_error",
        "sink",
        "source",
        "write_error",
    )

    def __init__(self, source: int, sink: int, end: Callable[[], None]) -> None:
        """Copy from `source` to `sink`; `end` tells the sink that there is no more."""
        self.source = source
        self.sink = sink
        self._end = end
        self._splice = Splice.between(source, sink)
        self._splices = self._splice is not None and self._splice.source_is_pipe
        self._easy = 0
        self._moved = 0
        self._held = memoryview(b"")
        self._source_ended = False
        self.full = False
        """It waits for the sink, and not for the source."""
        self.over = False
        self.read_error: OSError | None = None
        self.write_error: OSError | None = None

    def advance(self) -> None:
        """Move on what can be moved at once, after the wait."""
        self._moved = 0
        if self._held:
            self._write()
        elif not (self._splices and self._splice and self._move(self._splice)):
            self._read()

    @property
    def awaited(self) -> tuple[int, int]:
        """The descriptor and the event to wait for."""
        if self.full:
            return self.sink, select.POLLOUT
        return self.source, select.POLLIN

    def is_due(self, ready: dict[int, int]) -> bool:
        """Tell whether what it waits for has happened, by the events of descriptors."""
        fd, event = self.awaited
        return not self.over and bool(ready.get(fd, 0) & (event | _GONE))

    @property
    def streams(self) -> bool:
        """Tell whether there was more than keystrokes, and less than there could be."""
        return BUSY <= self._moved < CHUNK and not self.full

    @property
    def broken(self) -> bool:
        """Tell whether it did not simply end."""
        return self.read_error is not None or self.write_error is not None

    def _move(self, splice: Splice) -> bool:
        """Let the kernel move bytes; tell whether that is all for now."""
        try:
            moved = splice.move()
        except BlockingIOError:
            # It does not tell which of the two is to blame, so we wait for one and then
            # for the other. If neither is, it met urgent data, which read(2) passes.
            self.full = not self.full
            return self.full
        except OSError as error:
            self.full = False
            if error.errno in UNSUPPORTED:
                self._splice = None
                return False
            if splice.is_of_sink(error):
                self.write_error = error
                self.over = True
            else:
                self.read_error = error
                self._source_ended = True
                self._write()
            return True
        self.full = False
        self._moved = moved
        # What looks like the end is one if read(2) agrees.
        return moved > 0

    def _read(self) -> None:
        """Take what there is, and write as much of it as there is room for."""
        try:
            self._held = memoryview(os.read(self.source, CHUNK))
        except BlockingIOError:
            return
        except OSError as error:
            self.read_error = error
        self._moved = len(self._held)
        self._source_ended = not self._held
        self._write()
        is_easy = self._moved == CHUNK and not self._held
        self._easy = self._easy + 1 if is_easy else 0
        self._splices = self._splices or self._easy >= _EASY

    def _write(self) -> None:
        """Write what is left, and end the sink after the last byte."""
        try:
            while self._held:
                self._held = self._held[os.write(self.sink, self._held) :]
            if self._source_ended:
                self.over = True
                self._end()
        except BlockingIOError:
            pass
        except OSError as error:
            self.write_error = error
            self.over = True
        self.full = len(self._held) > 0


def _serve(up: Flow, down: Flow) -> None:
    """Serve both flows until they are over, or until the output is in vain."""
    # macOS reports the hang-up of a pipe to those only who ask for it. Of a socket it
    # reports one already when its other side has stopped to speak, so we do not ask.
    hang_up = select.POLLHUP if S_ISFIFO(os.fstat(down.sink).st_mode) else 0
    before = None
    while not (up.over and down.over):
        poll = select.poll()
        for fd, events in _interests(up, down, hang_up).items():
            poll.register(fd, events)
        ready = dict(poll.poll())
        # Nobody reads our output any more, or hears us after the connection's end.
        if ready.get(up.sink if down.over else down.sink, 0) & _GONE:
            if not up.over:
                # What a program wrote just before it ended still goes out, as much as
                # goes at once.
                up.advance()
            return
        served = [flow for flow in (up, down) if flow.is_due(ready)]
        for flow in served:
            flow.advance()
        if down.broken:
            return
        # In a stream there is no hurry. A question has something the other way before
        # it, and so has an answer.
        alone = served[0] if len(served) == 1 else None
        if alone and alone is before and alone.streams:
            sleep(_NAP)
        before = alone


def _interests(up: Flow, down: Flow, hang_up: int) -> dict[int, int]:
    """Return what to wait for, by descriptor. Linux adds errors and hang-ups."""
    interests = {up.sink: 0} if down.over else {down.sink: hang_up}
    for flow in (up, down):
        if not flow.over:
            fd, event = flow.awaited
            interests[fd] = interests.get(fd, 0) | event
    return interests


def _can_stall(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return S_ISFIFO(mode) or S_ISSOCK(mode)


def _make_blocking(fd: int) -> None:
    try:
        os.set_blocking(fd, True)
    except OSError:
        return  # It is our output, and it has been closed.
