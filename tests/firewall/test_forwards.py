"""Ports of this host that lead to a host behind it."""

import select
import socket
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from firewall.backends import DNS, ONCE_KINDS, SETTINGS, SSH, left, make, packed, to
from firewall.hosts import FORWARD_HOSTS, on_each, set_up_forward
from firewall.inner import FORWARDING, INNER, Inner
from firewall.inner import GATEWAY as NEAR_SIDE
from firewall.network import (
    CLIENT,
    FAMILIES,
    PATIENCE,
    SERVER,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
    wait_for,
)
from firewall.packets import is_answered, wrappings

from spassh_server.firewall import Firewall, Forward, Grant, Width
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())

SHELL = Port(6, 2222)
NAMES = Port(17, 5353)
FORWARDS = tuple(
    forward
    for version in VERSIONS
    for forward in (
        Forward(SHELL, packed(INNER[version]), 22),
        Forward(NAMES, packed(INNER[version]), 53),
    )
)
GATEWAY = SETTINGS._replace(forwards=FORWARDS, grant_ports=(SSH, DNS, SHELL, NAMES))

each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def inner(network: Network) -> Iterator[Inner]:
    with Inner(network) as inner:
        yield inner


@pytest.fixture
def gateway(kind: str, network: Network) -> Firewall:
    return make(kind, GATEWAY)


def shell(source: str, width: Width = Width.ADDRESS, source_port: int = 0) -> Grant:
    return to(source, SHELL, width, source_port)


def is_led(inner: Inner, source: str, source_port: int = 0) -> bool:
    """Tell whether `source` gets to the inner host by the server's port."""
    return inner.session(source, SHELL.number, source_port) is not None


def is_kept_out(inner: Inner, source: str, source_port: int = 0) -> bool:
    """Tell whether it does not."""
    return inner.session(source, SHELL.number, source_port, patience=0.1) is None


@each_version
def test_a_grant_leads_one_client_to_the_inner_host(
    version: int, gateway: Firewall, inner: Inner, network: Network
) -> None:
    gateway.prepare()
    assert is_kept_out(inner, CLIENT[version])
    gateway.grant(shell(CLIENT[version]), 60)
    session = inner.session(CLIENT[version], SHELL.number)
    assert session is not None
    assert session.lives()
    assert inner.peer(session) == CLIENT[version]
    assert is_kept_out(inner, STRANGER[version])
    assert network.is_silent(CLIENT[version], STRANGER[version])
    gateway.revoke(shell(CLIENT[version]))
    assert is_kept_out(inner, CLIENT[version])
    assert session.lives()
    assert gateway.repair() is False


@each_version
def test_a_grant_of_another_port_leads_nowhere(
    version: int, gateway: Firewall, inner: Inner, network: Network
) -> None:
    gateway.prepare()
    gateway.grant(to(CLIENT[version]), 60)
    assert is_kept_out(inner, CLIENT[version])
    assert network.is_open(CLIENT[version])


@each_version
def test_strangers_hear_nothing_and_not_that_the_port_is_closed(
    version: int, gateway: Firewall, inner: Inner, network: Network
) -> None:
    assert network.answer(STRANGER[version], SHELL.number) == "refused"
    gateway.prepare()
    assert network.is_silent(CLIENT[version], STRANGER[version], port=SHELL.number)


@each_version
def test_a_forwarded_session_outlives_its_grant(
    version: int, gateway: Firewall, inner: Inner, kind: str
) -> None:
    gateway.prepare()
    gateway.grant(shell(CLIENT[version]), 1)
    session = inner.session(CLIENT[version], SHELL.number)
    assert session is not None
    wait_for(lambda: not gateway.grants(), "the end of a grant")
    gateway.sweep()
    make(kind, GATEWAY).prepare()  # as after a restart
    assert session.lives()
    assert is_kept_out(inner, CLIENT[version])


@each_version
def test_a_flow_is_led_from_its_source_port(
    version: int, gateway: Firewall, inner: Inner
) -> None:
    gateway.prepare()
    gateway.grant(shell(CLIENT[version], Width.FLOW, 40001), 60)
    assert is_kept_out(inner, CLIENT[version], 40002)
    assert is_led(inner, CLIENT[version], 40001)


@pytest.mark.parametrize("kind", ONCE_KINDS)
@each_version
def test_once_leads_one_connection(
    version: int, gateway: Firewall, inner: Inner
) -> None:
    gateway.prepare()
    gateway.grant(shell(CLIENT[version], Width.ONCE), 60)
    session = inner.session(CLIENT[version], SHELL.number)
    assert session is not None
    assert is_kept_out(inner, CLIENT[version])
    assert gateway.grants() == []
    assert session.lives()


