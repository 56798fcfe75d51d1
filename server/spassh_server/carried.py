"""Packets of fwknop in what is not UDP to the knock port: headers only, strictly.

As in `datagram`, every byte here comes from strangers, and what counts is what a single
IP packet has: no stream is put together, so a packet of fwknop that was cut into
segments is none. TCP: RFC 9293; the request line of HTTP: RFC 9112 section 3; ICMP:
RFC 792.
"""

import re
from struct import Struct
from typing import Final

from spassh.protocol.errors import NotOurs
from spassh.protocol.fwknop.limits import LEAST, MOST

from .datagram import UDP as UDP_PROTOCOL
from .datagram import UDP_HEADER, Datagram, inside, parse
from .transports import HTTP, ICMP, TCP, UDP, Transport

_ICMP_PROTOCOL = 1
_ICMP_HEADER = 8
_TCP_PROTOCOL = 6
# source port, destination port, and the length of the header in four bits
_TCP = Struct("!HH8xB7x")

# The origin form, and the absolute form in which a proxy is asked. A packet has one
# spelling here: "+" and "/" are not taken beside "-" and "_".
_REQUEST = re.compile(
    rb"GET (?:http://[!-.0-~]{1,255})?/([A-Za-z0-9_-]{%d,%d}) HTTP/1\.[01]\r?\n"
    % (LEAST, MOST)
)
_FROM_PATH: Final = bytes.maketrans(b"-_", b"+/")


def parse_any(
    frame: bytes, link: int, port: int, transports: frozenset[Transport]
) -> Datagram:
    """Take what came as UDP to `port`, or by one of `transports`, out of `frame`.

    Raises:
        NotOurs: there is neither.
    """
    try:
        return parse(frame, link, port)
    except NotOurs:
        if not transports:
            raise
    return carried(frame, link, transports)


def carried(frame: bytes, link: int, transports: frozenset[Transport]) -> Datagram:
    """Take what came by one of `transports` out of `frame`.

    It is what there is in the place of a packet, and need not be one.

    Raises:
        NotOurs: anything else than a whole IPv4 packet with one of them right inside.
    """
    protocol, source, start, end = inside(frame, link)
    if len(source) != 4:
        raise NotOurs("not IPv4")
    if protocol == UDP_PROTOCOL:
        return _udp(source, frame[start:end], transports)
    if protocol == _TCP_PROTOCOL:
        return _tcp(source, frame[start:end], transports)
    if protocol == _ICMP_PROTOCOL:
        return _icmp(source, frame[start:end], transports)
    raise NotOurs("another protocol")


def _udp(source: bytes, data: bytes, transports: frozenset[Transport]) -> Datagram:
    if len(data) < UDP_HEADER.size:
        raise NotOurs("truncated frame")
    source_port, port, length = UDP_HEADER.unpack_from(data)
    if length != len(data):
        raise NotOurs("UDP length")
    if transports.isdisjoint({Transport(UDP), Transport(UDP, port)}):
        raise NotOurs("another port")
    return Datagram(source, source_port, data[UDP_HEADER.size :], f"{UDP}/{port}")


def _tcp(source: bytes, data: bytes, transports: frozenset[Transport]) -> Datagram:
    """Take the payload of a segment, whatever its flags: it may be a SYN."""
    if len(data) < _TCP.size:
        raise NotOurs("truncated frame")
    source_port, port, words = _TCP.unpack_from(data)
    header = (words >> 4) * 4
    if not _TCP.size <= header <= len(data):
        raise NotOurs("TCP header length")
    payload = data[header:]
    request = _REQUEST.match(payload)
    if request and Transport(HTTP, port) in transports:
        packet = request[1].translate(_FROM_PATH)
        return Datagram(source, source_port, packet, f"{HTTP}/{port}")
    if Transport(TCP, port) in transports:
        return Datagram(source, source_port, payload, f"{TCP}/{port}")
    raise NotOurs("another port, or no request")


def _icmp(source: bytes, data: bytes, transports: frozenset[Transport]) -> Datagram:
    """Take what follows the header, of any type: clients of fwknop may choose it."""
    if len(data) < _ICMP_HEADER:
        raise NotOurs("truncated frame")
    if Transport(ICMP) not in transports:
        raise NotOurs("another protocol")
    return Datagram(source, 0, data[_ICMP_HEADER:], ICMP)
