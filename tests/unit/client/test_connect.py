"""Connecting for real, over the loopback, to ports that open when a test says so."""

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from unit.client.parties import Gate, Shut

from spassh import connect as connect_module
from spassh import timekeeping
from spassh.connect import ACK_DELAY, Target, plainly, through
from spassh.errors import RefusedError, ShutError, SpasshError, UnreachableError
from spassh.resolve import Address, SocketAddress
from spassh.schedule import Plan, Width
from spassh.sockets import Socket
from spassh.source import Source
from spassh.ui import silent

if TYPE_CHECKING:
    from spassh.connect import Knock


@pytest.fixture(autouse=True, params=["poll", "select"])
def waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Wait as it is done here, and as on Windows."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return str(request.param)


SOURCES: dict[int, SocketAddress] = {
    socket.AF_INET: ("127.0.0.1", 0),
    socket.AF_INET6: ("::1", 0, 0, 0),
}


def source(address: SocketAddress, *, narrow: bool) -> Source:
    """Return what a knock from `address` returns."""
    if not narrow:
        return Source(address)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    tcp = Socket(family, socket.SOCK_STREAM)
    tcp.bind(address)
    return Source(tcp.getsockname(), tcp)


class Knocks:
    """Knocks that are counted, and that do something when they are enough."""

    def __init__(self, enough: int = 0, then: Callable[[], None] | None = None) -> None:
        self.at: list[Address] = []
        self.ports: list[int] = []
        self._enough = enough
        self._then = then

    def __call__(self, address: Address, *, narrow: bool) -> Source:
        self.at.append(address)
        if len(self.at) == self._enough and self._then:
            self._then()
        found = source(SOURCES[address.family], narrow=narrow)
        self.ports.append(found.port)
        return found


def target(*addresses: Address, port: int = 2222) -> Target:
    return Target("server.example", port, list(addresses))


def connect(
    to: Target,
    knock: "Knock",
    timeout: float = 20,
    story: list[str] | None = None,
    width: str = Width.AUTO,
) -> Socket:
    tell = silent if story is None else story.append
    return through(to, knock, time.monotonic, Plan(timeout, width), tell)


def no_way(code: int) -> "Knock":
    def knock(_: Address, *, narrow: bool) -> Source:
        raise OSError(code, os.strerror(code))

    return knock


def talk(ours: Socket, theirs: socket.socket) -> bool:
    """Tell whether these two are the ends of one connection."""
    ours.sendall(b"SSH-2.0-client\n")
    theirs.sendall(b"SSH-2.0-server\n")
    return (ours.recv(99), theirs.recv(99)) == (
        b"SSH-2.0-server\n",
        b"SSH-2.0-client\n",
    )


@pytest.mark.parametrize("knocks", [1, 2, 3])
def test_a_port_that_refuses_until_it_opens_is_reached(gate: Gate, knocks: int) -> None:
    knock = Knocks(knocks, gate.open)
    with connect(target(gate.address), knock) as ours, gate.accept() as theirs:
        assert talk(ours, theirs)
    assert knock.at == [gate.address] * knocks


@pytest.mark.parametrize("knocks", [1, 2, 3])
def test_a_port_that_is_silent_until_it_opens_is_reached(
    shut: Shut, knocks: int
) -> None:
    knock = Knocks(knocks, shut.open)
    with connect(target(shut.address), knock) as ours, shut.tcp.accept()[0] as theirs:
        assert talk(ours, theirs)


def test_only_one_connection_is_ever_made(shut: Shut) -> None:
    story: list[str] = []
    with connect(target(shut.address), Knocks(2, shut.open), 20, story) as ours:
        with shut.tcp.accept()[0] as theirs:
            assert talk(ours, theirs)
        shut.tcp.setblocking(False)
        with pytest.raises(BlockingIOError):
            shut.tcp.accept()
    # There were others under way, which are closed before they are answered.
    assert len([line for line in story if line.startswith("dialled")]) > 1


def test_the_connection_comes_from_the_address_and_the_port_that_knocked() -> None:
    sources: list[Source] = []

    def knock(_: Address, *, narrow: bool) -> Source:
        sources.append(source(("127.0.0.77", 0), narrow=narrow))
        return sources[-1]

    with Gate() as gate:
        gate.open()
        with connect(target(gate.address), knock) as ours, gate.accept():
            assert ours.getsockname() == ("127.0.0.77", sources[0].port)


