"""Datagrams that the gate turns away: wrong size, wrong mac, wrong tag (section 3)."""

from collections.abc import Iterator
from hashlib import shake_128

from spassh.protocol.hashing import blake2s
from spassh.protocol.limits import MAC_SIZE
from spassh.protocol.packet import Gate

from .common import OTHER_SERVER, SERVER, Vector, access, flip, message, vector


def _stranger(name: str, comment: str, packet: bytes, reason: str) -> Vector:
    return vector(name, "not-ours", comment, packet, reason=reason)


def _sized(size: int) -> Vector:
    """A datagram of another size, sealed and gated as if it were allowed."""
    name = f"wrong_size_{size}"
    payload = access().ljust(size - 116, b"\0")[: size - 116]
    comment = f"{size} bytes, with a mac, a tag and a handshake that are right."
    return _stranger(name, comment, message(name, payload).datagram(), "size")


def vectors() -> Iterator[Vector]:
    good = message("gate", access()).datagram()
    yield _stranger("empty", "No byte at all.", b"", "size")
    yield _stranger("one_byte", "One byte.", good[:1], "size")
    yield _stranger("truncated_1", "The last byte is missing.", good[:-1], "size")
    yield _stranger("truncated_front_1", "The first byte is missing.", good[1:], "size")
    yield _stranger("trailing_byte", "A zero byte too many.", good + b"\0", "size")
    for size in (116, 191, 193, 1199, 1201):
        yield _sized(size)
    yield vector(
        "oversize_65507",
        "not-ours",
        "The largest datagram that UDP over IPv4 carries: the packet, then zero bytes.",
        good,
        extend_to="65507",
        reason="size",
    )
    yield _stranger(
        "random_192",
        "Noise of the right size.",
        shake_128(b"a stranger").digest(192),
        "mac",
    )
    yield _stranger(
        "random_1200",
        "Noise of the right size.",
        shake_128(b"a stranger").digest(1200),
        "mac",
    )
    yield _stranger(
        "mac_flipped_bit",
        "The last bit of the datagram is wrong.",
        flip(good, 192 * 8 - 1),
        "mac",
    )
    yield _stranger(
        "tag_flipped_bit",
        "The first bit of the datagram is wrong; the mac covers it.",
        flip(good, 0),
        "mac",
    )
    body = flip(good[:-16], 0)
    yield _stranger(
        "tag_wrong_mac_right",
        "The tag is wrong and the mac is made for it: the tag is checked everywhere.",
        body + Gate(SERVER.public).mac(body),
        "tag",
    )
    other = message("gate", access(), responder=OTHER_SERVER.public)
    yield _stranger(
        "wrong_server_key",
        "A valid datagram for another server.",
        other.datagram(Gate(OTHER_SERVER.public)),
        "mac",
    )
    sealed = message("gate", access())
    yield _stranger(
        "gate_of_version_2",
        "The gate keys are derived with the labels of another version.",
        sealed.datagram(_version_2_gate()),
        "mac",
    )


def _version_2_gate() -> Gate:
    gate = Gate(SERVER.public)
    gate.tag_key = blake2s(b"spassh 2 tag" + SERVER.public, digest_size=8).digest()
    key = blake2s(b"spassh 2 mac" + SERVER.public).digest()
    gate._mac = blake2s(digest_size=MAC_SIZE, key=key)
    return gate
