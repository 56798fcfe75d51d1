"""What is asked of the kernel to end connections, and how its answers are read."""

import errno
import socket
from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh_server.firewall import FirewallError, kill
from spassh_server.firewall.kill import (
    Connection,
    End,
    parse_flow,
    parse_socket,
    render_flow_query,
    render_socket_query,
)
from spassh_server.firewall.netlink import attribute, nested, parse_attributes

CLIENT, SERVER, INNER = b"\xc0\x00\x02\x02", b"\xc0\x00\x02\x01", b"\x0a\x00\x00\x05"
ORIGINAL, REPLY = 1, 2


def way(source: End, destination: End, protocol: int = 6) -> bytes:
    addresses = attribute(1, source.address) + attribute(2, destination.address)
    transport = attribute(1, bytes([protocol]))
    transport += attribute(2, pack("!H", source.port))
    transport += attribute(3, pack("!H", destination.port))
    return nested(1, addresses) + nested(2, transport)


def entry(
    there: bytes, back: bytes, status: int = 0x0E, state: int = 3, more: bytes = b""
) -> bytes:
    info = nested(4, nested(1, attribute(1, bytes([state]))))
    return (
        pack("!BBH", socket.AF_INET, 0, 0)
        + nested(1, there)
        + nested(2, back)
        + attribute(3, pack("!I", status))
        + info
        + attribute(12, b"\1\2\3\4")
        + more
    )


HERE = End(CLIENT, 40001)
ASKED = End(SERVER, 2222)
BEHIND = End(INNER, 22)


def test_a_translated_connection_is_read_from_both_ways() -> None:
    there, back = way(HERE, ASKED), way(BEHIND, HERE)
    flow = parse_flow(entry(there, back), ORIGINAL)
    assert flow is not None
    assert flow.connection == Connection(6, HERE, BEHIND)
    assert flow.asked == ASKED
    assert flow.is_alive
    assert parse_attributes(flow.name) == {1: there, 12: b"\1\2\3\4"}


def test_the_zone_is_a_part_of_the_name() -> None:
    zone = attribute(18, b"\0\5")
    flow = parse_flow(entry(way(HERE, ASKED), way(ASKED, HERE), more=zone), ORIGINAL)
    assert flow is not None
    assert parse_attributes(flow.name)[18] == b"\0\5"


def test_a_connection_that_the_server_seems_to_have_begun() -> None:
    flow = parse_flow(entry(way(ASKED, HERE), way(HERE, ASKED)), REPLY)
    assert flow is not None
    assert flow.connection == Connection(6, HERE, ASKED)
    assert flow.asked == ASKED


@pytest.mark.parametrize(
    ("status", "state", "alive"),
    [(0x0E, 3, True), (0x0E, 4, True), (0x0E, 7, False), (0x08, 1, False)],
)
def test_what_is_over_is_not_alive(status: int, state: int, alive: bool) -> None:
    body = entry(way(HERE, ASKED), way(ASKED, HERE), status, state)
    flow = parse_flow(body, ORIGINAL)
    assert flow is not None
    assert flow.is_alive == alive


def test_datagrams_are_alive_when_both_have_spoken() -> None:
    there, back = way(HERE, ASKED, 17), way(ASKED, HERE, 17)
    for status, alive in ((0x0A, True), (0x08, False)):
        flow = parse_flow(entry(there, back, status), ORIGINAL)
        assert flow is not None
        assert flow.is_alive == alive


def test_without_a_name_it_is_no_entry() -> None:
    """To delete by no name would be to delete all that there are."""
    whole = entry(way(HERE, ASKED), way(ASKED, HERE))
    found = parse_attributes(whole[4:])
    for missing in (ORIGINAL, REPLY, 3, 12):
        rest = b"".join(attribute(k, v) for k, v in found.items() if k != missing)
        assert parse_flow(whole[:4] + rest, ORIGINAL) is None
    icmp = nested(1, attribute(1, CLIENT) + attribute(2, SERVER))
    icmp += nested(2, attribute(1, b"\1"))
    assert parse_flow(entry(icmp, icmp), ORIGINAL) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_none_or_an_error(body: bytes) -> None:
    for parse in (lambda body: parse_flow(body, ORIGINAL), parse_socket):
        with suppress(OSError):
            parse(body)


def test_entries_are_asked_for_by_family_and_by_the_address_if_there_is_one() -> None:
    query = parse_attributes(render_flow_query(socket.AF_INET, REPLY, CLIENT)[4:])
    assert query == {
        REPLY: nested(1, attribute(1, CLIENT)),
        25: attribute(REPLY, pack("=I", 1)),
    }
    assert render_flow_query(socket.AF_INET6, REPLY) == bytes([10, 0, 0, 0])


def test_sockets_are_asked_for_by_their_other_end() -> None:
    query = render_socket_query(socket.AF_INET6, [CLIENT])
    assert query[:2] == bytes([socket.AF_INET6, 6])
    (program,) = parse_attributes(query[56:]).values()
    # If so, on to its end, which accepts; if not, beyond it, which does not.
    assert program == pack("=BBHBBxxi4s", 8, 16, 20, 2, 32, -1, CLIENT)


def test_sockets_of_several_ends_are_asked_for_at_once() -> None:
    query = render_socket_query(socket.AF_INET6, [CLIENT, SERVER])
    (program,) = parse_attributes(query[56:]).values()
    # If so, on to a jump to the end; if not, over it to the next.
    first = pack("=BBHBBxxi4s", 8, 16, 20, 2, 32, -1, SERVER)
    last = pack("=BBHBBxxi4s", 8, 16, 20, 2, 32, -1, CLIENT)
    assert program == first + pack("=BBH", 1, 4, 4 + len(last)) + last


def test_an_ipv4_address_in_a_socket_of_ipv6_is_one_of_ipv4() -> None:
    mapped = bytes(10) + b"\xff\xff"
    identity = pack("!HH16s16s12s", 22, 40001, mapped + SERVER, mapped + CLIENT, b"c")
    body = pack("=BBBB48s20x", socket.AF_INET6, 1, 0, 0, identity)
    connection, request = parse_socket(body)
    assert connection == Connection(6, HERE, End(SERVER, 22))
    assert request[8:] == identity
    assert request[:2] == bytes([socket.AF_INET6, 6])


def test_the_kernel_does_not_have_to_be_able_to_do_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nothing:
        def __init__(self, protocol: int) -> None:
            raise OSError(errno.EPROTONOSUPPORT, "no such protocol")

    monkeypatch.setattr(kill, "Netlink", Nothing)
    with pytest.raises(FirewallError, match="no such protocol"):
        kill.end_sessions(frozenset({CLIENT}), ())
