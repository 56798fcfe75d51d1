import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spassh_server.localsocket import LocalSocket


@contextmanager
def receiver(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.setblocking(False)
        yield sock
    if address[0] == "/":
        os.unlink(address)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "socket")


def test_a_datagram_arrives(path: str) -> None:
    with receiver(path) as there:
        here = LocalSocket(path)
        assert here.send(b"one")
        assert there.recv(10) == b"one"
        here.close()
        here.close()


def test_an_abstract_address_begins_with_an_at_sign() -> None:
    with receiver(f"\0spassh-{os.getpid()}") as there:
        here = LocalSocket(f"@spassh-{os.getpid()}")
        assert here.send(b"one")
        assert there.recv(10) == b"one"
        here.close()


@pytest.mark.parametrize("address", ["/no/such", "@no-such", "/" + "x" * 200])
def test_without_a_receiver_nothing_is_sent(address: str) -> None:
    assert not LocalSocket(address).send(b"one")


def test_a_receiver_that_comes_later_is_found(path: str) -> None:
    here = LocalSocket(path)
    assert not here.send(b"one")
    with receiver(path) as there:
        assert here.send(b"two")
        assert there.recv(10) == b"two"
    here.close()


def test_a_receiver_that_starts_anew_is_found(path: str) -> None:
    with receiver(path):
        here = LocalSocket(path)
    assert not here.send(b"one")
    with receiver(path) as there:
        assert here.send(b"two")
    with receiver(path) as there:
        # It was connected to the one before.
        assert here.send(b"three")
        assert there.recv(10) == b"three"
    here.close()


def test_a_receiver_that_does_not_read_is_not_waited_for(path: str) -> None:
    with receiver(path) as there:
        here = LocalSocket(path)
        sent = 0
        while sent < 100_000 and here.send(b"x" * 1000):
            sent += 1
        assert 0 < sent < 100_000
        there.recv(1000)
        assert here.send(b"again")
        here.close()


def test_what_is_too_large_is_not_sent_and_the_next_is(path: str) -> None:
    with receiver(path) as there:
        here = LocalSocket(path)
        assert not here.send(b"x" * (1 << 24))
        assert here.send(b"one")
        assert there.recv(10) == b"one"
        here.close()