@each_version
def test_who_needs_no_grant_is_led_too(version: int, kind: str, inner: Inner) -> None:
    always = (ip_network(CLIENT[version]),)
    make(kind, GATEWAY._replace(always_allow=always)).prepare()
    assert is_led(inner, CLIENT[version])
    assert is_kept_out(inner, STRANGER[version])


@each_version
def test_datagrams_are_led(
    version: int, gateway: Firewall, inner: Inner, network: Network
) -> None:
    gateway.prepare()
    gateway.grant(to(CLIENT[version], NAMES), 60)
    with inner._inside():
        receiver = network._keep(socket.socket(FAMILIES[version], socket.SOCK_DGRAM))
    receiver.bind((INNER[version], 53))
    for source, arrives in ((STRANGER, False), (CLIENT, True)):
        with network.client_socket(source[version], socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (SERVER[version], NAMES.number))
            poll = select.poll()
            poll.register(receiver, select.POLLIN)
            patience = PATIENCE if arrives else 0.03
            assert bool(poll.poll(patience * 1000)) == arrives


def forget_begun(kind: str, version: int, port: Port) -> None:
    """Do what the kernel does when the inner host has been silent for a while."""
    if "nftables" in kind:
        for name in ("begun", "led"):
            sh("nft", f"flush set inet spassh-t {name}{version}")
    elif "ipset" in kind:
        letter = port.protocol_name[0]
        sh("ipset", "flush", f"spassh-t-f{version}-{letter}{port.number}")


class Names:
    """A service on UDP port 53 of the inner host, and a client of it."""

    def __init__(self, network: Network, inner: Inner, version: int) -> None:
        self._network, self._version = network, version
        with inner._inside():
            sock = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
        self.service = network._keep(sock)
        self.service.bind((INNER[version], 53))
        self.client = self._socket(CLIENT[version], 40001)

    def hears(self, source: str = "", source_port: int = 0) -> bool:
        """Tell whether a datagram of the client, or of another one, gets there."""
        sender = self._socket(source, source_port) if source else self.client
        sender.sendto(b"hello", (SERVER[self._version], NAMES.number))
        poll = select.poll()
        poll.register(self.service, select.POLLIN)
        return bool(poll.poll(30)) and bool(self.service.recv(5))

    def answers(self) -> bool:
        """Answer a datagram of the client; tell whether that gets back."""
        self.client.sendto(b"hello", (SERVER[self._version], NAMES.number))
        self.client.settimeout(2)
        self.service.settimeout(2)
        _, peer = self.service.recvfrom(5)
        self.service.sendto(b"world", peer)
        return self.client.recv(5) == b"world"

    def _socket(self, source: str, port: int) -> socket.socket:
        sock = self._network.client_socket(source, socket.SOCK_DGRAM, port)
        return self._network._keep(sock)


@pytest.mark.parametrize("width", Width)
@each_version
def test_who_repeats_a_datagram_that_is_not_answered_may_be_granted_that(
    version: int,
    width: Width,
    kind: str,
    gateway: Firewall,
    inner: Inner,
    network: Network,
) -> None:
    """Conntrack has it from the first one on, and nobody sends it on anew."""
    if width not in gateway.widths:
        assert kind not in ONCE_KINDS
        return
    names = Names(network, inner, version)
    grant = to(CLIENT[version], NAMES, width, 40001 if width == Width.FLOW else 0)
    gateway.prepare()
    gateway.grant(grant, 60)
    assert names.hears()
    gateway.revoke(grant)
    forget_begun(kind, version, NAMES)
    assert not names.hears()
    gateway.grant(grant, 60)
    assert names.hears()
    assert not names.hears(STRANGER[version], 40001)
    if width == Width.ONCE:
        assert gateway.grants() == []
        assert not names.hears(CLIENT[version], 40002)
        forget_begun(kind, version, NAMES)
        assert not names.hears(), "once is once"
        gateway.grant(grant, 60)
    assert names.answers()
    gateway.revoke(grant)
    forget_begun(kind, version, NAMES)
    assert names.answers(), "a session outlives its grant"
    assert gateway.repair() is False


@each_version
def test_who_needs_no_grant_may_repeat_a_datagram(
    version: int, kind: str, inner: Inner, network: Network
) -> None:
    names = Names(network, inner, version)
    always = (ip_network(CLIENT[version]),)
    make(kind, GATEWAY._replace(always_allow=always)).prepare()
    assert names.hears()
    forget_begun(kind, version, NAMES)
    assert names.hears()
    assert not names.hears(STRANGER[version], 40001)


