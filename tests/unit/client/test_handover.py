"""The relay and the passing of the socket, with real descriptors of every kind."""

import os
import random
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from spassh.errors import SpasshError
from spassh.handover import CHUNK, can_pass, pass_socket, relay

PATIENCE = 20
"""Seconds after which a test that waits in vain fails."""


class Relay:
    """A relay that runs, and its three ends: `server`, `write_end` and `read_end`."""

    def __init__(self, stdin: int, stdout: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._sock = socket.create_connection(listener.getsockname())
            self.server = listener.accept()[0]
        self.server.settimeout(PATIENCE)
        self.error: SpasshError | None = None
        self._stdin, self._stdout = stdin, stdout
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._sock:
                relay(self._sock, self._stdin, self._stdout)
        except SpasshError as error:
            self.error = error

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def reset(self) -> None:
        """Break the connection from the server's side."""
        self.server.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.server.close()


class Ends:
    """ssh's ends: what it writes to is our input, what it reads from our output."""

    def __init__(self, stdin: int, stdout: int, write: int, read: int) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.write_end, self.read_end = write, read
        self._open = {fd: os.fstat(fd).st_ino for fd in (stdin, stdout, write, read)}

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data) :]

    def read(self) -> bytes:
        """Read what there is; nothing at the end."""
        assert select.select([self.read_end], [], [], PATIENCE)[0]
        return os.read(self.read_end, CHUNK)

    def read_to_end(self) -> bytes:
        data = b""
        while chunk := self.read():
            data += chunk
        return data

    def end_input(self) -> None:
        if self.write_end == self.read_end:
            with socket.socket(fileno=os.dup(self.write_end)) as sock:
                sock.shutdown(socket.SHUT_WR)
        else:
            self.close(self.write_end)

    def close(self, *fds: int) -> None:
        for fd in fds:
            inode = self._open.pop(fd, None)
            if inode is not None and _inode(fd) == inode:
                os.close(fd)

    def close_all(self) -> None:
        """Close what is still open: the relay may have closed its output."""
        self.close(*tuple(self._open))


def _inode(fd: int) -> int:
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return 0


def pipes() -> Ends:
    (stdin, write), (read, stdout) = os.pipe(), os.pipe()
    return Ends(stdin, stdout, write, read)


def sockets() -> Ends:
    (stdin, write), (read, stdout) = socket.socketpair(), socket.socketpair()
    return Ends(stdin.detach(), stdout.detach(), write.detach(), read.detach())


def one_socket() -> Ends:
    ours, theirs = socket.socketpair()
    stdin = ours.detach()
    fd = theirs.detach()
    return Ends(stdin, os.dup(stdin), fd, fd)


KINDS: dict[str, Callable[[], Ends]] = {
    "pipes": pipes,
    "sockets": sockets,
    "one socket": one_socket,
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    made: Ends = request.param()
    yield made
    made.close_all()


@pytest.fixture
def running(ends: Ends) -> Iterator[Relay]:
    running = Relay(ends.stdin, ends.stdout)
    yield running
    running.server.close()
    ends.close(ends.write_end, ends.read_end)
    running.join()


def in_odd_pieces(data: bytes, send: Callable[[bytes], None], seed: int) -> None:
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 7, 511, 4096, 4097, 70_001, 200_003])
        send(data[at : at + size])
        at += size


def receive_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(CHUNK):
        data += chunk
    return data