def test_each_narrow_knock_has_a_port_of_its_own_for_one_dial(gate: Gate) -> None:
    knock = Knocks(3, gate.open)
    to = target(gate.address)
    with connect(to, knock, width=Width.FLOW) as ours, gate.accept():
        assert ours.getsockname()[1] == knock.ports[-1]
    assert len(set(knock.ports)) == len(knock.ports)


def test_a_wide_knock_leaves_the_port_to_the_system() -> None:
    def knock(_: Address, *, narrow: bool) -> Source:
        assert not narrow
        return Source(("127.0.0.77", 4711))

    with Gate() as gate:
        gate.open()
        to = target(gate.address)
        with connect(to, knock, width=Width.ADDRESS) as ours, gate.accept():
            assert ours.getsockname()[0] == "127.0.0.77"
            assert ours.getsockname()[1] != 4711


def test_after_narrow_knocks_in_vain_a_wide_one_is_tried(gate: Gate) -> None:
    """Behind a NAT that rewrites the ports of TCP alone."""
    knock = Knocks()

    def once_it_is_wide(address: Address, *, narrow: bool) -> Source:
        if not narrow:
            gate.open()
        return knock(address, narrow=narrow)

    with connect(target(gate.address), once_it_is_wide) as ours, gate.accept():
        assert ours.getsockname()[1] not in knock.ports
    assert 0 not in knock.ports[:3]
    assert knock.ports[-1] == 0


def test_the_socket_is_as_ssh_expects_it(gate: Gate) -> None:
    gate.open()
    for ours in (
        connect(target(gate.address), Knocks()),
        plainly(target(gate.address), silent),
    ):
        with ours, gate.accept():
            assert os.get_blocking(ours.fileno())
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert ours.type == socket.SOCK_STREAM


def test_acknowledgements_are_asked_for_soon() -> None:
    """Whether this kernel knows the option or is too old for it."""
    asked: list[object] = []

    class Asked(Socket):
        def setsockopt(self, *option: object) -> None:
            asked.append(option)

    with Asked() as sock:
        connect_module._acknowledge_soon(sock)
    option = socket.IPPROTO_TCP, connect_module._TCP_DELACK_MAX_US, ACK_DELAY
    assert asked == ([option] if sys.platform == "linux" else [])


def test_the_connection_that_is_made_acknowledges_soon(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Socket] = []
    monkeypatch.setattr(connect_module, "_acknowledge_soon", asked.append)
    gate.open()
    with connect(target(gate.address), Knocks()) as ours, gate.accept():
        assert asked == [ours]


@pytest.mark.parametrize(
    ("name", "value"),
    [("_TCP_DELACK_MAX_US", 9999), ("ACK_DELAY", 1)],
    ids=["an older kernel", "longer ticks"],
)
def test_where_they_cannot_be_it_connects_all_the_same(
    name: str, value: int, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_module, name, value)
    gate.open()
    with connect(target(gate.address), Knocks()) as ours, gate.accept() as theirs:
        assert talk(ours, theirs)


