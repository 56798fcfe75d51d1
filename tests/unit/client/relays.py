"""Every way to relay that there is, and every kind of descriptor that it may meet."""

import errno
import os
import random
import select
import socket
import struct
from collections.abc import Callable
from threading import Thread
from typing import Any, NamedTuple

import pytest

from spassh import relay, threads
from spassh.ends import CHUNK, Ending

PATIENCE = 30
"""Seconds after which a test that waits in vain fails."""


class Way(NamedTuple):
    """One of the relays, perhaps on a system that lacks something."""

    copy: Callable[[socket.socket, int, int], Ending]
    prepare: Callable[[pytest.MonkeyPatch], None]
    polls: bool = True
    """It hears at once of all that happens at its descriptors."""


def as_it_is(_: pytest.MonkeyPatch) -> None:
    pass


def without_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "splice")


def with_failing_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel that finds out late that it cannot do it."""
    real, calls = os.splice, 0

    def splice(*words: Any, **options: Any) -> int:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(*words, **options)

    monkeypatch.setattr(os, "splice", splice)


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a reader that is found to be faster than we are, from the beginning."""
    monkeypatch.setattr(relay, "_EASY", 0)


WAYS = {
    "splice": Way(relay.copy, as_it_is),
    "splice both ways": Way(relay.copy, at_once),
    "splice that fails": Way(relay.copy, with_failing_splice),
    "loop": Way(relay.copy, without_splice),
    "threads": Way(threads.copy, as_it_is, polls=False),
}


class Running:
    """A relay that runs, and the server's end of its connection."""

    def __init__(self, way: Way, stdin: int, stdout: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._sock = socket.create_connection(listener.getsockname())
            self.server = listener.accept()[0]
        self.server.settimeout(PATIENCE)
        self.ending: Ending | None = None
        self._copy = way.copy
        self._stdin, self._stdout = stdin, stdout
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._sock:
            self.ending = self._copy(self._sock, self._stdin, self._stdout)

    def join(self) -> Ending:
        """Wait for its end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.ending is not None
        return self.ending

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def reset(self) -> None:
        """Break the connection from the server's side."""
        self.server.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.server.close()


FINE = Ending(None, None)


class Ends:
    """ssh's ends: what it writes to is our input, what it reads from our output."""

    def __init__(self, stdin: int, stdout: int, write: int, read: int) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.write_end, self.read_end = write, read
        self._open = {fd: os.fstat(fd).st_ino for fd in (write, read, stdin, stdout)}

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.write_end, rest) :]

    def read(self, size: int = CHUNK) -> bytes:
        """Read what there is; nothing at the end."""
        assert select.select([self.read_end], [], [], PATIENCE)[0]
        return os.read(self.read_end, size)

    def read_to_end(self) -> bytes:
        chunks = []
        while chunk := self.read():
            chunks.append(chunk)
        return b"".join(chunks)

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


def socket_and_pipe() -> Ends:
    """Make what asyncio gives to the programs that it starts."""
    (stdin, write), (read, stdout) = socket.socketpair(), os.pipe()
    return Ends(stdin.detach(), stdout, write.detach(), read)


KINDS: dict[str, Callable[[], Ends]] = {
    "pipes": pipes,
    "sockets": sockets,
    "one socket": one_socket,
    "socket and pipe": socket_and_pipe,
}


def in_odd_pieces(data: bytes, send: Callable[[bytes], None], seed: int) -> None:
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 7, 511, 4096, 4097, 70_001, 200_003])
        send(data[at : at + size])
        at += size


def receive_all(sock: socket.socket, size: int = CHUNK) -> bytes:
    chunks = []
    while chunk := sock.recv(size):
        chunks.append(chunk)
    return b"".join(chunks)


def all_at_once(*work: Callable[[], None]) -> None:
    """Do each in a thread of its own, and wait until all have done it."""
    threads = [Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def fill(send: Callable[[], int], ready: Callable[[], bool]) -> int:
    """Send until nothing more is taken."""
    sent = 0
    while ready():
        sent += send()
    return sent
