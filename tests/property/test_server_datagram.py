"""Whatever bytes strangers send, a frame has a payload or is not ours."""

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.frames import LINKS, PACKETS, PORT, udp

from spassh.protocol.errors import NotOurs
from spassh_server.datagram import parse

links = st.sampled_from(sorted(LINKS))
packets = st.sampled_from(sorted(PACKETS))


def survives(frame: bytes, link: int, port: int = PORT) -> None:
    """Parse: anything but a datagram or `NotOurs` is a bug."""
    try:
        datagram = parse(frame, link, port)
    except NotOurs:
        return
    assert len(datagram.source) in {4, 16}
    assert datagram.source_port.to_bytes(2, "big") in frame
    assert datagram.payload in frame


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=200),
    st.integers(-1, 300) | st.sampled_from([link.number for link in LINKS.values()]),
    st.integers(0, 65535),
)
def test_any_bytes_are_parsed_or_not_ours(frame: bytes, link: int, port: int) -> None:
    survives(frame, link, port)


@settings(deadline=None, max_examples=1000)
@given(
    links,
    packets,
    st.binary(max_size=40),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=4),
    st.integers(0, 20),
)
def test_a_frame_with_a_few_bytes_changed_is_parsed_or_not_ours(
    link: str,
    packet: str,
    payload: bytes,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    frame = bytearray(LINKS[link].wrap(PACKETS[packet][0](udp(payload))))
    for at, value in changes:
        frame[at % len(frame)] = value
    survives(bytes(frame[: len(frame) - cut]), LINKS[link].number)


@settings(deadline=None)
@given(
    links,
    packets,
    st.binary(max_size=1300),
    st.binary(max_size=46),
    st.integers(0, 65535),
)
def test_what_was_framed_is_parsed_back(
    link: str, packet: str, payload: bytes, trailer: bytes, source_port: int
) -> None:
    segment = udp(payload, source_port=source_port)
    frame = LINKS[link].wrap(PACKETS[packet][0](segment)) + trailer
    datagram = parse(frame, LINKS[link].number, PORT)
    assert (datagram.source_port, datagram.payload) == (source_port, payload)
