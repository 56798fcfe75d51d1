"""Frames built by hand, so that a test can break any one field of them."""

from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import NamedTuple

from spassh_server import datagram

PORT = 62201
SOURCE_PORT = 40_000
SOURCE4 = "192.0.2.7"
SOURCE6 = "2001:db8::7"
_SERVER4 = ip_address("192.0.2.1").packed
_SERVER6 = ip_address("2001:db8::1").packed
_MACS = bytes.fromhex("020000000001020000000002")

IPV4 = 0x0800
IPV6 = 0x86DD
ARP = 0x0806
VLAN = 0x8100
QINQ = 0x88A8


def udp(
    payload: bytes,
    port: int = PORT,
    length: int | None = None,
    source_port: int = SOURCE_PORT,
) -> bytes:
    """Put a UDP header before `payload`; `length` may lie."""
    size = 8 + len(payload) if length is None else length
    return pack("!HHHH", source_port, port, size, 0) + payload


def tcp(
    payload: bytes,
    port: int = 80,
    *,
    words: int | None = None,
    options: bytes = b"",
    source_port: int = SOURCE_PORT,
    flags: int = 0x18,
) -> bytes:
    """Put a TCP header before `payload`; its length may lie, in words of 4 bytes."""
    length = (20 + len(options)) // 4 if words is None else words
    numbers = (source_port, port, 7, 9, length << 4, flags, 512, 0, 0)
    return pack("!HHIIBBHHH", *numbers) + options + payload


def icmp(payload: bytes, kind: int = 0) -> bytes:
    """Put the header of an ICMP message of type `kind` before `payload`."""
    return pack("!BBHHH", kind, 0, 0, 0, 0) + payload


def get(packet: bytes, *, host: str = "", end: bytes = b" HTTP/1.0\r\n\r\n") -> bytes:
    """Make a request whose path is a packet of fwknop, as its client does."""
    place = b"http://" + host.encode() if host else b""
    path = packet.translate(bytes.maketrans(b"+/", b"-_"))
    return b"GET " + place + b"/" + path + end


def ipv4(
    segment: bytes,
    *,
    source: str = SOURCE4,
    options: bytes = b"",
    protocol: int = 17,
    fragment: int = 0,
    words: int | None = None,
    total: int | None = None,
    version: int = 4,
) -> bytes:
    """Put an IPv4 header before `segment`; any field may lie."""
    header = 20 + len(options)
    return (
        pack(
            "!BBHHHBBH4s4s",
            version << 4 | (header // 4 if words is None else words),
            0,
            header + len(segment) if total is None else total,
            0x1234,
            fragment,
            64,
            protocol,
            0,
            ip_address(source).packed,
            _SERVER4,
        )
        + options
        + segment
    )


def ipv6(
    segment: bytes,
    *,
    source: str = SOURCE6,
    next_header: int = 17,
    length: int | None = None,
    version: int = 6,
) -> bytes:
    """Put an IPv6 header before `segment`; any field may lie."""
    return (
        pack(
            "!IHBB16s16s",
            version << 28 | 0xABCDE,
            len(segment) if length is None else length,
            next_header,
            64,
            ip_address(source).packed,
            _SERVER6,
        )
        + segment
    )


def _ethertype(packet: bytes) -> int:
    return IPV6 if packet[0] >> 4 == 6 else IPV4


def ethernet(packet: bytes, *tags: int, ethertype: int | None = None) -> bytes:
    """Put an Ethernet header with VLAN `tags` (0x8100, 0x88a8) before `packet`."""
    inner = _ethertype(packet) if ethertype is None else ethertype
    vlans = b"".join(pack("!HH", tag, 0x2007) for tag in tags)
    return _MACS + vlans + pack("!H", inner) + packet


def sll(packet: bytes, ethertype: int | None = None) -> bytes:
    """Put the header of Linux cooked capture before `packet`."""
    inner = _ethertype(packet) if ethertype is None else ethertype
    return pack("!HHH8sH", 0, 1, 6, _MACS[:6] + b"\0\0", inner) + packet


def sll2(packet: bytes, ethertype: int | None = None) -> bytes:
    """Put the header of Linux cooked capture, version 2, before `packet`."""
    inner = _ethertype(packet) if ethertype is None else ethertype
    return pack("!HHiHBB8s", inner, 0, 2, 1, 0, 6, _MACS[:6] + b"\0\0") + packet


def pcap_header(
    link: int = datagram.DLT_ETHERNET, *, order: str = "<", magic: int = 0xA1B2C3D4
) -> bytes:
    """Make what a capture file begins with; `order` is that of its bytes."""
    return pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)


def pcap_record(frame: bytes, milliseconds: int, *, order: str = "<") -> bytes:
    """Put what a file has before a frame, captured then, before `frame`."""
    seconds, rest = divmod(milliseconds, 1000)
    size = len(frame)
    return pack(f"{order}IIII", seconds, rest * 1000, size, size) + frame


def pcapng_block(kind: int, body: bytes) -> bytes:
    """Make a block of the format that comes after pcap, of little endian."""
    body += bytes(-len(body) % 4)
    size = 12 + len(body)
    return pack("<II", kind, size) + body + pack("<I", size)


def pcapng_header(*options: tuple[int, bytes], link: int = 1) -> bytes:
    """Make what such a file begins with: one interface, with `options`."""
    spelled = b"".join(
        pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
        for code, value in options
    )
    section = pcapng_block(0x0A0D0D0A, pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    return section + pcapng_block(1, pack("<HHI", link, 0, 65535) + spelled)


def pcapng_record(frame: bytes, ticks: int) -> bytes:
    """Make a block with `frame`, captured then, in the unit of the interface."""
    size = len(frame)
    head = pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, size, size)
    return pcapng_block(6, head + frame)


class Link(NamedTuple):
    """A link type and the header that it has."""

    number: int
    wrap: Callable[[bytes], bytes]
    header: int
    """Bytes before the IP header."""


LINKS = {
    "ethernet": Link(datagram.DLT_ETHERNET, ethernet, 14),
    "vlan": Link(datagram.DLT_ETHERNET, lambda packet: ethernet(packet, VLAN), 18),
    "two vlans": Link(
        datagram.DLT_ETHERNET, lambda packet: ethernet(packet, QINQ, VLAN), 22
    ),
    "null, little endian": Link(datagram.DLT_NULL, lambda p: b"\2\0\0\0" + p, 4),
    "null, big endian": Link(datagram.DLT_NULL, lambda p: b"\0\0\0\2" + p, 4),
    "loop": Link(datagram.DLT_LOOP, lambda p: b"\0\0\0\2" + p, 4),
    "cooked": Link(datagram.DLT_LINUX_SLL, sll, 16),
    "cooked, version 2": Link(datagram.DLT_LINUX_SLL2, sll2, 20),
    **{f"raw, number {number}": Link(number, bytes, 0) for number in datagram.DLT_RAW},
}

PACKETS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "ipv4": (ipv4, SOURCE4),
    "ipv6": (ipv6, SOURCE6),
}
