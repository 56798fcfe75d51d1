"""What every relay owes to ssh and to the server, with descriptors of every kind."""

import errno
import os
import pty
import random
import select
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Thread

import pytest
from unit.client.relays import (
    FINE,
    KINDS,
    PATIENCE,
    WAYS,
    Ends,
    Running,
    Way,
    all_at_once,
    fill,
    in_odd_pieces,
    pipes,
    receive_all,
)

from spassh import relay
from spassh.ends import CHUNK
from spassh.splice import BUSY


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    way = WAYS[request.param]
    way.prepare(monkeypatch)
    return way


hears_at_once = pytest.mark.parametrize(
    "way", [name for name, way in WAYS.items() if way.polls], indirect=True
)
"""Not for a thread that blocks in a read and hears of nothing else."""


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    made.close_all()


@pytest.fixture
def running(way: Way, ends: Ends) -> Iterator[Running]:
    running = Running(way, ends.stdin, ends.stdout)
    yield running
    running.server.close()
    ends.close(ends.write_end, ends.read_end)
    running.join()


def test_every_byte_gets_through_both_ways_at_once(
    ends: Ends, running: Running
) -> None:
    chance = random.Random(1)
    up, down = chance.randbytes(3_000_001), chance.randbytes(2_999_999)
    arrived: dict[str, bytes] = {}

    def send_up() -> None:
        in_odd_pieces(up, ends.write, 2)
        ends.end_input()

    def send_down() -> None:
        in_odd_pieces(down, running.server.sendall, 3)
        running.server.shutdown(socket.SHUT_WR)

    def receive_up() -> None:
        arrived["up"] = receive_all(running.server)

    def receive_down() -> None:
        arrived["down"] = ends.read_to_end()

    all_at_once(send_up, send_down, receive_up, receive_down)
    assert running.join() == FINE
    assert arrived["up"] == up
    assert arrived["down"] == down


def test_64_mib_get_through_each_way(way: Way) -> None:
    block = random.Random(5).randbytes(1 << 20)
    expected = blake2b()
    for number in range(64):
        expected.update(number.to_bytes(1, "big") + block)
    arrived = {"up": blake2b(), "down": blake2b()}
    ends = pipes()
    running = Running(way, ends.stdin, ends.stdout)

    def send(write: Callable[[bytes], None], end: Callable[[], None]) -> None:
        for number in range(64):
            write(number.to_bytes(1, "big") + block)
        end()

    def receive(way: str, read: Callable[[int], bytes]) -> None:
        while chunk := read(1 << 20):
            arrived[way].update(chunk)

    all_at_once(
        lambda: send(ends.write, ends.end_input),
        lambda: send(
            running.server.sendall, lambda: running.server.shutdown(socket.SHUT_WR)
        ),
        lambda: receive("up", running.server.recv),
        lambda: receive("down", ends.read),
    )
    assert running.join() == FINE
    running.server.close()
    ends.close_all()
    assert arrived["up"].digest() == expected.digest()
    assert arrived["down"].digest() == expected.digest()


def test_a_single_byte_is_not_kept_back(ends: Ends, running: Running) -> None:
    for _ in range(3):
        ends.write(b"?")
        assert running.server.recv(99) == b"?"
        running.server.sendall(b"!")
        assert ends.read() == b"!"


def test_nothing_to_say_on_either_side_is_enough(ends: Ends, running: Running) -> None:
    ends.end_input()
    running.server.shutdown(socket.SHUT_WR)
    assert receive_all(running.server) == b""
    assert ends.read_to_end() == b""
    assert running.join() == FINE


def test_the_end_of_input_ends_only_that_direction(
    ends: Ends, running: Running
) -> None:
    ends.write(b"question")
    ends.end_input()
    assert receive_all(running.server) == b"question"
    assert running.runs
    running.server.sendall(b"answer")
    assert ends.read() == b"answer"
    running.server.close()
    assert ends.read() == b""
    assert running.join() == FINE


def test_the_end_of_the_connection_ends_only_that_direction(
    ends: Ends, running: Running
) -> None:
    running.server.sendall(b"answer")
    running.server.shutdown(socket.SHUT_WR)
    assert ends.read_to_end() == b"answer"
    assert running.runs
    ends.write(b"afterthought")
    ends.end_input()
    assert receive_all(running.server) == b"afterthought"
    assert running.join() == FINE


def test_it_ends_when_the_server_closes_and_ssh_does_so_too(
    ends: Ends, running: Running
) -> None:
    running.server.close()
    assert ends.read_to_end() == b""
    ends.close(ends.write_end, ends.read_end)
    assert running.join() == FINE


def test_it_ends_when_ssh_closes_and_the_server_does_so_too(
    ends: Ends, running: Running
) -> None:
    ends.close(ends.write_end, ends.read_end)
    assert receive_all(running.server) == b""
    running.server.close()
    running.join().check()


