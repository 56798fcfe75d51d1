"""X25519 and ChaCha20-Poly1305 from the `cryptography` library."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .errors import Unauthentic

__all__ = ["PrivateKey", "decrypt", "encrypt"]

# Noise section 5.1: a key encrypts once in this handshake, so its counter stays zero.
_NONCE = bytes(12)


def _raw_bytes(key: X25519PublicKey) -> bytes:
    try:
        return key.public_bytes_raw()
    except AttributeError:  # cryptography before 40, which Debian 12 has
        # Not at the top: newer versions would pay 15 ms for a module they do not need.
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


class PrivateKey:
    """An X25519 secret of 32 bytes and the public key that belongs to it."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        """Take the 32 secret bytes; clamping is the library's (RFC 7748 section 5)."""
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public = _raw_bytes(self._key.public_key())

    def exchange(self, public: bytes) -> bytes:
        """Return the 32-byte shared secret with `public`, whose bit 255 is ignored.

        Raises:
            Unauthentic: the result is all zero, so `public` is of low order.
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise Unauthentic("low-order point") from error


def encrypt(key: bytes, associated: bytes, plain: bytes) -> bytes:
    """Seal `plain` under the 32-byte `key`: 16 bytes longer than it was."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, associated)


def decrypt(key: bytes, associated: bytes, sealed: bytes) -> bytes:
    """Open what `encrypt` sealed.

    Raises:
        Unauthentic: the bytes, the key or the associated data are not the same.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, associated)
    except InvalidTag as error:
        raise Unauthentic("handshake does not authenticate") from error
