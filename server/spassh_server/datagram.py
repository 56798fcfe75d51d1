"""From a captured frame to a UDP payload and its source: headers only, strictly.

Every byte here comes from strangers. The parser takes what the kernel filter lets
through and nothing else: no options that change meaning, no fragments, no tunnels.
Link types: https://www.tcpdump.org/linktypes.html; IPv4: RFC 791; IPv6: RFC 8200;
UDP: RFC 768.
"""

from struct import Struct
from typing import Final, NamedTuple

from spassh.protocol.errors import NotOurs

DLT_NULL: Final = 0
DLT_ETHERNET: Final = 1
DLT_RAW: Final = (12, 14, 101, 228, 229)
"""Raw IP: the numbers of Linux, OpenBSD, the file format, and the one-family types."""
DLT_LOOP: Final = 108
DLT_LINUX_SLL: Final = 113
DLT_LINUX_SLL2: Final = 276
LINK_TYPES: Final = frozenset(
    {DLT_NULL, DLT_ETHERNET, *DLT_RAW, DLT_LOOP, DLT_LINUX_SLL, DLT_LINUX_SLL2}
)
"""Every link type that `parse` knows."""

_IP = (b"\x08\x00", b"\x86\xdd")
"""The types of Ethernet that are IPv4 and IPv6."""
_VLAN = (b"\x81\x00", b"\x88\xa8")

# IPv4: version and header length, total length, fragment field, protocol, source
_IP4 = Struct("!BxHxxHxB2x4s")
# IPv6: version and class, payload length, next header, source
_IP6 = Struct("!BxxxHBx16s")
_IP6_HEADER = 40
UDP_HEADER: Final = Struct("!HHH2x")
"""Source port, destination port, and length."""
UDP: Final = 17
"""The number of the protocol."""


class Datagram(NamedTuple):
    """A UDP payload and where it says it came from."""

    source: bytes
    """Source address of the IP header, 4 or 16 bytes. Anybody can forge it."""
    source_port: int
    """Source port of the UDP header. Just as easy to forge, and a NAT may change it."""
    payload: bytes
    transport: str = ""
    """What else than UDP to the knock port it came by, such as "tcp/80"."""


def parse(frame: bytes, link: int, port: int) -> Datagram:
    """Take the UDP payload for destination `port` out of `frame` of link type `link`.

    Raises:
        NotOurs: anything else than a whole IPv4 or IPv6 packet with UDP right inside.
    """
    protocol, source, start, end = inside(frame, link)
    if protocol != UDP:
        raise NotOurs("not UDP")
    if end - start < UDP_HEADER.size:
        raise NotOurs("truncated frame")
    source_port, destination_port, length = UDP_HEADER.unpack_from(frame, start)
    # An IPv4 or IPv6 packet may be longer than the UDP inside, which then has a tail
    # that no checksum covers; an honest sender makes none.
    if length != end - start:
        raise NotOurs("UDP length")
    if destination_port != port:
        raise NotOurs("another port")
    return Datagram(source, source_port, frame[start + UDP_HEADER.size : end])


def inside(frame: bytes, link: int) -> tuple[int, bytes, int, int]:
    """Return what is right inside of the IP packet in `frame` of link type `link`.

    Returns:
        The protocol's number, the source address, and where the protocol's header and
        the whole packet begin and end.

    Raises:
        NotOurs: anything else than a whole IPv4 or IPv6 packet.
    """
    at = _network_offset(frame, link)
    # The version field decides: it is what the kernel of the server would look at.
    version = frame[at] >> 4 if at < len(frame) else 0
    if version == 4:
        found = _ipv4(frame, at)
    elif version == 6:
        found = _ipv6(frame, at)
    else:
        raise NotOurs("neither IPv4 nor IPv6")
    if found[3] > len(frame):
        raise NotOurs("truncated frame")
    return found


def _network_offset(frame: bytes, link: int) -> int:
    """Return where the IP header begins."""
    # The usual ones first: a flood of junk comes this far.
    if link == DLT_LINUX_SLL2:
        kind, at = frame[:2], 20
    elif link == DLT_ETHERNET:
        kind, at = frame[12:14], 14
        if kind in _VLAN:
            kind, at = frame[16:18], 18
            if kind in _VLAN:
                kind, at = frame[20:22], 22
    elif link == DLT_LINUX_SLL:
        kind, at = frame[14:16], 16
    elif link in {DLT_NULL, DLT_LOOP}:
        return 4  # the address family, in whatever byte order the capturing host has
    elif link in DLT_RAW:
        return 0
    else:
        raise NotOurs("unknown link type")
    if kind not in _IP:
        raise NotOurs("not IP")
    return at


def _ipv4(frame: bytes, at: int) -> tuple[int, bytes, int, int]:
    if len(frame) - at < _IP4.size:
        raise NotOurs("truncated frame")
    version, total, fragment, protocol, source = _IP4.unpack_from(frame, at)
    header = (version & 0x0F) * 4
    if header < 20 or total < header:
        raise NotOurs("IPv4 header length")
    if fragment & 0x3FFF:
        raise NotOurs("fragment")
    return protocol, source, at + header, at + total


def _ipv6(frame: bytes, at: int) -> tuple[int, bytes, int, int]:
    if len(frame) - at < _IP6_HEADER:
        raise NotOurs("truncated frame")
    _, length, next_header, source = _IP6.unpack_from(frame, at)
    # No client of ours sends extension headers, and each is a parser of its own.
    return next_header, source, at + _IP6_HEADER, at + _IP6_HEADER + length
