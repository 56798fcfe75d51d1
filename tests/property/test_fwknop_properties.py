"""What holds for every message, every packet and every byte that is changed."""

import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors.fwknop_files import FORMAT, Vector, of_1_9, of_2_6
from vectors.strategies import repeatable

from spassh.protocol.errors import PacketError
from spassh.protocol.fwknop.cipher import encrypt
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import MAX_HMAC_KEY, MAX_KEY, Keys, derive
from spassh.protocol.fwknop.message import WITH_TARGET, WITH_TIMEOUT, Message, decode
from spassh.protocol.fwknop.opening import open_packet
from spassh.protocol.fwknop.packet import MAGIC, PREFIX, SALT_SIZE, seal
from spassh.protocol.fwknop.unpadded import encode

VECTORS = {**of_2_6(), **of_1_9()} if FORMAT.exists() else {}
ALPHABET = (string.ascii_letters + string.digits + "+/=").encode()

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_USERS = st.text("abcXYZ019._-@ ", min_size=1, max_size=12)
_ADDRESSES = st.just(b"") | st.binary(min_size=4, max_size=4).filter(any)
_NUMBERS = st.integers(1, 0xFFFF)
_RANDS = st.integers(0, 10**16 - 1).map(lambda number: f"{number:016}")


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.integers(0, 6))
    message = Message(
        draw(_RANDS),
        draw(_USERS),
        draw(st.integers(0, (1 << 31) - 1)),
        kind,
        draw(_ADDRESSES),
    )
    if not kind:
        return message._replace(command=draw(st.text(_PRINTABLE, min_size=1)))
    ports = st.tuples(st.sampled_from((6, 17)), _NUMBERS)
    message = message._replace(
        ports=tuple(draw(st.lists(ports, min_size=1, max_size=3)))
    )
    if kind in WITH_TARGET:
        host = draw(st.sampled_from(("10.0.0.5", "inner.example", "a")))
        message = message._replace(target=(host, draw(_NUMBERS)))
    if kind in WITH_TIMEOUT:
        message = message._replace(timeout=draw(st.integers(0, 65_536)))
    return message


keys = st.builds(
    Keys,
    st.binary(min_size=1, max_size=MAX_KEY),
    st.binary(max_size=MAX_HMAC_KEY),
    st.sampled_from(sorted(DIGESTS)),
    st.booleans(),
)


@repeatable
@given(
    messages(),
    keys,
    st.binary(min_size=SALT_SIZE, max_size=SALT_SIZE),
    st.sampled_from(sorted(DIGESTS)),
)
def test_what_is_sealed_is_what_opens(
    message: Message, its: Keys, salt: bytes, digest: str
) -> None:
    try:
        payload = seal(message, its, salt, digest)
    except PacketError:
        return  # A long command.
    # MD5 and a short user stay below what fwknopd takes.
    if len(payload) >= 140:
        others = [Keys(b"other", b"other"), Keys(b"other"), its]
        opened = open_packet(payload, others)
        assert (message, 2) == (opened.message, opened.number)


@pytest.mark.parametrize("name", VECTORS)
def test_a_character_changed_anywhere_is_never_accepted(name: str) -> None:
    vector = VECTORS[name]
    for at in range(len(vector.payload)):
        for letter in b"A9/=z+\0\xff":
            changed = bytearray(vector.payload)
            if changed[at] != letter:
                changed[at] = letter
                refused(bytes(changed), vector)


@pytest.mark.parametrize("name", VECTORS)
def test_no_part_of_a_packet_is_accepted_and_nothing_longer(name: str) -> None:
    vector = VECTORS[name]
    payload = vector.payload
    for size in range(len(payload)):
        refused(payload[:size], vector)
        refused(payload[size + 1 :], vector)
    for tail in (b"A", b"=", b"\n", b" ", payload, b"A" * 64):
        refused(payload + tail, vector)
        refused(tail + payload, vector)


def refused(payload: bytes, vector: Vector) -> None:
    with pytest.raises(PacketError):
        open_packet(payload, [vector.keys])


@repeatable
@given(st.text(ALPHABET.decode(), min_size=100, max_size=500))
def test_any_text_raises_nothing_but_a_packet_error(text: str) -> None:
    for payload in (text.encode(), b"8" + text.encode(), b"+" + text.encode()[:139]):
        with pytest.raises(PacketError):
            open_packet(
                payload, [Keys(b"k"), Keys(b"k", b"h"), Keys(b"k", legacy=True)]
            )


@repeatable
@given(st.binary(max_size=200), st.integers(0, 3))
def test_what_a_key_holder_encrypts_raises_nothing_but_a_packet_error(
    text: bytes, blocks: int
) -> None:
    """Whoever has the keys may still be hostile, and everything here is authentic."""
    its = Keys(b"k", b"h")
    for head in (text, b"1" * 16 + b":" + text):
        plain = head + b":" + DIGESTS["md5"].hash(head)
        padded = encrypt(*derive(its, bytes(8)), plain)
        whole = encode(MAGIC + bytes(8) + padded + bytes(16 * blocks))
        tag = DIGESTS["sha256"].hmac(its.hmac, whole)
        with pytest.raises(PacketError):
            open_packet(whole[len(PREFIX) :] + tag, [its])


_VALID = (
    "1234567890123456:YWxpY2U:1700000000:3.0.0:4:MC4wLjAuMCx0Y3AvMjI:MTAuMC4wLjUsMjI:30"
)


@repeatable
@given(
    st.integers(0, len(_VALID)),
    st.integers(0, 9),
    st.text(":=/+,.0Az~\x7f\xff", max_size=6),
    st.booleans(),
)
def test_a_changed_message_is_read_or_is_malformed(
    at: int, size: int, instead: str, legacy: bool
) -> None:
    assert decode(_VALID).timeout == 30
    text = _VALID[:at] + instead + _VALID[at + size :]
    with suppress(PacketError):
        decode(text, legacy=legacy)
