"""The kernel's filter and user space agree on what has the tag, whatever the frame."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.bpf_machine import Kernel, kernel, run
from unit.server.frames import LINKS, PACKETS, PORT, Link, udp

from spassh.protocol.errors import NotOurs
from spassh.protocol.fwknop import openpgp
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.opening import has_form
from spassh.protocol.fwknop.packet import BODIES
from spassh.protocol.limits import DATAGRAM_SIZES
from spassh.protocol.packet import Gate
from spassh_server.datagram import parse
from spassh_server.filters.bpf import Instruction, behind
from spassh_server.filters.tag_filter import tag_filter

pcap = pytest.importorskip("scapy.libs.winpcapy")

GATE = Gate(bytes(range(32)))
KEEP = 2048

SIZES = {
    body + tag
    for body in BODIES
    for tag in (0, *(digest.characters for digest in DIGESTS.values()))
}
"""What a packet of fwknop can have, with an HMAC or without."""

# libpcap calls these two by other numbers on Linux, and no capture there has them.
LIVE = {name: link for name, link in LINKS.items() if link.number not in {14, 101}}


class Judges(NamedTuple):
    """What one link type's frames meet."""

    plain: Sequence[Instruction]
    whole: Sequence[Instruction]
    kernel: Kernel | None


@pytest.fixture(scope="module", autouse=True)
def kernels() -> Iterator[None]:
    yield
    _judges.cache_clear()
    _STACK.close()


_STACK = ExitStack()


@cache
def _judges(link: int, *, fwknop: bool) -> Judges:
    from spassh_server.libpcap import Handle, filter_expression

    handle = Handle("dead", pcap.pcap_open_dead(link, KEEP))
    plain = handle.compile(filter_expression(PORT, fwknop=fwknop))
    handle.close()
    tag = tag_filter(link, GATE.tag_key, keep=KEEP, fwknop=fwknop)
    whole = behind(plain, tag)
    inside = None
    if sys.platform == "linux":
        inside = _STACK.enter_context(kernel(whole))
    return Judges(plain, whole, inside)


def payload_of(kind: str, size: int, seed: int) -> bytes:
    if kind == "gnupg":
        return b"GMA" + bytes(Random(seed).choices(b"wz09+/", k=size - 3))
    if kind == "fwknop":
        return b"+" + bytes(Random(seed).choices(b"AZaz09+/", k=size - 1))
    body = Random(seed).randbytes(size - 4)
    tag = GATE.tag(body)
    if kind == "wrong":
        tag = bytes([tag[0] ^ 1 << seed % 8]) + tag[1:]
    return tag + body


def is_wanted(payload: bytes, *, fwknop: bool) -> bool:
    """Tell what user space's first look tells."""
    if len(payload) in DATAGRAM_SIZES and GATE.tag(payload[4:12]) == payload[:4]:
        return True
    symmetric = has_form(payload) and len(payload) in SIZES
    return fwknop and (symmetric or openpgp.has_form(payload))


@settings(max_examples=400)
@given(
    st.sampled_from(sorted(LIVE)),
    st.sampled_from(sorted(PACKETS)),
    st.booleans(),
    st.sampled_from(["right", "right", "wrong", "fwknop", "gnupg"]),
    st.sampled_from([192, 1200, 161, 204, 1069]) | st.integers(139, 1501),
    st.integers(0, 1 << 32),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=2),
    st.sampled_from([0, 0, 0, 1, 20, 1000]),
)
def test_the_kernel_lets_through_what_user_space_would_take_and_no_wrong_tag(
    link: str,
    packet: str,
    fwknop: bool,
    kind: str,
    size: int,
    seed: int,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    payload = payload_of(kind, size, seed)
    frame = bytearray(LIVE[link].wrap(PACKETS[packet][0](udp(payload))))
    for at, value in changes:
        frame[at % len(frame)] = value
    agree(bytes(frame[: max(0, len(frame) - cut)]), LIVE[link], fwknop=fwknop)


@settings(max_examples=200)
@given(st.sampled_from(sorted(LIVE)), st.binary(max_size=100), st.booleans())
def test_on_noise_they_agree_as_well(link: str, frame: bytes, fwknop: bool) -> None:
    agree(frame, LIVE[link], fwknop=fwknop)


def agree(frame: bytes, link: Link, *, fwknop: bool) -> None:
    judges = _judges(link.number, fwknop=fwknop)
    passed = run(judges.whole, frame) > 0
    if judges.kernel is not None and frame:
        assert (judges.kernel.run(frame) > 0) == passed
    before = run(judges.plain, frame) > 0
    assert before or not passed
    try:
        payload = parse(frame, link.number, PORT).payload
    except NotOurs:
        return
    if is_wanted(payload, fwknop=fwknop):
        # Nothing that libpcap's filter has let through so far is lost.
        assert passed == before
    elif passed:
        # A packet of fwknop whose first characters are right, and a later one is not.
        begins = payload[:14].ljust(openpgp.LEAST, b"A")
        assert fwknop
        assert has_form(begins) or openpgp.has_form(begins)