@pytest.mark.parametrize("kind", ONCE_KINDS)
@each_version
def test_a_session_uses_up_no_other_grant(
    version: int, kind: str, gateway: Firewall, inner: Inner, network: Network
) -> None:
    names = Names(network, inner, version)
    gateway.prepare()
    gateway.grant(to(CLIENT[version], NAMES, Width.ONCE), 60)
    assert names.answers()
    forget_begun(kind, version, NAMES)
    once = {to(CLIENT[version], port, Width.ONCE) for port in (NAMES, SHELL)}
    for grant in once:
        gateway.grant(grant, 60)
    assert names.answers()
    assert {active.grant for active in gateway.grants()} == once


@pytest.mark.parametrize(
    "widths", [{Width.FLOW}, {Width.ADDRESS}, {Width.FLOW, Width.ADDRESS}]
)
@pytest.mark.parametrize("kind", ONCE_KINDS)
@each_version
def test_who_is_sent_on_anyway_uses_nothing_up(
    version: int,
    widths: set[Width],
    kind: str,
    gateway: Firewall,
    inner: Inner,
    network: Network,
) -> None:
    names = Names(network, inner, version)
    gateway.prepare()
    given = {
        to(CLIENT[version], NAMES, width, 40001 if width == Width.FLOW else 0)
        for width in widths | {Width.ONCE}
    }
    for grant in given:
        gateway.grant(grant, 60)
    assert names.hears()
    if Width.FLOW not in widths:
        forget_begun(kind, version, NAMES)
    assert names.hears()
    assert left(gateway).keys() == given
    assert min(left(gateway).values()) > 30, "none is shortened"


@pytest.mark.parametrize("kind", ONCE_KINDS)
@each_version
def test_a_syn_that_is_repeated_gets_no_further_than_what_is_granted(
    version: int, kind: str, gateway: Firewall, inner: Inner, network: Network
) -> None:
    syn = wrappings(version, CLIENT[version], 40001, SHELL.number)["plain"]
    grant = shell(CLIENT[version], Width.ONCE)
    inside = ("ip", "netns", "exec", inner._name, "nft")
    gateway.prepare()
    gateway.grant(grant, 60)
    sh(*inside, "-f", "-", text=SILENT)
    assert not is_answered(network, version, syn, 40001, 0.1)
    assert gateway.grants() == []
    sh(*inside, "flush ruleset")
    forget_begun(kind, version, SHELL)
    assert not is_answered(network, version, syn, 40001, 0.1)
    gateway.grant(grant, 60)
    assert is_answered(network, version, syn, 40001, 2)
    assert gateway.grants() == []
    forget_begun(kind, version, SHELL)
    assert not is_answered(network, version, syn, 40001, 0.1)


SILENT = """
table inet silent {
    chain input { type filter hook input priority 0; tcp dport 22 drop; }
}
"""


@each_version
def test_masquerading_hides_the_client(version: int, kind: str, inner: Inner) -> None:
    hidden = tuple(forward._replace(masquerade=True) for forward in FORWARDS)
    gateway = make(kind, GATEWAY._replace(forwards=hidden))
    gateway.prepare()
    gateway.grant(shell(CLIENT[version]), 60)
    session = inner.session(CLIENT[version], SHELL.number)
    assert session is not None
    assert inner.peer(session) == NEAR_SIDE[version]
    gateway.revoke(shell(CLIENT[version]))
    assert session.lives()


@each_version
def test_what_is_for_other_hosts_is_left_alone(
    version: int, gateway: Firewall, inner: Inner, network: Network
) -> None:
    """The port is one of this host, and the packets only pass through it."""
    route_to_inner(network, version)
    gateway.prepare()
    gateway.grant(shell(CLIENT[version]), 60)
    direct = inner.session(CLIENT[version], 22, to=INNER[version])
    assert direct is not None
    there = INNER[version]
    led = inner.session(CLIENT[version], SHELL.number, to=there, patience=0.1)
    assert led is None


@each_version
def test_a_forward_needs_no_drop_of_our_own(
    version: int, kind: str, inner: Inner, network: Network
) -> None:
    gateway = make(kind, GATEWAY._replace(own_drop=False))
    gateway.prepare()
    gateway.grant(shell(CLIENT[version]), 60)
    assert is_led(inner, CLIENT[version])
    assert network.answer(STRANGER[version], SHELL.number) == "refused"
    assert network.is_open(STRANGER[version])


