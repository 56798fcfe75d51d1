"""A frame of any link type is a whole UDP datagram to the knock port, or `NotOurs`.

What is parsed is in the frame, and means the same in the plainest frame there is. The
first byte of the input chooses the link type.
"""

from collections.abc import Iterator

from unit.server.frames import LINKS, PACKETS, PORT, ipv4, ipv6, udp

from spassh.protocol.errors import NotOurs
from spassh_server.datagram import DLT_RAW, LINK_TYPES, Datagram, parse

RUNS = 10_000
_LINKS = sorted(LINK_TYPES)


def seeds() -> Iterator[tuple[str, bytes]]:
    for link, its in LINKS.items():
        choice = bytes([_LINKS.index(its.number)])
        for packet, (wrap, _) in PACKETS.items():
            yield f"{link} {packet}", choice + its.wrap(wrap(udp(b"payload")))


def check(data: bytes) -> None:
    if not data:
        return
    frame = data[1:]
    try:
        found = parse(frame, _LINKS[data[0] % len(_LINKS)], PORT)
    except NotOurs:
        return
    assert found.source in frame
    assert found.source_port.to_bytes(2, "big") in frame
    assert found.payload in frame
    assert parse(_plain(found), DLT_RAW[0], PORT) == found


def _plain(datagram: Datagram) -> bytes:
    segment = udp(datagram.payload, source_port=datagram.source_port)
    if len(datagram.source) == 4:
        packet = ipv4(segment)
        return packet[:12] + datagram.source + packet[16:]
    packet = ipv6(segment)
    return packet[:8] + datagram.source + packet[24:]
