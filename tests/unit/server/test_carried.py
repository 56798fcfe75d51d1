"""Packets of fwknop in TCP, HTTP, ICMP and UDP to other ports: only what is whole."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from unit.server.frames import (
    LINKS,
    PORT,
    SOURCE4,
    SOURCE_PORT,
    ethernet,
    get,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from unit.server.fwknop_parties import packet

from spassh.protocol.errors import NotOurs
from spassh_server.carried import carried, parse_any
from spassh_server.datagram import DLT_ETHERNET, DLT_RAW, Datagram
from spassh_server.transports import Transport

RAW = DLT_RAW[0]
HERE = ip_address(SOURCE4).packed
PACKET = packet()

ALL = frozenset(
    {
        Transport("udp"),
        Transport("tcp", 443),
        Transport("tcp", 80),
        Transport("http", 80),
        Transport("icmp"),
    }
)
ONLY_HTTP = frozenset({Transport("http", 80)})


def taken(
    segment: bytes, protocol: int, transports: frozenset[Transport] = ALL
) -> Datagram:
    return carried(ipv4(segment, protocol=protocol), RAW, transports)


CASES: dict[str, tuple[bytes, int, int, str]] = {
    "udp": (udp(PACKET, port=53), 17, SOURCE_PORT, "udp/53"),
    "tcp": (tcp(PACKET, 443), 6, SOURCE_PORT, "tcp/443"),
    "syn": (tcp(PACKET, 443, flags=2), 6, SOURCE_PORT, "tcp/443"),
    "options": (tcp(PACKET, 443, options=bytes(40)), 6, SOURCE_PORT, "tcp/443"),
    "http": (tcp(get(PACKET)), 6, SOURCE_PORT, "http/80"),
    "http 1.1": (
        tcp(get(PACKET, end=b" HTTP/1.1\r\nA: b\r\n\r\n")),
        6,
        SOURCE_PORT,
        "http/80",
    ),
    "proxy": (tcp(get(PACKET, host="a.test:80")), 6, SOURCE_PORT, "http/80"),
    "icmp reply": (icmp(PACKET), 1, 0, "icmp"),
    "icmp request": (icmp(PACKET, 8), 1, 0, "icmp"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_packet_is_taken_out(case: str) -> None:
    segment, protocol, source_port, name = CASES[case]
    expected = Datagram(HERE, source_port, PACKET, name)
    assert taken(segment, protocol) == expected


@pytest.mark.parametrize("case", CASES)
def test_what_was_not_asked_for_is_not_ours(case: str) -> None:
    segment, protocol, _, name = CASES[case]
    kind = name.partition("/")[0]
    others = frozenset(one for one in ALL if one.kind != kind)
    try:
        found = taken(segment, protocol, others)
    except NotOurs:
        return
    # Where TCP is wanted, a request is a payload like any other: no packet.
    assert (kind, found.transport) == ("http", "tcp/80")
    assert found.payload.startswith(b"GET ")


@pytest.mark.parametrize("link", LINKS)
def test_each_link_type_is_understood(link: str) -> None:
    frame = LINKS[link].wrap(ipv4(tcp(PACKET, 443), protocol=6)) + b"trailer"
    assert carried(frame, LINKS[link].number, ALL).payload == PACKET


REQUESTS: dict[str, bytes] = {
    "another method": b"POST" + get(PACKET)[3:],
    "small letters": get(PACKET).replace(b"GET", b"get"),
    "the other spelling": b"GET /" + b"8+/" * 60 + b" HTTP/1.0\r\n",
    "padded": get(PACKET + b"="),
    "prefixed": get(b"x/" + PACKET).replace(b"_", b"/", 1),
    "short": get(b"8" * 139),
    "long": get(b"8" * 1501),
    "no end": get(PACKET, end=b""),
    "no version": get(PACKET, end=b"\r\n"),
    "another version": get(PACKET, end=b" HTTP/2.0\r\n"),
    "two blanks": get(PACKET, end=b"  HTTP/1.0\r\n"),
    "a query": get(PACKET, end=b"?a HTTP/1.0\r\n"),
    "tls": get(PACKET, host="a.test").replace(b"http:", b"https:"),
    "no host": get(PACKET, host="a.test").replace(b"a.test", b""),
    "a long host": get(PACKET, host="a" * 256),
    "a line before": b"\r\n" + get(PACKET),
    "nothing": b"",
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_other_requests_are_not_ours(request_: str) -> None:
    with pytest.raises(NotOurs, match="no request"):
        taken(tcp(REQUESTS[request_]), 6, ONLY_HTTP)


@pytest.mark.parametrize("words", range(16))
def test_the_length_of_the_tcp_header_is_kept_to(words: int) -> None:
    segment = tcp(bytes(20), 443, words=words)
    if 5 <= words <= 10:
        assert taken(segment, 6).payload == bytes(40 - 4 * words)
    else:
        with pytest.raises(NotOurs, match="TCP header length"):
            taken(segment, 6)


HEADERS: dict[int, tuple[bytes, int]] = {
    17: (udp(b"", port=53), 8),
    6: (tcp(b"", 443), 20),
    1: (icmp(b""), 8),
}


@pytest.mark.parametrize("protocol", HEADERS)
def test_a_header_that_is_cut_short_is_not_ours(protocol: int) -> None:
    whole, size = HEADERS[protocol]
    assert len(whole) == size
    assert taken(whole, protocol).payload == b""
    for length in range(size):
        with pytest.raises(NotOurs):
            taken(whole[:length], protocol)


def test_a_length_of_udp_that_lies_is_not_ours() -> None:
    for length in (0, 7, 8, len(PACKET) + 7, len(PACKET) + 9, 65535):
        with pytest.raises(NotOurs, match="UDP length"):
            taken(udp(PACKET, port=53, length=length), 17)


Change = Callable[[bytes], bytes]
CHANGES: dict[str, tuple[Change, str]] = {
    "fragment": (lambda s: ipv4(s, protocol=6, fragment=1), "fragment"),
    "first fragment": (lambda s: ipv4(s, protocol=6, fragment=0x2000), "fragment"),
    "truncated": (lambda s: ipv4(s, protocol=6)[:-1], "truncated frame"),
    "ipv6": (lambda s: ipv6(s, next_header=6), "not IPv4"),
    "extension header": (
        lambda s: ipv6(bytes([6]) + bytes(7) + s, next_header=0),
        "not IPv4",
    ),
    "another protocol": (lambda s: ipv4(s, protocol=132), "another protocol"),
    "tunnel": (lambda s: ipv4(ipv4(s, protocol=6), protocol=4), "another protocol"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_whole_packet_of_ipv4_is_not_ours(change: str) -> None:
    wrap, reason = CHANGES[change]
    with pytest.raises(NotOurs, match=reason):
        carried(wrap(tcp(PACKET, 443)), RAW, ALL)


def test_the_knock_port_comes_first_and_other_transports_only_where_wanted() -> None:
    knock = ethernet(ipv4(udp(PACKET)))
    other = ethernet(ipv4(tcp(PACKET, 443), protocol=6))
    for transports in (frozenset[Transport](), ALL):
        found = parse_any(knock, DLT_ETHERNET, PORT, transports)
        assert found == Datagram(HERE, SOURCE_PORT, PACKET)
    assert parse_any(other, DLT_ETHERNET, PORT, ALL).transport == "tcp/443"
    with pytest.raises(NotOurs, match="not UDP"):
        parse_any(other, DLT_ETHERNET, PORT, frozenset())