@on_each(FORWARD_HOSTS)
def test_a_grant_gets_through_a_gateway_that_drops(
    kind: str, host: str, inner: Inner, network: Network
) -> None:
    set_up_forward(host)
    gateway = make(kind, GATEWAY)
    gateway.prepare()
    sessions = []
    for version in VERSIONS:
        assert is_kept_out(inner, CLIENT[version])
        gateway.grant(shell(CLIENT[version]), 60)
        sessions.append(inner.session(CLIENT[version], SHELL.number))
        assert is_kept_out(inner, STRANGER[version])
        route_to_inner(network, version)
        assert (
            inner.session(CLIENT[version], 22, to=INNER[version], patience=0.1) is None
        )
        gateway.revoke(shell(CLIENT[version]))
        gateway.grant(shell(CLIENT[version], Width.FLOW, 40001), 60)
        assert is_led(inner, CLIENT[version], 40001)
        if kind in ONCE_KINDS:
            gateway.grant(shell(CLIENT[version], Width.ONCE), 60)
            assert is_led(inner, CLIENT[version])
        assert is_kept_out(inner, CLIENT[version])
    assert all(session is not None and session.lives() for session in sessions)


@on_each(FORWARD_HOSTS)
def test_a_gateway_that_was_loaded_anew_is_mended(
    kind: str, host: str, inner: Inner
) -> None:
    gateway = make(kind, GATEWAY)
    gateway.prepare()
    assert gateway.repair() is False
    for source in CLIENTS:
        gateway.grant(shell(source), 60)
    set_up_forward(host)
    assert all(is_kept_out(inner, source) for source in CLIENTS)
    assert gateway.repair() is True
    assert gateway.repair() is False
    for source in CLIENTS:
        gateway.grant(shell(source), 60)
        assert is_led(inner, source)


def test_removing_leaves_nothing_behind(gateway: Firewall, inner: Inner) -> None:
    gateway.prepare()
    gateway.remove()  # iptables keeps the tables that it made for us
    before = everything()
    gateway.prepare()
    for source in CLIENTS:
        gateway.grant(shell(source), 60)
    gateway.repair()
    for _ in range(2):
        gateway.remove()
        assert everything() == before
    assert "spassh" not in before.lower()
    assert all(is_kept_out(inner, source) for source in CLIENTS)


@on_each(FORWARD_HOSTS)
def test_what_is_forwarded_no_more_leaves_nothing_behind(
    kind: str, host: str, inner: Inner
) -> None:
    set_up_forward(host)
    make(kind, GATEWAY).prepare()
    make(kind).prepare()  # iptables keeps the tables that it made for us
    before = everything()
    assert make(kind).repair() is False
    make(kind, GATEWAY).prepare()
    assert everything() != before
    make(kind).prepare()
    assert everything() == before


@on_each(FORWARD_HOSTS)
def test_chains_of_others_are_left_as_they_were(
    kind: str, host: str, inner: Inner
) -> None:
    set_up_forward(host)
    gateway = make(kind, GATEWAY)
    gateway.prepare()
    gateway.remove()  # iptables keeps the tables that it made for us
    before = everything()
    gateway.prepare()
    assert everything() != before
    make(kind).remove()
    assert everything() == before
    assert "spassh" not in before.lower()


def test_a_host_that_forwards_nothing_is_warned_of(
    gateway: Firewall, inner: Inner
) -> None:
    gateway.prepare()
    assert gateway.warnings() == []
    for version in VERSIONS:
        with open(FORWARDING[version], "w", encoding="ascii") as switch:
            switch.write("0")
    four, six = gateway.warnings()
    assert "net.ipv4.ip_forward" in four
    assert "net.ipv6.conf.all.forwarding" in six


@each_version
def test_forwarded_sessions_are_ended(
    version: int, gateway: Firewall, inner: Inner
) -> None:
    gateway.prepare()
    for source in (CLIENT[version], STRANGER[version]):
        gateway.grant(shell(source), 60)
    theirs = inner.session(CLIENT[version], SHELL.number)
    others = inner.session(STRANGER[version], SHELL.number)
    assert theirs is not None
    assert others is not None
    gateway.revoke(shell(CLIENT[version]))
    assert gateway.end_sessions(frozenset({packed(CLIENT[version])})) == 1
    assert not theirs.lives(0.1)
    assert others.lives()


def route_to_inner(network: Network, version: int) -> None:
    """Let the client send to the inner host through the server."""
    route = f"-{version} route replace {INNER[version]} via {SERVER[version]}"
    with network.client():
        sh("ip", *route.split())
