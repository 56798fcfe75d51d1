from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from spassh.protocol import crypto, primitives
from spassh.protocol.crypto import PrivateKey, _raw_bytes, decrypt, encrypt
from spassh.protocol.errors import Unauthentic

by_both = pytest.mark.parametrize("by", [crypto, primitives.fastest])
"""Each test for `cryptography`, and for OpenSSL's library if that is there."""

P = (1 << 255) - 19
LOW_ORDER = (
    0,
    1,
    P - 1,
    P,
    P + 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


@by_both
@pytest.mark.parametrize("top", [0, 1 << 255], ids=["clear", "set"])
@pytest.mark.parametrize("point", LOW_ORDER)
def test_all_zero_shared_secret_is_refused(
    point: int, top: int, by: "primitives.Primitives"
) -> None:
    key = by.PrivateKey(bytes(range(32)))
    with pytest.raises(Unauthentic, match=r"^low-order point$"):
        key.exchange((point | top).to_bytes(32, "little"))


@by_both
def test_bit_255_of_a_public_key_is_ignored_by_the_exchange(
    by: "primitives.Primitives",
) -> None:
    key = by.PrivateKey(bytes(range(32)))
    public = by.PrivateKey(bytes(range(1, 33))).public
    spelled = public[:31] + bytes([public[31] | 0x80])
    assert spelled != public
    assert key.exchange(public) == key.exchange(spelled)


@by_both
def test_the_exchange_is_that_of_rfc_7748(by: "primitives.Primitives") -> None:
    key = by.PrivateKey(
        bytes.fromhex(
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"
        )
    )
    public = bytes.fromhex(
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"
    )
    shared = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert shared == key.exchange(public).hex()


@by_both
def test_both_ends_of_an_exchange_get_the_same_secret(
    by: "primitives.Primitives",
) -> None:
    one, other = by.PrivateKey(bytes(32)), by.PrivateKey(b"\xff" * 32)
    assert one.exchange(other.public) == other.exchange(one.public)


def test_a_public_key_is_read_from_an_old_cryptography_too() -> None:
    new = PrivateKey(bytes(32)).public
    key = X25519PublicKey.from_public_bytes(new)
    # Debian 12's class has no public_bytes_raw.
    old = SimpleNamespace(public_bytes=key.public_bytes)
    assert new == _raw_bytes(cast("X25519PublicKey", old))
    assert new == key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def test_what_is_encrypted_is_decrypted_with_the_same_key_and_context_only() -> None:
    key, other = bytes(32), b"\x01" + bytes(31)
    sealed = encrypt(key, b"context", b"plain")
    assert len(sealed) == len(b"plain") + 16
    assert decrypt(key, b"context", sealed) == b"plain"
    for broken in (
        (other, b"context", sealed),
        (key, b"another", sealed),
        (key, b"context", sealed[:-1]),
        (key, b"context", bytes([sealed[0] ^ 1]) + sealed[1:]),
        (key, b"context", b""),
    ):
        with pytest.raises(Unauthentic, match=r"^handshake does not authenticate$"):
            decrypt(*broken)


@by_both
def test_the_nonce_is_zero(by: "primitives.Primitives") -> None:
    # RFC 8439 with key, nonce, plaintext and context all zero or empty.
    assert by.encrypt(bytes(32), b"", b"").hex() == "4eb972c9a8fb3a1b382bb4d36f5ffad1"
