"""Whole IPv4 packets with a packet of fwknop inside, made by scapy.

Importing this takes a tenth of a second: it is for a login that cannot do without.
"""

from __future__ import annotations

from os import urandom

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: TID253 - see above

from .fwknop_way import TCP_RAW, UDP_RAW

_ECHO_REQUEST = 8


def build(
    transport: str, packet: bytes, ends: tuple[str, str], ports: tuple[int, int]
) -> bytes:
    """Return an IPv4 packet that carries `packet` by `transport`.

    Args:
        transport: a name of `fwknop_way.RAW`.
        packet: the packet of fwknop.
        ends: source and destination address.
        ports: source and destination port, of which the first may be 0 for any, and
            which ICMP has no use for.
    """
    source, destination = ends
    source_port = ports[0] or 1024 + _chance() % (65536 - 1024)
    header = IP(src=source, dst=destination, id=_chance())
    if transport == UDP_RAW:
        inner = UDP(sport=source_port, dport=ports[1])
    elif transport == TCP_RAW:
        # A SYN may have data, and needs no connection.
        number = int.from_bytes(urandom(4))
        inner = TCP(sport=source_port, dport=ports[1], seq=number, flags="S")
    else:
        # What anybody sends who pings: more hosts let it in than an answer.
        inner = ICMP(type=_ECHO_REQUEST, id=_chance(), seq=1)
    return bytes(header / inner / packet)


def _chance() -> int:
    return int.from_bytes(urandom(2))
