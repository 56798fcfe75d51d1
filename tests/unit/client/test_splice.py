"""What Linux does with the bytes itself, and what happens where it does not."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
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


def test_between_a_pipe_and_the_connection_no_byte_is_copied(
    make: Make, spliced: list[int]
) -> None:
    converse(*make(pipes()), 50_000)
    assert sum(spliced) == 100_000


def test_between_two_sockets_it_is_not_tried(make: Make, spliced: list[int]) -> None:
    converse(*make(sockets()), 50_000)
    assert spliced == []


@pytest.mark.parametrize("code", sorted(UNSUPPORTED), ids=errno.errorcode.get)
def test_where_it_is_refused_it_is_tried_once_for_each_direction(
    make: Make, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def refuse(*words: Any, **_: Any) -> int:
        refused.append(words[:2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "splice", refuse)
    converse(*make(pipes()), 50_000)
    assert len(refused) == len(set(refused)) == 2


def test_an_error_that_means_something_else_is_no_reason_to_copy(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, so a read(2) after it would find an orderly end."""

    def fail(*_: Any, **__: Any) -> int:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr(os, "splice", fail)
    ends, running = make(pipes())
    running.server.sendall(b"x")
    assert ends.read_to_end() == b""
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


def test_pipes_that_are_busy_grow(make: Make) -> None:
    ends, running = make(pipes())
    # More than once, for the relay might take a burst in pieces.
    for _ in range(99):
        pour(ends, running)
    assert (pipe_size(ends.stdin), pipe_size(ends.stdout)) == (MOST, MOST)


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
    assert sorted(asked) == sorted([ends.stdin, ends.stdout])
