"""Whether a port opens, and who is there, on the loopback."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from unit.client.parties import PATIENCE, Gate, Shut

from spassh.connect import Target
from spassh.resolve import Address
from spassh.schedule import Plan
from spassh.source import Source
from spassh.ui import silent
from spassh.verbs.doctor import port as port_module
from spassh.verbs.doctor.port import State, dial_unasked, hear, knock_and_connect

GREETING = b"SSH-2.0-test\r\n"


@contextmanager
def serving(gate: Gate, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Accept one connection, and serve it in a thread."""
    gate.open()

    def work() -> None:
        with gate.accept() as client:
            client.settimeout(PATIENCE)
            serve(client)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def knock(address: Address, *, narrow: bool) -> Source:
    return Source((address.sockaddr[0], 0, *address.sockaddr[2:]))


def connected(gate: Gate) -> socket.socket:
    return socket.create_connection(gate.address.sockaddr[:2])


def test_a_server_that_greets_hears_that_we_leave(gate: Gate) -> None:
    heard: list[bytes] = []

    def serve(client: socket.socket) -> None:
        client.sendall(GREETING + b"binary")
        while data := client.recv(4096):
            heard.append(data)
        # What comes late must not be answered by a reset.
        client.sendall(b"more")

    with serving(gate, serve):
        assert hear(connected(gate), time.monotonic) == "SSH-2.0-test"
    said = b"".join(heard)
    assert said.startswith(b"SSH-2.0-spassh\r\n")
    assert b"spassh doctor has seen enough" in said


@pytest.mark.parametrize(
    ("said", "greeting"),
    [(b"", None), (b"220 mail.example ESMTP\r\n", ""), (b"SSH-2.0-cut", "")],
)
def test_a_server_that_does_not_speak_ssh_is_told_apart(
    gate: Gate, said: bytes, greeting: str | None
) -> None:
    with serving(gate, lambda client: client.sendall(said)):
        assert hear(connected(gate), time.monotonic) == greeting


def test_a_server_that_says_nothing_is_not_waited_for(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "GREETING", 0.05)
    with serving(gate, lambda client: client.recv(1)):
        assert hear(connected(gate), time.monotonic) is None


def test_a_port_that_is_open_answers_without_a_knock(gate: Gate) -> None:
    refused = gate.address
    assert dial_unasked([refused], time.monotonic) == [None]
    gate.open()
    (sock,) = dial_unasked([gate.address], time.monotonic)
    assert sock is not None
    sock.close()


def test_a_port_that_is_shut_is_left_after_the_time(shut: Shut) -> None:
    assert dial_unasked([shut.address], time.monotonic, 0.05) == [None]
    assert dial_unasked([], time.monotonic) == []


def test_of_several_ports_each_has_its_own_answer(gate: Gate, shut: Shut) -> None:
    gate.open()
    found = dial_unasked([shut.address, gate.address], time.monotonic, 1)
    assert found[0] is None
    assert found[1] is not None
    found[1].close()


def test_the_time_is_from_the_knock_to_the_connection(gate: Gate) -> None:
    began = time.monotonic()
    with serving(gate, lambda client: client.sendall(GREETING)):
        place = Target("server.example", gate.port, [gate.address])
        opening = knock_and_connect(place, knock, time.monotonic, Plan(30), silent)
        assert 0 < opening.seconds < time.monotonic() - began
    assert opening.state is State.OPENS
    assert opening.greeting == "SSH-2.0-test"


def test_a_port_that_stays_shut_or_refuses_is_told(gate: Gate, shut: Shut) -> None:
    for address, state in ((shut.address, State.SHUT), (gate.address, State.REFUSED)):
        place = Target("server.example", address.sockaddr[1], [address])
        timeout = 0.05 if state is State.SHUT else 10
        opening = knock_and_connect(place, knock, time.monotonic, Plan(timeout), silent)
        assert opening.state is state
        assert opening.reason


def test_no_way_is_told() -> None:
    def refuse(_: Address, *, narrow: bool) -> Source:
        raise OSError(101, "Network is unreachable")

    address = Address(socket.AF_INET, ("192.0.2.1", 22))
    place = Target("server.example", 22, [address])
    opening = knock_and_connect(place, refuse, time.monotonic, Plan(10), silent)
    assert opening.state is State.UNREACHABLE
    assert opening.reason == "cannot reach server.example: network is unreachable"