def test_every_byte_gets_through_both_ways_at_once(ends: Ends, running: Relay) -> None:
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

    threads = [
        Thread(target=work, daemon=True)
        for work in (send_up, send_down, receive_up, receive_down)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    running.join()
    assert running.error is None
    assert arrived["up"] == up
    assert arrived["down"] == down


def test_a_single_byte_is_not_kept_back(ends: Ends, running: Relay) -> None:
    for _ in range(3):
        ends.write(b"?")
        assert running.server.recv(99) == b"?"
        running.server.sendall(b"!")
        assert ends.read() == b"!"


def test_the_end_of_input_ends_only_that_direction(ends: Ends, running: Relay) -> None:
    ends.write(b"question")
    ends.end_input()
    assert receive_all(running.server) == b"question"
    assert running.running
    running.server.sendall(b"answer")
    assert ends.read() == b"answer"
    running.server.close()
    assert ends.read() == b""
    running.join()
    assert running.error is None


def test_the_end_of_the_connection_ends_only_that_direction(
    ends: Ends, running: Relay
) -> None:
    running.server.sendall(b"answer")
    running.server.shutdown(socket.SHUT_WR)
    assert ends.read_to_end() == b"answer"
    assert running.running
    ends.write(b"afterthought")
    ends.end_input()
    assert receive_all(running.server) == b"afterthought"
    running.join()
    assert running.error is None


def fill(send: Callable[[], int], ready: Callable[[], bool]) -> int:
    """Send until nothing more is taken."""
    sent = 0
    while ready():
        sent += send()
    return sent


def test_a_slow_server_holds_up_the_input_and_nothing_else(
    ends: Ends, running: Relay
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
    ends: Ends, running: Relay
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
    running.join()
    assert running.error is None


def test_a_reset_is_told_after_what_came_before_it(ends: Ends, running: Relay) -> None:
    running.server.sendall(b"last words")
    assert ends.read() == b"last words"
    running.reset()
    assert ends.read() == b""
    running.join()
    assert str(running.error) == "connection lost: connection reset by peer"


def test_a_reset_after_the_end_of_the_connection_ends_the_relay(
    ends: Ends, running: Relay
) -> None:
    running.server.shutdown(socket.SHUT_WR)
    assert ends.read() == b""
    running.reset()
    running.join()


def test_a_server_that_stops_to_listen_can_still_speak(
    ends: Ends, running: Relay
) -> None:
    """What it said is not lost because our own next write fails."""
    ends.end_input()
    assert receive_all(running.server) == b""
    running.server.sendall(b"x" * 1000)
    running.server.close()
    assert ends.read_to_end() == b"x" * 1000
    running.join()
    assert running.error is None


def test_it_ends_when_nobody_reads_the_output(ends: Ends, running: Relay) -> None:
    """Even if the server is silent, and has not noticed."""
    ends.close(ends.read_end)
    running.join()
    assert running.error is None
    assert receive_all(running.server) == b""


def test_it_ends_when_nobody_reads_what_the_server_says(
    ends: Ends, running: Relay
) -> None:
    running.server.sendall(b"x" * 1000)
    ends.read()
    ends.close(ends.read_end)
    running.join()
    assert running.error is None


def test_descriptors_are_blocking_again_afterwards(ends: Ends) -> None:
    running = Relay(ends.stdin, ends.stdout)
    ends.write(b"x")
    assert running.server.recv(9) == b"x"
    assert not os.get_blocking(ends.stdin)
    running.server.close()
    ends.end_input()
    running.join()
    assert os.get_blocking(ends.stdin)


def test_files_can_be_input_and_output(tmp_path: Path) -> None:
    data = random.Random(4).randbytes(1_000_001)
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    stdin = os.open(source, os.O_RDONLY)
    stdout = os.open(sink, os.O_WRONLY | os.O_CREAT, 0o600)
    running = Relay(stdin, stdout)
    assert receive_all(running.server) == data
    running.server.sendall(b"thanks")
    running.server.close()
    running.join()
    os.close(stdin)
    assert running.error is None
    assert sink.read_bytes() == b"thanks"


def test_a_full_disk_is_told() -> None:
    stdin, write = os.pipe()
    stdout = os.open("/dev/full", os.O_WRONLY)
    running = Relay(stdin, stdout)
    running.server.sendall(b"x")
    running.join()
    running.server.close()
    for fd in (stdin, write, stdout):
        os.close(fd)
    assert str(running.error) == ("cannot write the output: no space left on device")
    assert running.error is not None
    assert running.error.hint


def test_nothing_as_input_and_output_is_enough() -> None:
    stdin, stdout = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    running = Relay(stdin, stdout)
    assert receive_all(running.server) == b""
    running.server.sendall(b"nobody hears")
    running.server.close()
    running.join()
    os.close(stdin)
    assert running.error is None


@pytest.fixture
def to_ssh() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our standard output and ssh's end of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_the_socket_itself_is_passed_with_one_byte(
    to_ssh: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = to_ssh
    assert can_pass(ours.fileno())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
    pass_socket(sock, ours.fileno())
    sock.close()
    data, fds, _, _ = socket.recv_fds(theirs, 99, 9)
    assert data == b"\0"
    assert len(fds) == 1
    with socket.socket(fileno=fds[0]) as passed, server:
        assert os.get_blocking(passed.fileno())
        passed.sendall(b"hello")
        assert server.recv(99) == b"hello"


def test_ssh_that_did_not_wait_for_the_socket_is_told(
    to_ssh: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = to_ssh
    theirs.close()
    with socket.socket() as sock, pytest.raises(SpasshError) as caught:
        pass_socket(sock, ours.fileno())
    assert str(caught.value) == "ssh did not wait: broken pipe"


def test_output_that_takes_no_socket_is_recognised(tmp_path: Path) -> None:
    read, write = os.pipe()
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT, 0o600)
    with socket.socket() as tcp:
        assert not any(map(can_pass, (write, file, tcp.fileno())))
    for fd in (read, write, file):
        os.close(fd)
