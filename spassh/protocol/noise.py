"""The first message of Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s, both sides.

Source: The Noise Protocol Framework, revision 34. The pattern is

    <- s
    ...
    -> e, es, s, ss, psk

The second message of the pattern is not used yet; section 9.1 keeps it for an
authenticated reply.
"""

from __future__ import annotations

from .hashing import blake2s, expand
from .named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .primitives import Cipher, KeyPair

PROTOCOL_NAME = b"Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s"


class Written(NamedTuple):
    """What the initiator sends, and the handshake hash that identifies it."""

    ephemeral: bytes
    static: bytes
    payload: bytes
    hash: bytes


class Read(NamedTuple):
    """What the responder learnt: who sent what, and the handshake hash."""

    client: bytes
    payload: bytes
    hash: bytes


class _Symmetric:
    """Noise section 5.2, the SymmetricState: a chaining key, a hash, a cipher key."""

    __slots__ = ("chaining_key", "hash", "key")

    def __init__(self, prologue: bytes, responder: bytes) -> None:
        # Noise section 5.2: a protocol name over 32 bytes is hashed to become h.
        self.hash = self.chaining_key = blake2s(PROTOCOL_NAME).digest()
        self.key = b""
        self.mix_hash(prologue)
        self.mix_hash(responder)

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, self.key = expand(self.chaining_key, material, 2)

    def mix_key_and_hash(self, psk: bytes) -> None:
        self.chaining_key, extra, self.key = expand(self.chaining_key, psk, 3)
        self.mix_hash(extra)

    def mix_ephemeral(self, ephemeral: bytes) -> None:
        # Noise section 9.2: with a pre-shared key, the token e is mixed in twice.
        self.mix_hash(ephemeral)
        self.mix_key(ephemeral)

    def encrypt_and_hash(self, encrypt: Cipher, plain: bytes) -> bytes:
        sealed = encrypt(self.key, self.hash, plain)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, decrypt: Cipher, sealed: bytes) -> bytes:
        plain = decrypt(self.key, self.hash, sealed)
        self.mix_hash(sealed)
        return plain


def write_first_message(
    *,
    prologue: bytes,
    static: KeyPair,
    ephemeral: KeyPair,
    ephemeral_spelling: bytes,
    responder: bytes,
    psk: bytes,
    payload: bytes,
    encrypt: Cipher,
) -> Written:
    """Seal `payload` for the holder of the public key `responder`.

    `ephemeral_spelling` is the ephemeral public key as it goes on the wire: bit 255
    may be set, because X25519 ignores it while the hash covers it.

    Raises:
        Unauthentic: `responder` is a point of low order.
    """
    state = _Symmetric(prologue, responder)
    state.mix_ephemeral(ephemeral_spelling)
    state.mix_key(ephemeral.exchange(responder))
    sealed_static = state.encrypt_and_hash(encrypt, static.public)
    state.mix_key(static.exchange(responder))
    state.mix_key_and_hash(psk)
    sealed_payload = state.encrypt_and_hash(encrypt, payload)
    return Written(ephemeral_spelling, sealed_static, sealed_payload, state.hash)


def read_first_message(
    *,
    prologue: bytes,
    static: KeyPair,
    shared: Callable[[bytes], bytes],
    find_psk: Callable[[bytes], bytes],
    ephemeral: bytes,
    sealed_static: bytes,
    sealed_payload: bytes,
    decrypt: Cipher,
) -> Read:
    """Open a first message with the responder's key.

    `find_psk` is given the client's public key once that is decrypted, returns the
    pre-shared key (32 bytes), and raises `Unauthentic` for a client it does not know.
    `shared` is `static.exchange`, for clients that are known: it may remember.

    Raises:
        Unauthentic: anything about the message or its sender is not right.
    """
    state = _Symmetric(prologue, static.public)
    state.mix_ephemeral(ephemeral)
    state.mix_key(static.exchange(ephemeral))
    client = state.decrypt_and_hash(decrypt, sealed_static)
    psk = find_psk(client)
    state.mix_key(shared(client))
    state.mix_key_and_hash(psk)
    payload = state.decrypt_and_hash(decrypt, sealed_payload)
    return Read(client, payload, state.hash)
