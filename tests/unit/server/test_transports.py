"""By what packets of fwknop may come: how that is written, and the filter for it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from unit.server.frames import (
    PORT,
    ethernet,
    get,
    icmp,
    ipv4,
    ipv6,
    pcap_header,
    pcap_record,
    tcp,
    udp,
)
from unit.server.fwknop_parties import gnupg_packet, packet
from unit.server.parties import NOW

from spassh_server.transports import Transport, parse_transport

TEXTS = {
    "udp/any": Transport("udp"),
    "udp/53": Transport("udp", 53),
    "tcp/443": Transport("tcp", 443),
    "http/80": Transport("http", 80),
    "http/65535": Transport("http", 65535),
    "icmp": Transport("icmp"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_each_is_read_and_spelled_as_it_was(text: str) -> None:
    assert parse_transport(text) == TEXTS[text]
    assert str(TEXTS[text]) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "udp", "udp/", "udp/0", "udp/65536", "udp/053", "udp/-1", "udp/any/any"),
        *("tcp/any", "http/any", "http", "icmp/8", "icmp/", "sctp/1", "TCP/1"),
        *("tcp/1_0", "tcp/\u0661", "tcp/99999999999999999999", " tcp/1"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"not a transport: .*expected udp/53, udp/any"
    ):
        parse_transport(text)


# The filter, as libpcap applies it to a file

FIRST = packet()
URL = get(FIRST)


def found(path: Path, transports: list[Transport], packets: list[bytes]) -> list[int]:
    """Return which of these packets, from 0, the filter lets through."""
    pytest.importorskip("scapy.libs.winpcapy")
    from spassh_server.capture_file import CaptureFile

    file = path / "packets.pcap"
    records = [
        pcap_record(ethernet(one), NOW + number) for number, one in enumerate(packets)
    ]
    file.write_bytes(pcap_header() + b"".join(records))
    capture = CaptureFile(str(file), PORT, fwknop=True, transports=transports)
    times = [one.time - NOW for one in capture.records()]
    capture.close()
    return times


CARRIERS: dict[str, list[Callable[[bytes], bytes]]] = {
    "udp/any": [lambda p: udp(p, port=9), lambda p: udp(p, port=53)],
    "udp/53": [lambda p: udp(p, port=53)],
    "tcp/443": [lambda p: tcp(p, 443), lambda p: tcp(p, 443, options=bytes(12))],
    "http/80": [lambda p: tcp(get(p)), lambda p: tcp(get(p, host="a.test"))],
    "icmp": [icmp, lambda p: icmp(p, 8)],
}
ALSO = {"udp/any": ["udp/53"], "udp/53": ["udp/any"]}
"""The last packet of these is for the same port."""
PROTOCOLS = {"udp": 17, "tcp": 6, "http": 6, "icmp": 1}


@pytest.mark.parametrize("text", CARRIERS)
def test_a_packet_passes_by_the_transport_that_is_wanted_and_by_no_other(
    tmp_path: Path, text: str
) -> None:
    packets: list[bytes] = []
    expected: list[int] = []
    for name, carriers in CARRIERS.items():
        protocol = PROTOCOLS[name.split("/", maxsplit=1)[0]]
        for carrier in carriers:
            for options in (b"", bytes(8)):
                shared = name in ALSO.get(text, ()) and carrier is carriers[-1]
                if name == text or shared:
                    expected.append(len(packets))
                packets.append(ipv4(carrier(FIRST), protocol=protocol, options=options))
            packets.append(ipv4(carrier(FIRST), protocol=protocol, fragment=1))
            packets.append(ipv6(carrier(FIRST), next_header=protocol))
    assert found(tmp_path, [TEXTS[text]], packets) == expected
    assert len(expected) >= 2


def test_what_has_another_size_or_beginning_wakes_nobody(tmp_path: Path) -> None:
    junk = [b"", b"8" * 139, b"8" * 1501, b"A" * 200, b"\0" * 200, b"GET " + b"8" * 200]
    packets = [
        ipv4(wrap(one), protocol=protocol)
        for one in junk
        for wrap, protocol in (
            (lambda p: udp(p, port=9), 17),
            (lambda p: tcp(p, 443), 6),
            (icmp, 1),
        )
    ]
    everything = list(TEXTS.values())
    assert found(tmp_path, everything, packets) == []
    # The same size and beginning pass, whatever comes after.
    good = [
        ipv4(icmp(b"8" + b"\0" * 139), protocol=1),
        ipv4(icmp(b"/" * 1500), protocol=1),
    ]
    assert found(tmp_path, everything, good) == [0, 1]


@pytest.mark.parametrize("text", CARRIERS)
def test_a_packet_by_gnupg_passes_as_well(tmp_path: Path, text: str) -> None:
    first = gnupg_packet()
    assert len(first) >= 400
    protocol = PROTOCOLS[text.split("/", maxsplit=1)[0]]
    payloads = [first, b"Q" + first[1:], first[:2] + b"B" + first[3:]]
    packets = [
        ipv4(carrier(one), protocol=protocol)
        for one in payloads
        for carrier in CARRIERS[text][:1]
    ]
    if text == "udp/any":
        packets += [ipv4(udp(first[:399], port=9))]
    assert found(tmp_path, [TEXTS[text]], packets) == [0]


REQUESTS = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /index.html HTTP/1.1\r\n\r\n",
    b"GET /+" + b"A" * 160 + b" HTTP/1.0\r\n",
    b"POST /8" + b"A" * 160 + b" HTTP/1.0\r\n",
    b"get /8" + b"A" * 160 + b" HTTP/1.0\r\n",
    b"HEAD /8" + b"A" * 160 + b" HTTP/1.0\r\n",
    b"",
]


def test_the_requests_of_browsers_wake_nobody(tmp_path: Path) -> None:
    packets = [ipv4(tcp(one), protocol=6) for one in (*REQUESTS, URL)]
    assert found(tmp_path, [TEXTS["http/80"]], packets) == [len(REQUESTS)]


def test_the_knock_port_keeps_the_filter_that_it_has(tmp_path: Path) -> None:
    """The sizes of native datagrams are no sizes of packets of fwknop."""
    packets = [ipv4(udp(b"8" * size)) for size in (139, 140, 192)]
    packets += [ipv4(udp(bytes(size))) for size in (192, 200)]
    assert found(tmp_path, [TEXTS["udp/any"]], packets) == [1, 2, 3]
