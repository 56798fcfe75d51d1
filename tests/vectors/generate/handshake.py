"""Datagrams that pass the gate and do not authenticate (section 4).

Whoever knows the server's public key can make the tag and the mac, so all are right.
"""

from collections.abc import Iterator

from spassh.protocol.crypto import PrivateKey

from .common import (
    CLIENT,
    OTHER_SERVER,
    STRANGER,
    Sealed,
    Vector,
    access,
    message,
    vector,
)

_P = (1 << 255) - 19
_LOW_ORDER = {
    "zero": 0,
    "one": 1,
    "eight_a": 0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    "eight_b": 0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    "p_minus_1": _P - 1,
    "p": _P,
    "p_plus_1": _P + 1,
    "zero_bit_255_set": 1 << 255,
}

_DAMAGED = "handshake does not authenticate"
_LOW = "low-order point"


class _LowOrderKey(PrivateKey):
    """What an attacker uses: a public key with which every shared secret is zero."""

    def __init__(self, public: int) -> None:
        super().__init__(bytes(32))
        self.public = public.to_bytes(32, "little")

    def exchange(self, public: bytes) -> bytes:
        return bytes(32)


def _fake(
    name: str, comment: str, sealed: Sealed, reason: str, **headers: str
) -> Vector:
    packet = sealed.datagram()
    return vector(name, "unauthentic", comment, packet, reason=reason, **headers)


def vectors() -> Iterator[Vector]:
    for point, value in _LOW_ORDER.items():
        name = f"low_order_ephemeral_{point}"
        yield _fake(
            name,
            "The ephemeral key is of low order and the sender counts on a shared"
            " secret of zero; all else is right.",
            message(name, access(), ephemeral=_LowOrderKey(value)),
            _LOW,
        )
    low = _LowOrderKey(1)
    yield _fake(
        "low_order_static",
        "The client key itself is of low order, and the server was told to accept it.",
        message("low_order_static", access(), static=low),
        _LOW,
        client_key=low.public.hex(),
    )
    yield _fake(
        "wrong_server_key_right_gate",
        "Sealed for another server; tag and mac are made for this one.",
        message("wrong_server_key", access(), responder=OTHER_SERVER.public),
        _DAMAGED,
    )
    yield _fake(
        "unknown_client",
        "A client that the server does not know, with the right pre-shared key.",
        message("unknown_client", access(), static=STRANGER),
        "unknown client key",
    )
    yield _fake(
        "wrong_psk",
        "The right client with another pre-shared key.",
        message("wrong_psk", access(), psk=bytes(32)),
        _DAMAGED,
    )
    yield _fake(
        "client_key_borrowed",
        "A stranger claims a known client's public key without its secret.",
        message("client_key_borrowed", access(), static=_Borrowed()),
        _DAMAGED,
    )
    yield _fake(
        "prologue_of_version_2",
        "The handshake begins with another prologue.",
        message("prologue_of_version_2", access(), prologue=b"spassh 2"),
        _DAMAGED,
    )
    good = message("flipped", access())
    for name, comment, field, bit in (
        ("ephemeral_flipped_bit", "The lowest bit of e is flipped.", "ephemeral", 0),
        (
            "ephemeral_bit_255_flipped",
            "Bit 255 of e is flipped: X25519 ignores it, the hash does not.",
            "ephemeral",
            255,
        ),
        ("static_flipped_bit", "A bit of the client's key is flipped.", "static", 0),
        ("static_tag_flipped_bit", "The last bit behind it is.", "static", 48 * 8 - 1),
        ("payload_flipped_bit", "A bit of the payload is flipped.", "payload", 0),
        ("payload_tag_flipped_bit", "The last bit behind it.", "payload", 92 * 8 - 1),
    ):
        yield _fake(name, comment, good.flip(field, bit), _DAMAGED)
    yield _fake(
        "payload_spliced",
        "The payload of one datagram behind the head of another of the same client.",
        good._replace(payload=message("another", access()).payload),
        _DAMAGED,
    )


class _Borrowed(PrivateKey):
    """A stranger's secret under a known client's public key."""

    def __init__(self) -> None:
        super().__init__(bytes(range(96, 128)))
        self.public = CLIENT.public
