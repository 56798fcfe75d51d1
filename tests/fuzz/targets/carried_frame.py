"""A frame has a packet of fwknop in IPv4 by a transport that is wanted, or `NotOurs`.

What is parsed is in the frame, but for two letters that a path spells otherwise. The
first byte of the input chooses the link type.
"""

from collections.abc import Iterator

from unit.server.frames import LINKS, get, icmp, ipv4, tcp, udp

from spassh.protocol.errors import NotOurs
from spassh_server.carried import carried
from spassh_server.datagram import LINK_TYPES
from spassh_server.transports import Transport, parse_transport

RUNS = 10_000
_LINKS = sorted(LINK_TYPES)
_WANTED = frozenset(map(parse_transport, ("udp/53", "tcp/443", "http/80", "icmp")))
_PACKET = b"9AB+/" * 30
_IN_PATH = bytes.maketrans(b"+/", b"-_")


def seeds() -> Iterator[tuple[str, bytes]]:
    segments = {
        "udp": (udp(_PACKET, 53), 17),
        "tcp": (tcp(_PACKET, 443, options=bytes(12)), 6),
        "http": (tcp(get(_PACKET)), 6),
        "proxied": (tcp(get(_PACKET, host="a.test:80")), 6),
        "icmp": (icmp(_PACKET), 1),
    }
    for link, its in LINKS.items():
        choice = bytes([_LINKS.index(its.number)])
        for kind, (segment, protocol) in segments.items():
            yield f"{link} {kind}", choice + its.wrap(ipv4(segment, protocol=protocol))


def check(data: bytes) -> None:
    if not data:
        return
    frame = data[1:]
    link = _LINKS[data[0] % len(_LINKS)]
    try:
        found = carried(frame, link, _WANTED)
    except NotOurs:
        return
    assert len(found.source) == 4
    assert found.source in frame
    assert parse_transport(found.transport) in _WANTED
    if found.transport.startswith("http/"):
        assert found.payload.translate(_IN_PATH) in frame
    else:
        assert found.payload in frame
    for other in (frozenset[Transport](), _WANTED - {parse_transport(found.transport)}):
        try:
            again = carried(frame, link, other)
        except NotOurs:
            continue
        assert again.transport != found.transport
