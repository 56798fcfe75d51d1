"""Connections are ended at once, and those of others live on."""

import errno
import socket

import pytest
from firewall.backends import SSH, to
from firewall.inner import INNER, Inner, dial, is_connected
from firewall.network import (
    CLIENT,
    PATIENCE,
    SERVER,
    STRANGER,
    VERSIONS,
    Network,
    Session,
    sh,
)

from spassh_server.addresses import place
from spassh_server.firewall import FirewallError, kill
from spassh_server.firewall.kill import end_sessions
from spassh_server.firewall.netlink import Netlink
from spassh_server.ports import Port

FORWARDED = Port(6, 2222)

TRACKING = """
table inet tracking {
    chain input { type filter hook input priority 0; ct state invalid drop; }
}
"""
FORWARDING = f"""
table inet forwarding {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        tcp flags syn tcp dport 2222 dnat ip to {INNER[4]}:22
        tcp flags syn tcp dport 2222 dnat ip6 to [{INNER[6]}]:22
        tcp dport 8022 redirect to :22
    }}
}}
"""

each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
@each_version
def test_the_sessions_of_one_client_end_and_no_others(
    version: int, tracked: bool, network: Network
) -> None:
    if tracked:
        sh("nft", "-f", "-", text=TRACKING)
    theirs = [network.session(CLIENT[version]) for _ in range(3)]
    others = [
        network.session(STRANGER[version]),
        network.session(CLIENT[version], 80),
        network.session(CLIENT[10 - version]),
    ]
    address = to(CLIENT[version]).address
    assert end_sessions(frozenset({address}), (SSH, Port(17, 80))) == 3
    assert all(map(is_reset, theirs))
    assert all(session.lives() for session in others)
    assert end_sessions(frozenset({address}), (SSH,)) == 0


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
def test_the_first_address_of_a_64_stands_for_all_of_it(
    tracked: bool, network: Network
) -> None:
    if tracked:
        sh("nft", "-f", "-", text=TRACKING)
    theirs = [network.session(CLIENT[6]), network.session(STRANGER[6])]
    other = network.session(CLIENT[4])
    assert end_sessions(frozenset({place(to(CLIENT[6]).address)}), (SSH,)) == 2
    assert all(map(is_reset, theirs))
    assert other.lives()


@pytest.mark.parametrize("tracked", [True, False], ids=["tracked", "untracked"])
def test_the_sessions_of_many_clients_end_at_once(
    tracked: bool, network: Network
) -> None:
    """So many that each query is for all of them: theirs end, and no others."""
    if tracked:
        sh("nft", "-f", "-", text=TRACKING)
    theirs = [network.session(CLIENT[version]) for version in VERSIONS]
    others = [network.session(STRANGER[4]), network.session(STRANGER[6], 80)]
    elsewhere = [bytes([203, 0, 113, number]) for number in range(1, 255)]
    whole = [
        b"\x20\x01\x0d\xb8" + bytes([1, number, *bytes(10)]) for number in range(9)
    ]
    clients = [to(CLIENT[version]).address for version in VERSIONS]
    assert end_sessions(frozenset([*elsewhere, *whole, *clients]), (SSH,)) == 2
    assert all(map(is_reset, theirs))
    assert all(session.lives() for session in others)


def test_an_ipv4_connection_of_an_ipv6_socket_ends(network: Network) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", 2022))
        listener.listen()
        pairs = []
        for source in (CLIENT[4], STRANGER[4]):
            near = dial(network, source, 2022)
            assert is_connected(near, PATIENCE)
            pairs.append(Session(near, network._keep(listener.accept()[0])))
    theirs, others = pairs
    assert end_sessions(frozenset({to(CLIENT[4]).address}), (Port(6, 2022),)) == 1
    assert is_reset(theirs)
    assert others.lives()


