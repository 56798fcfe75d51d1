"""What Linux does with the bytes itself, and what happens where it does not."""

import errno
import fcntl
import os
import socket
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from unit.client.relays import (
    FINE,
    WAYS,
    Ends,
    Running,
    pipes,
    receive_all,
    sockets,
)

from spassh.ends import CHUNK
from spassh.relay import Flow
from spassh.splice import MOST, UNSUPPORTED

BURST = 32 * 1024


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each splice(2) has moved."""
    moved: list[int] = []
    real = os.splice

    def splice(*words: Any, **options: Any) -> int:
        done = real(*words, **options)
        moved.append(done)
        return done

    monkeypatch.setattr(os, "splice", splice)
    return moved


@pytest.fixture
def make() -> Iterator[Callable[[Ends], tuple[Ends, Running]]]:
    """Starts a relay between ends of some kind, and takes it down."""
    made = []

    def make(ends: Ends) -> tuple[Ends, Running]:
        made.append((ends, Running(WAYS["splice"], ends.stdin, ends.stdout)))
        return made[-1]

    yield make
    for ends, running in made:
        running.server.close()
        ends.close(ends.write_end, ends.read_end)
        running.join()
        ends.close_all()


Make = Callable[[Ends], tuple[Ends, Running]]


def converse(ends: Ends, running: Running, size: int) -> None:
    """Send so many bytes each way, and end."""
    ends.write(b"u" * size)
    ends.end_input()
    assert len(receive_all(running.server)) == size
    running.server.sendall(b"d" * size)
    running.server.close()
    assert len(ends.read_to_end()) == size
    assert running.join() == FINE


def test_from_a_pipe_to_the_connection_no_byte_is_copied(
    make: Make, spliced: list[int]
) -> None:
    converse(*make(pipes()), 50_000)
    assert sum(spliced) == 50_000


class Down:
    """The direction from the server to us, a step at a time."""

    def __init__(self) -> None:
        self._sock, self.server = socket.socketpair()
        self.stdout, self._sink = os.pipe()
        self._sock.setblocking(False)
        os.set_blocking(self._sink, False)
        self.sent = 0
        self.flow = Flow(self._sock.fileno(), self._sink, lambda: None)

    def step(self) -> int:
        """Have more than a chunk wait, and move on; return what the pipe holds then."""
        self.server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.sent += self.server.send(b"x" * CHUNK)
        self.flow.advance()
        word = fcntl.ioctl(self.stdout, termios.FIONREAD, bytes(4))
        return int.from_bytes(word, sys.byteorder)

    def close(self) -> None:
        for end in (self._sock, self.server):
            end.close()
        for fd in (self.stdout, self._sink):
            os.close(fd)


@pytest.fixture
def down() -> Iterator[Down]:
    down = Down()
    yield down
    down.close()


def test_for_a_reader_that_is_faster_than_we_are_no_byte_is_copied(
    down: Down, spliced: list[int]
) -> None:
    for _ in range(20):
        os.read(down.stdout, down.step())
    assert spliced
    assert pipe_size(down.stdout) == MOST


def test_a_slower_reader_finds_no_more_than_a_chunk(
    down: Down, spliced: list[int]
) -> None:
    """ssh takes all that it finds, and is slow with what is more."""
    for _ in range(99):
        while not down.flow.full:
            assert down.step() <= CHUNK
        os.read(down.stdout, CHUNK)
        down.step()
    assert not spliced
    assert pipe_size(down.stdout) == CHUNK


def test_between_two_sockets_it_is_not_tried(make: Make, spliced: list[int]) -> None:
    converse(*make(sockets()), 50_000)
    assert spliced == []


@pytest.mark.parametrize("code", sorted(UNSUPPORTED), ids=errno.errorcode.get)
def test_where_it_is_refused_it_is_tried_once(
    make: Make, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def refuse(*words: Any, **_: Any) -> int:
        refused.append(words[:2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "splice", refuse)
    converse(*make(pipes()), 50_000)
    assert len(refused) == 1


def test_where_it_is_refused_late_it_goes_on_by_copying(
    down: Down, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "splice", refuse)
    for _ in range(20):
        assert len(os.read(down.stdout, down.step())) == CHUNK


@pytest.fixture
def timing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every splice(2) is told that the connection has timed out."""

    def fail(*_: Any, **__: Any) -> int:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(os, "splice", fail)


@pytest.mark.usefixtures("timing_out")
def test_an_error_that_means_something_else_is_no_reason_to_copy(down: Down) -> None:
    """It is told once, so a read(2) after it would find an orderly end."""
    while not down.flow.over:
        if there := down.step():
            os.read(down.stdout, there)
    assert isinstance(down.flow.read_error, TimeoutError)


@pytest.mark.usefixtures("timing_out")
def test_an_error_that_the_sender_hears_of_is_told(make: Make) -> None:
    ends, running = make(pipes())
    ends.write(b"x")
    running.server.close()
    assert isinstance(running.join().lost, TimeoutError)


def pipe_size(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def pour(ends: Ends, running: Running) -> None:
    """Send both ways more than keystrokes, and wait for it."""
    for send, receive in (
        (ends.write, running.server.recv),
        (running.server.sendall, ends.read),
    ):
        send(b"x" * BURST)
        left = BURST
        while left:
            left -= len(receive(left))


def test_a_pipe_to_the_connection_that_is_busy_grows(make: Make) -> None:
    ends, running = make(pipes())
    # More than once, for the relay might take a burst in pieces.
    for _ in range(99):
        pour(ends, running)
    assert pipe_size(ends.stdin) == MOST


def test_pipes_that_are_idle_do_not_use_up_the_allowance(make: Make) -> None:
    ends, running = make(pipes())
    before = pipe_size(ends.stdin), pipe_size(ends.stdout)
    for _ in range(99):
        ends.write(b"?" * 99)
        assert running.server.recv(999)
        running.server.sendall(b"!" * 99)
        assert ends.read()
    assert (pipe_size(ends.stdin), pipe_size(ends.stdout)) == before


def test_a_pipe_that_may_not_grow_stays_as_it_is(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(fd: int, command: int, size: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            asked.append(fd)
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return 65536

    ends, running = make(pipes())
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    for _ in range(99):
        pour(ends, running)
    assert asked == [ends.stdin]
