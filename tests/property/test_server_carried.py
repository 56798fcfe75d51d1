"""Whatever bytes strangers send in TCP, HTTP and ICMP, it is a payload or not ours."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.frames import LINKS, get, icmp, ipv4, ipv6, tcp, udp

from spassh.protocol.errors import NotOurs
from spassh_server.carried import carried
from spassh_server.transports import Transport

ALL = frozenset(
    {
        Transport("udp"),
        Transport("tcp", 443),
        Transport("http", 80),
        Transport("icmp"),
    }
)
LETTERS = "ABCXYZabcxyz0189+/"
CARRIERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "udp/9": (17, lambda payload: udp(payload, port=9)),
    "tcp/443": (6, lambda payload: tcp(payload, 443)),
    "http/80": (6, lambda payload: tcp(get(payload))),
    "icmp": (1, icmp),
}
links = st.sampled_from(sorted(LINKS))
carriers = st.sampled_from(sorted(CARRIERS))
packets = st.text(LETTERS, min_size=140, max_size=300).map(str.encode)


def survives(frame: bytes, link: int) -> None:
    """Parse: anything but a datagram or `NotOurs` is a bug."""
    try:
        found = carried(frame, link, ALL)
    except NotOurs:
        return
    assert len(found.source) == 4
    assert found.transport
    if found.transport.startswith("http/"):
        assert 140 <= len(found.payload) <= 1500
        assert found.payload.translate(bytes.maketrans(b"+/", b"-_")) in frame
    else:
        assert found.payload in frame


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=200),
    st.integers(-1, 300) | st.sampled_from([link.number for link in LINKS.values()]),
)
def test_any_bytes_are_taken_or_not_ours(frame: bytes, link: int) -> None:
    survives(frame, link)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([1, 6, 17]) | st.integers(0, 255), st.binary(max_size=400), links
)
def test_any_segment_is_taken_or_not_ours(
    protocol: int, segment: bytes, link: str
) -> None:
    for packet in (
        ipv4(segment, protocol=protocol),
        ipv6(segment, next_header=protocol),
    ):
        survives(LINKS[link].wrap(packet), LINKS[link].number)


@settings(deadline=None, max_examples=1000)
@given(
    carriers,
    links,
    packets | st.binary(max_size=40),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
    st.integers(0, 20),
)
def test_a_frame_with_a_few_bytes_changed_is_taken_or_not_ours(
    name: str,
    link: str,
    payload: bytes,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    protocol, wrap = CARRIERS[name]
    frame = bytearray(LINKS[link].wrap(ipv4(wrap(payload), protocol=protocol)))
    for at, value in changes:
        frame[at % len(frame)] = value
    survives(bytes(frame[: len(frame) - cut]), LINKS[link].number)


@settings(deadline=None)
@given(carriers, links, packets, st.binary(max_size=46))
def test_what_was_framed_is_taken_back(
    name: str, link: str, payload: bytes, trailer: bytes
) -> None:
    protocol, wrap = CARRIERS[name]
    frame = LINKS[link].wrap(ipv4(wrap(payload), protocol=protocol)) + trailer
    found = carried(frame, LINKS[link].number, ALL)
    assert (found.transport, found.payload) == (name, payload)


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=60), st.sampled_from([b"GET /", b"GET http://", b"GET ", b""])
)
def test_any_request_is_taken_or_not_ours(rest: bytes, begin: bytes) -> None:
    for size in (0, 140, 1500):
        request = begin + b"8" * size + rest
        survives(ipv4(tcp(request), protocol=6), 12)