def test_a_slow_server_holds_up_the_input_and_nothing_else(
    ends: Ends, running: Running
) -> None:
    os.set_blocking(ends.write_end, False)

    def writable() -> bool:
        # Not at once: the relay moves on what was written.
        return bool(select.select([], [ends.write_end], [], 0.2)[1])

    sent = fill(lambda: os.write(ends.write_end, b"u" * 4096), writable)
    os.set_blocking(ends.write_end, True)
    running.server.sendall(b"still here")
    assert ends.read() == b"still here"
    Thread(target=ends.end_input, daemon=True).start()
    assert len(receive_all(running.server)) == sent
    running.server.close()
    running.join()


def test_a_slow_reader_holds_up_the_server_and_nothing_else(
    ends: Ends, running: Running
) -> None:
    running.server.setblocking(False)

    def writable() -> bool:
        return bool(select.select([], [running.server], [], 0.2)[1])

    sent = fill(lambda: running.server.send(b"d" * 4096), writable)
    running.server.settimeout(PATIENCE)
    ends.write(b"still here")
    assert running.server.recv(99) == b"still here"
    running.server.shutdown(socket.SHUT_WR)
    assert len(ends.read_to_end()) == sent
    ends.end_input()
    assert running.join() == FINE


def test_a_reset_is_told_after_what_came_before_it(
    ends: Ends, running: Running
) -> None:
    running.server.sendall(b"last words")
    assert ends.read() == b"last words"
    running.reset()
    assert ends.read() == b""
    assert isinstance(running.join().lost, ConnectionResetError)


@hears_at_once
def test_a_reset_that_the_sender_hears_of_is_told(ends: Ends, running: Running) -> None:
    """The kernel tells of it once only, and then pretends an orderly end."""
    os.set_blocking(ends.write_end, False)

    def writable() -> bool:
        return bool(select.select([], [ends.write_end], [], 0.2)[1])

    fill(lambda: os.write(ends.write_end, b"u" * 4096), writable)
    running.reset()
    assert ends.read() == b""
    assert isinstance(running.join().lost, ConnectionResetError)


@hears_at_once
def test_a_reset_after_the_end_of_the_connection_ends_the_relay(
    ends: Ends, running: Running
) -> None:
    running.server.shutdown(socket.SHUT_WR)
    assert ends.read() == b""
    running.reset()
    running.join()


def test_a_server_that_stops_to_listen_can_still_speak(
    ends: Ends, running: Running
) -> None:
    """What it said is not lost because our own next write fails."""
    ends.end_input()
    assert receive_all(running.server) == b""
    running.server.sendall(b"x" * 1000)
    running.server.close()
    assert ends.read_to_end() == b"x" * 1000
    assert running.join() == FINE


def test_a_server_that_has_closed_and_is_spoken_to_has_said_good_bye(
    ends: Ends, running: Running
) -> None:
    running.server.sendall(b"good-bye")
    running.server.close()
    assert ends.read_to_end() == b"good-bye"
    for _ in range(3):
        ends.write(b"nobody hears")
    ends.end_input()
    assert running.join() == FINE


def test_urgent_data_is_no_obstacle(ends: Ends, running: Running) -> None:
    """It is left out, as read(2) leaves it out, and what is behind it arrives."""
    for _ in range(2):
        running.server.sendall(b"before")
        running.server.send(b"!", socket.MSG_OOB)
        running.server.sendall(b"after")
        arrived = b""
        while len(arrived) < len(b"beforeafter"):
            arrived += ends.read()
        assert arrived == b"beforeafter"
    running.server.send(b"!", socket.MSG_OOB)
    running.server.shutdown(socket.SHUT_WR)
    assert ends.read_to_end() == b""
    ends.end_input()
    assert running.join() == FINE


@hears_at_once
def test_it_ends_when_nobody_reads_the_output(ends: Ends, running: Running) -> None:
    """Even if the server is silent, and has not noticed."""
    ends.close(ends.read_end)
    assert running.join() == FINE
    assert receive_all(running.server) == b""


def test_it_ends_when_nobody_reads_what_the_server_says(
    ends: Ends, running: Running
) -> None:
    running.server.sendall(b"x" * 1000)
    ends.read()
    ends.close(ends.read_end)
    with suppress(ConnectionError):
        while True:
            running.server.sendall(b"x" * 1000)
    running.join().check()


@hears_at_once
def test_the_last_words_of_a_program_that_has_ended_are_sent(
    way: Way, ends: Ends
) -> None:
    ends.write(b"good-bye")
    ends.close(ends.write_end, ends.read_end)
    running = Running(way, ends.stdin, ends.stdout)
    assert receive_all(running.server) == b"good-bye"
    assert running.join() == FINE
    running.server.close()


@hears_at_once
def test_descriptors_are_blocking_again_afterwards(way: Way, ends: Ends) -> None:
    running = Running(way, ends.stdin, ends.stdout)
    ends.write(b"x")
    assert running.server.recv(9) == b"x"
    assert not os.get_blocking(ends.stdin)
    running.server.close()
    ends.end_input()
    running.join()
    assert os.get_blocking(ends.stdin)