@each_version
def test_forwarded_sessions_end_as_well(version: int, network: Network) -> None:
    sh("nft", "-f", "-", text=FORWARDING)
    with Inner(network) as inner:
        theirs = inner.session(CLIENT[version], 2222)
        others = inner.session(STRANGER[version], 2222)
        assert theirs is not None
        assert others is not None
        address = to(CLIENT[version]).address
        assert end_sessions(frozenset({address}), (SSH,)) == 0
        assert theirs.lives()
        assert end_sessions(frozenset({address}), (FORWARDED,)) == 1
        assert not theirs.lives(0.1)
        assert others.lives()


@each_version
def test_sessions_of_a_port_that_is_redirected_are_counted_once(
    version: int, network: Network
) -> None:
    sh("nft", "-f", "-", text=FORWARDING)
    near = dial(network, CLIENT[version], 8022)
    assert is_connected(near, PATIENCE)
    theirs = Session(near, network._keep(network._accept(near, 22)))
    direct = network.session(CLIENT[version])
    assert end_sessions(frozenset({to(CLIENT[version]).address}), (Port(6, 8022),)) == 1
    assert is_reset(theirs)
    assert direct.lives()


@each_version
def test_what_is_routed_through_this_host_to_others_lives_on(
    version: int, network: Network
) -> None:
    """The client's ssh to a host behind us is not to a port of ours."""
    sh("nft", "-f", "-", text=TRACKING.replace("input", "forward"))
    with Inner(network) as inner:
        with network.client():
            sh(
                "ip",
                f"-{version}",
                "route",
                "add",
                INNER[version],
                "via",
                SERVER[version],
            )
        session = inner.session(CLIENT[version], 22, to=INNER[version])
        assert session is not None
        assert end_sessions(frozenset({to(CLIENT[version]).address}), (SSH,)) == 0
        assert session.lives()


@each_version
def test_conntrack_forgets_what_the_server_seems_to_have_begun(
    version: int, network: Network
) -> None:
    """A session that is older than conntrack, whose server was the first to speak."""
    session = network.session(CLIENT[version])
    sh("nft", "-f", "-", text=TRACKING)
    session.say(b"hello")
    entries = (
        f"conntrack -L -f ipv{version} -p tcp --orig-src {SERVER[version]}".split()
    )
    assert "ESTABLISHED" in sh(*entries)
    assert end_sessions(frozenset({to(CLIENT[version]).address}), (SSH,)) == 1
    assert "dport=" not in sh(*entries)


def test_a_kernel_that_cannot_destroy_sockets_still_forgets_connections(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("nft", "-f", "-", text=TRACKING)
    session = network.session(CLIENT[4])
    ask = Netlink.ask

    def refuse(netlink: Netlink, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        if kind == kill._DESTROY:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return ask(netlink, kind, body, flags)

    monkeypatch.setattr(Netlink, "ask", refuse)
    assert end_sessions(frozenset({to(CLIENT[4]).address}), (SSH,)) == 1
    assert session.lives()  # no rule of ours drops it here
    sh("nft", "add rule inet tracking input tcp dport 22 ct state new drop")
    assert end_sessions(frozenset({to(CLIENT[4]).address}), (SSH,)) == 1
    session._near.send(b"still there?")
    session._far.settimeout(0.1)
    with pytest.raises(TimeoutError):
        session._far.recv(1)


def test_the_privileges_to_do_so_are_needed(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(netlink: Netlink, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        raise PermissionError(errno.EPERM, "netlink: not permitted")

    network.session(CLIENT[4])
    monkeypatch.setattr(Netlink, "ask", refuse)
    with pytest.raises(FirewallError, match="not permitted"):
        end_sessions(frozenset({to(CLIENT[4]).address}), (SSH,))


def is_reset(session: Session) -> bool:
    """Tell whether both ends know that it is over."""
    session._far.settimeout(3)
    session._near.settimeout(3)
    with pytest.raises(ConnectionAbortedError):
        session._far.recv(1)
    with pytest.raises(ConnectionResetError):
        session._near.recv(1)
    return True
