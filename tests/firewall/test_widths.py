"""How much one grant lets through, and that the kernel sees to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from firewall.backends import (
    DNS,
    KINDS,
    ONCE_KINDS,
    SETTINGS,
    SSH,
    left,
    make,
    repeated,
    to,
)
from firewall.network import (
    CLIENT,
    PATIENCE,
    STRANGER,
    VERSIONS,
    Network,
    sh,
    wait_for,
)
from firewall.packets import is_answered, wrappings
from firewall.racers import racers

from spassh_server.firewall import Firewall, FirewallError, Grant, Width
from spassh_server.firewall.libnftables import LibNftables
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())

WEB = Port(6, 80)
BOTH = SETTINGS._replace(protect=(SSH, DNS, WEB), grant_ports=(SSH, DNS, WEB))

each_version = pytest.mark.parametrize("version", VERSIONS)
each_once = pytest.mark.parametrize("kind", ONCE_KINDS)


def flow(source: str, source_port: int) -> Grant:
    return to(source, SSH, Width.FLOW, source_port)


def once(source: str, port: Port = SSH) -> Grant:
    return to(source, port, Width.ONCE)


def begins(network: Network, version: int, source_port: int, port: int = 22) -> bool:
    """Tell whether the server answers to a SYN of the client."""
    syn = wrappings(version, CLIENT[version], source_port, port)["plain"]
    return is_answered(network, version, syn, source_port, PATIENCE)


def is_ignored(
    network: Network, version: int, source_port: int, port: int = 22
) -> bool:
    """Tell whether it does not."""
    syn = wrappings(version, CLIENT[version], source_port, port)["plain"]
    return not is_answered(network, version, syn, source_port, 0.1)


@contextmanager
def no_resets(network: Network) -> Iterator[None]:
    """Have the client's kernel leave answers alone to SYNs that it did not send."""
    rules = "add table inet silent; add chain inet silent output"
    rules += " { type filter hook output priority 0; };"
    with network.client():
        sh("nft", f"{rules} add rule inet silent output tcp flags rst drop")
    yield
    with network.client():
        sh("nft", "delete table inet silent")


def test_every_kind_says_what_it_can(firewall: Firewall, kind: str) -> None:
    without = set() if kind in ONCE_KINDS else {Width.ONCE}
    assert firewall.unavailable() is None
    assert set(Width) - without == firewall.widths


@pytest.mark.parametrize("kind", sorted({*KINDS} - {*ONCE_KINDS}))
def test_what_it_cannot_is_an_error(firewall: Firewall, network: Network) -> None:
    firewall.prepare()
    for source in CLIENTS:
        with pytest.raises(FirewallError, match="once"):
            firewall.grant(once(source), 60)
        assert network.is_silent(source)
    assert firewall.grants() == []


def test_a_flow_is_one_source_port_of_one_client(kind: str, network: Network) -> None:
    firewall = make(kind, BOTH)
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(flow(CLIENT[version], 40001), 60)
        for source_port in (40000, 40002):
            assert is_ignored(network, version, source_port)
        assert is_ignored(network, version, 40001, WEB.number)
        silent = network.answer(STRANGER[version], patience=0.03, source_port=40001)
        assert silent == "silent"
        session = network.session(CLIENT[version], source_port=40001)
        assert network.is_silent(CLIENT[version])
        firewall.revoke(flow(CLIENT[version], 40001))
        assert session.lives()
        assert is_ignored(network, version, 40001)