def test_no_other_system_is_given_an_option_of_linux(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untouched(Socket):
        def setsockopt(self, *option: object) -> None:
            raise AssertionError(f"it means something else there: {option}")

    monkeypatch.setattr(sys, "platform", "darwin")
    with Untouched() as sock:
        connect_module._acknowledge_soon(sock)


def test_the_story_is_told_in_order(gate: Gate) -> None:
    story: list[str] = []
    with connect(target(gate.address), Knocks(2, gate.open), 20, story):
        name, source = gate.address, SOURCES[gate.address.family][0]
    knocked = [line for line in story if line.startswith("knocked")]
    assert [line.rsplit(" ", 1)[0] for line in knocked] == [
        f"knocked at {name} from {source} port"
    ] * 2
    assert story[0] == knocked[0]
    assert f"{name}: connection refused: perhaps its firewall, not yet open" in story
    assert story[-3:] == [
        knocked[1],
        f"dialled {name} port {gate.port}",
        f"connected to {name}",
    ]


def test_a_refusal_is_final_in_the_end(gate: Gate) -> None:
    with pytest.raises(RefusedError) as caught:
        connect(target(gate.address), Knocks())
    assert str(caught.value) == "server.example refuses connections to port 2222"
    assert "sshd runs" in caught.value.hint


@pytest.mark.parametrize(
    ("kept", "hint"),
    [
        (True, "'spassh doctor server.example' looks for the reason: a wrong clock"),
        (None, "'spassh doctor server.example' looks for the reason: a wrong clock"),
        (False, "'spassh doctor server.example' looks for the reason; it may be"),
    ],
)
def test_a_port_that_stays_shut_is_given_up(
    shut: Shut, monkeypatch: pytest.MonkeyPatch, kept: bool | None, hint: str
) -> None:
    monkeypatch.setattr(timekeeping, "is_synchronised", lambda: kept)
    knock = Knocks()
    with pytest.raises(ShutError) as caught:
        connect(target(shut.address), knock, 0.6)
    assert str(caught.value) == (
        "port 2222 of server.example stays shut: no answer within 0.6 s"
    )
    assert caught.value.hint.startswith(hint)
    assert set(knock.at) == {shut.address}


@pytest.mark.parametrize(
    "code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EAFNOSUPPORT]
)
def test_no_way_to_any_address_is_told_at_once(gate: Gate, code: int) -> None:
    to = target(gate.address, gate.address)
    with pytest.raises(UnreachableError) as caught:
        connect(to, no_way(code))
    reason = os.strerror(code)
    expected = f"cannot reach server.example: {reason[0].lower()}{reason[1:]}"
    assert str(caught.value) == expected
    assert "network is up" in caught.value.hint


def test_an_address_without_a_way_gives_the_next_its_turn(gate: Gate) -> None:
    gate.open()
    nowhere = Address(socket.AF_INET, ("192.0.2.1", 22))

    def knock(address: Address, *, narrow: bool) -> Source:
        if address == nowhere:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return source(SOURCES[address.family], narrow=narrow)

    with connect(target(nowhere, gate.address), knock) as ours, gate.accept() as theirs:
        assert talk(ours, theirs)


def test_a_silent_address_does_not_hold_up_the_next(gate: Gate, shut: Shut) -> None:
    gate.open()
    knock = Knocks()
    to = target(shut.address, gate.address)
    with connect(to, knock) as ours, gate.accept() as theirs:
        assert talk(ours, theirs)
    assert knock.at.index(gate.address) > 0


def test_a_refused_address_beside_a_silent_one_counts_as_silent(
    gate: Gate, shut: Shut
) -> None:
    with pytest.raises(ShutError):
        connect(target(gate.address, shut.address), Knocks(), 1.4)


def test_a_source_that_is_gone_is_taken_again_from_the_next_knock() -> None:
    sources = iter([Source(("192.0.2.77", 0)), Source(("127.0.0.1", 0))])
    with Gate() as gate:
        gate.open()
        with connect(target(gate.address), lambda *_, narrow: next(sources)) as ours:
            assert ours.getpeername()[1] == gate.port


def test_no_socket_is_left_open(gate: Gate, shut: Shut) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SpasshError):
        connect(target(shut.address), Knocks(), 0.3)
    with pytest.raises(SpasshError):
        connect(target(gate.address), no_way(errno.ENETUNREACH))
    connect(target(shut.address), Knocks(2, shut.open)).close()
    assert os.listdir("/proc/self/fd") == before


def test_without_a_profile_the_first_address_that_answers_is_taken(gate: Gate) -> None:
    story: list[str] = []
    with Gate() as refusing:
        gate.open()
        to = target(refusing.address, gate.address)
        with plainly(to, story.append) as ours, gate.accept() as theirs:
            assert talk(ours, theirs)
    assert story[0] == "127.0.0.1: connection refused"
    assert story[1] == f"connected to {gate.address}"


def test_without_a_profile_a_refusal_is_final(gate: Gate) -> None:
    with pytest.raises(RefusedError) as caught:
        plainly(target(gate.address), silent)
    assert str(caught.value) == "server.example refuses connections to port 2222"


def test_without_a_profile_silence_ends_and_the_hint_says_what_to_do(
    shut: Shut,
) -> None:
    with pytest.raises(ShutError) as caught:
        plainly(target(shut.address), silent, 0.05)
    assert str(caught.value) == (
        "port 2222 of server.example stays shut: no answer within 0.05 s"
    )
    assert caught.value.hint.startswith("if spassh guards it, it has to be among the")


def test_without_a_profile_no_way_is_told() -> None:
    with pytest.raises(UnreachableError, match=r"^cannot reach server.example: "):
        plainly(target(Address(socket.AF_INET6, ("fe80::1", 22, 0, 0))), silent)