def test_files_can_be_input_and_output(way: Way, tmp_path: Path) -> None:
    data = random.Random(4).randbytes(1_000_001)
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    stdin = os.open(source, os.O_RDONLY)
    # Linux splices into no file that is open for appending.
    stdout = os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    running = Running(way, stdin, stdout)
    assert receive_all(running.server) == data
    running.server.sendall(b"thanks")
    running.server.close()
    assert running.join() == FINE
    os.close(stdin)
    assert sink.read_bytes() == b"thanks"


def test_a_terminal_can_be_input_and_output(way: Way) -> None:
    terminal, stdin = pty.openpty()
    settings = termios.tcgetattr(stdin)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(stdin, termios.TCSANOW, settings)
    running = Running(way, stdin, os.dup(stdin))
    os.write(terminal, b"hello\n")
    assert running.server.recv(99) == b"hello\n"
    # It is the shell's as well.
    assert os.get_blocking(stdin)
    running.server.sendall(b"world\n")
    assert os.read(terminal, 99) == b"world\r\n"
    os.write(terminal, b"\4")
    assert receive_all(running.server) == b""
    running.server.close()
    assert running.join() == FINE
    os.close(stdin)
    os.close(terminal)


def test_a_full_disk_is_an_output_that_takes_no_more(way: Way) -> None:
    stdin, write = os.pipe()
    stdout = os.open("/dev/full", os.O_WRONLY)
    running = Running(way, stdin, stdout)
    running.server.sendall(b"x")
    ending = running.join()
    running.server.close()
    for fd in (write, stdin, stdout):
        os.close(fd)
    assert ending.unwritten is not None
    assert ending.unwritten.errno == errno.ENOSPC


def test_an_input_that_breaks_has_ended(way: Way, tmp_path: Path) -> None:
    stdin = os.open(tmp_path, os.O_RDONLY)  # No directory can be read so.
    read, stdout = os.pipe()
    running = Running(way, stdin, stdout)
    assert receive_all(running.server) == b""
    running.server.sendall(b"answer")
    running.server.close()
    assert running.join() == FINE
    assert os.read(read, 99) == b"answer"
    os.close(stdin)
    os.close(read)


def test_nothing_as_input_and_output_is_enough(way: Way) -> None:
    stdin, stdout = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    running = Running(way, stdin, stdout)
    assert receive_all(running.server) == b""
    running.server.sendall(b"nobody hears")
    running.server.close()
    assert running.join() == FINE
    os.close(stdin)


@hears_at_once
def test_a_relay_opens_nothing(ends: Ends, running: Running) -> None:
    """What is not open is not inherited, and needs no limit."""
    before = set(os.listdir("/proc/self/fd"))
    ends.write(b"x" * CHUNK)
    assert running.server.recv(1)
    running.server.sendall(b"x" * CHUNK)
    assert ends.read()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What a relay has slept."""
    naps: list[float] = []
    monkeypatch.setattr(relay, "sleep", naps.append)
    return naps


def _pass_on(
    send: Callable[[bytes], object], receive: Callable[[int], bytes], size: int
) -> None:
    send(b"x" * size)
    while size:
        size -= len(receive(size))


@hears_at_once
def test_a_stream_may_come_together(
    ends: Ends, running: Running, naps: list[float]
) -> None:
    """To be woken for each packet takes longer than the packet."""
    for _ in range(9):
        _pass_on(ends.write, running.server.recv, BUSY)
    sent_up = len(naps)
    for _ in range(9):
        _pass_on(running.server.sendall, ends.read, BUSY)
    assert 0 < sent_up < len(naps)


@hears_at_once
def test_a_question_and_its_answer_wait_for_nothing(
    ends: Ends, running: Running, naps: list[float]
) -> None:
    for _ in range(9):
        _pass_on(ends.write, running.server.recv, BUSY)
        _pass_on(running.server.sendall, ends.read, BUSY)
    assert not naps


@pytest.mark.parametrize("kind", ["pipes", "sockets"])
def test_macos_is_asked_for_what_linux_tells_unasked(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[int, int] = {}
    real = select.poll

    class Poll:
        def __init__(self) -> None:
            self._real = real()

        def register(self, fd: int, events: int) -> None:
            asked[fd] = asked.get(fd, 0) | events
            self._real.register(fd, events)

        def poll(self) -> list[tuple[int, int]]:
            return self._real.poll()

    monkeypatch.setattr(select, "poll", Poll)
    ends = KINDS[kind]()
    running = Running(WAYS["loop"], ends.stdin, ends.stdout)
    running.server.sendall(b"x")
    assert ends.read() == b"x"
    running.server.close()
    ends.end_input()
    running.join()
    hang_up = asked[ends.stdout] & select.POLLHUP
    ends.close_all()
    # There, a socket hangs up when its other side has merely stopped to speak.
    assert hang_up == (select.POLLHUP if kind == "pipes" else 0)