def test_flows_of_one_client_are_grants_of_their_own(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for source in CLIENTS:
        for source_port in (40001, 40002):
            firewall.grant(flow(source, source_port), 60)
        firewall.revoke(flow(source, 40001))
        assert network.answer(source, source_port=40002) == "open"
    assert left(firewall).keys() == {flow(source, 40002) for source in CLIENTS}
    for version in VERSIONS:
        assert is_ignored(network, version, 40001)


@each_once
def test_once_is_for_one_connection(firewall: Firewall, network: Network) -> None:
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(once(CLIENT[version]), 60)
        assert network.is_silent(STRANGER[version])
        session = network.session(CLIENT[version])
        assert network.is_silent(CLIENT[version])
        assert session.lives()
        assert firewall.grants() == []


@each_once
def test_of_many_connections_at_the_same_time_once_lets_in_one(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(once(source), 60)
        assert network.count_open(source, 40) == 1


@each_version
def test_of_two_connections_at_the_same_instant_once_lets_in_one(
    network: Network, version: int
) -> None:
    """On two processors, both find the grant before either has used it up."""
    firewall = make("nftables")
    firewall.prepare()
    ports = range(1000, 1500)
    for port in ports:
        firewall.grant(once(CLIENT[version], Port(6, port)), 600)
    with racers(network, f"send_pairs({{me}}, {{path}}, {version}, {ports})") as both:
        for process in both:
            assert process.wait(60) == 0
    assert firewall.grants() == []
    assert 0 < begun(version) <= len(ports)


@each_version
def test_once_lets_in_one_of_the_connections_that_it_is_given_among(
    network: Network, version: int
) -> None:
    """Some of them are under way while the kernel changes the set."""
    firewall = make("nftables")
    firewall.prepare()
    with racers(network, f"flood({{me}}, {version})"):
        for _ in range(150):
            firewall.grant(once(CLIENT[version]), 60)
            deadline = time.monotonic() + 10
            while not begun(version):
                assert time.monotonic() < deadline, "nobody was let in"
            assert begun(version) == 1
            LibNftables().run(f"flush set inet spassh-t begun{version}")


def begun(version: int) -> int:
    """Count the connections that were let in once, in the last ten seconds."""
    command = f"list set inet spassh-t begun{version}"
    (listed,) = LibNftables().read(command, "set")
    return len(listed.get("elem", []))


@each_once
def test_the_first_packet_may_come_again(firewall: Firewall, network: Network) -> None:
    """The answer to it was lost, and there is no grant for it any more."""
    firewall.prepare()
    with no_resets(network):
        for version in VERSIONS:
            firewall.grant(once(CLIENT[version]), 60)
            assert begins(network, version, 40001)
            assert begins(network, version, 40001)
            assert is_ignored(network, version, 40002)


@each_once
def test_what_is_granted_once_more_is_for_one_more(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for source in CLIENTS:
        sessions = []
        for _ in range(3):
            firewall.grant(once(source), 60)
            firewall.grant(once(source), 60)
            sessions.append(network.session(source))
            assert network.is_silent(source)
        firewall.grant(once(source), 60)
        firewall.revoke(once(source))
        assert network.is_silent(source)
        assert all(session.lives() for session in sessions)


@each_once
def test_only_a_new_connection_to_the_port_uses_it_up(
    kind: str, network: Network
) -> None:
    firewall = make(kind, BOTH)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
        session = network.session(source)
        firewall.revoke(to(source))
        firewall.grant(once(source), 60)
        assert session.lives()
        assert network.is_silent(source, port=80)
        assert network.udp_is_lost(source, DNS.number)
        assert firewall.grants()
        assert network.is_open(source)
        assert network.is_silent(source)


@each_once
def test_a_wider_grant_is_taken_first(firewall: Firewall, network: Network) -> None:
    firewall.prepare()
    for source in CLIENTS:
        for grant in (once(source), to(source), flow(source, 40001)):
            firewall.grant(grant, 60)
        assert network.is_open(source)
        assert network.answer(source, source_port=40001) == "open"
        firewall.revoke(to(source))
        assert network.is_open(source)
        assert network.is_silent(source)


@each_once
def test_once_can_be_for_datagrams(firewall: Firewall, network: Network) -> None:
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(once(source, DNS), 60)
        assert network.udp_arrives(source, DNS.number)
        assert network.udp_is_lost(source, DNS.number)


def all_widths(kind: str, source: str) -> list[Grant]:
    wide = [to(source), flow(source, 40001), flow(source, 40002)]
    return [*wide, once(source)] if kind in ONCE_KINDS else wide


def test_grants_of_all_widths_are_told_with_their_users(
    firewall: Firewall, kind: str
) -> None:
    firewall.prepare()
    users = {}
    for source in CLIENTS:
        for number, grant in enumerate(all_widths(kind, source)):
            user = ("alice", "b", "", "x._-" * 8)[number]
            users[grant] = user
            firewall.grant(grant, 60 + number, user)
    told = {active.grant: active.user for active in firewall.grants()}
    assert told == users
    assert all(50 < seconds <= 64 for seconds in left(firewall).values())


def test_who_asked_last_is_told_and_a_grant_is_never_shortened(
    firewall: Firewall, kind: str
) -> None:
    firewall.prepare()
    asked = [("alice", 100), ("bob", 200), ("carol", 50), ("carol", 10), ("", 20)]
    for source in CLIENTS:
        for grant in all_widths(kind, source):
            longest = 0
            for user, seconds in asked:
                firewall.grant(grant, seconds, user)
                longest = max(longest, seconds)
                (active,) = (one for one in firewall.grants() if one.grant == grant)
                assert active.user == user
                assert longest - 8 <= active.seconds_left <= longest


@pytest.mark.parametrize("bad", ['a"b', "a b", "a" * 33, "a;b", "a\nb"])
def test_what_is_no_user_name_is_an_error(firewall: Firewall, bad: str) -> None:
    firewall.prepare()
    for source in CLIENTS:
        with pytest.raises(FirewallError, match="user"):
            firewall.grant(to(source), 60, bad)
    assert firewall.grants() == []


def test_grants_of_all_widths_end_by_themselves(
    firewall: Firewall, kind: str, network: Network
) -> None:
    firewall.prepare()
    for source in CLIENTS:
        for grant in all_widths(kind, source):
            firewall.grant(grant, 1, "alice")
    wait_for(lambda: not firewall.grants(), "the end of all grants")
    firewall.sweep()
    assert network.is_silent(*CLIENTS)
    for version in VERSIONS:
        assert is_ignored(network, version, 40001)


def test_preparing_again_keeps_grants_of_all_widths(
    kind: str, network: Network
) -> None:
    make(kind).prepare()
    given = {grant for source in CLIENTS for grant in all_widths(kind, source)}
    for grant in given:
        make(kind).grant(grant, 60, "alice")
    second = make(kind)
    for settings in (SETTINGS, BOTH, BOTH._replace(own_drop=False)):
        second = make(kind, settings)
        second.prepare()
        told = {active.grant: active.user for active in second.grants()}
        assert told == dict.fromkeys(given, "alice")
        assert second.repair() is False
    assert network.is_open(*STRANGERS), "the last one drops nothing"


def test_preparing_for_something_else_leaves_no_gap(
    kind: str, network: Network
) -> None:
    make(kind, BOTH).prepare()
    for source in CLIENTS:
        make(kind, BOTH).grant(to(source), 600, "alice")
    settings = "(test_forwards.GATEWAY if number % 2 else test_widths.BOTH)"
    with repeated(f"make({kind!r}, {settings}).prepare()"):
        for _ in range(16):
            assert network.is_open(*CLIENTS)
            assert all(network.answer(s, patience=0.002) != "open" for s in STRANGERS)


@each_version
def test_sessions_are_ended_with_the_grant(
    firewall: Firewall, network: Network, version: int
) -> None:
    firewall.prepare()
    for source in (CLIENT[version], STRANGER[version]):
        firewall.grant(to(source), 60)
    theirs = [network.session(CLIENT[version]) for _ in range(2)]
    others = [
        network.session(STRANGER[version]),
        network.session(CLIENT[version], WEB.number),
    ]
    firewall.revoke(to(CLIENT[version]))
    address = to(CLIENT[version]).address
    assert firewall.end_sessions(frozenset({address})) == 2
    assert firewall.end_sessions(frozenset({address})) == 0
    assert not any(session.lives(0.1) for session in theirs)
    assert all(session.lives() for session in others)


@each_once
@each_version
def test_what_a_used_up_grant_has_begun_does_not_begin_again_after_the_end(
    kind: str, network: Network, version: int
) -> None:
    """The element has gone, so `revoke` has nothing to take back any more."""
    firewall = make(kind)
    firewall.prepare()
    firewall.grant(once(CLIENT[version]), 60)
    session = network.session(CLIENT[version], source_port=40001)
    assert firewall.grants() == []
    address = to(CLIENT[version]).address
    assert firewall.end_sessions(frozenset({address})) == 1
    assert not session.lives(0.1)
    assert is_ignored(network, version, 40001)
