"""Who computes X25519 and ChaCha20-Poly1305 for the client: whoever loads fastest.

The server starts once, and takes `crypto`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Cipher = Callable[[bytes, bytes, bytes], bytes]
    """`encrypt` or `decrypt`: a key of 32 bytes, the associated data, and the text."""

    class KeyPair(Protocol):
        """An X25519 secret and what follows from it."""

        @property
        def public(self) -> bytes:
            """The public key, 32 bytes."""

        def exchange(self, public: bytes) -> bytes:
            """Return the 32-byte shared secret; raise `Unauthentic` if it is zero."""

    class Primitives(Protocol):
        """What sealing needs: `libcrypto` and `crypto` both have it."""

        def PrivateKey(self, secret: bytes, /) -> KeyPair:  # noqa: N802 - a class
            """Take a secret of 32 bytes."""

        def encrypt(self, key: bytes, associated: bytes, plain: bytes) -> bytes:
            """Seal `plain` under the 32-byte `key`: 16 bytes longer than it was."""


def _fastest() -> Primitives:
    try:
        from . import libcrypto
    except ImportError:
        from . import crypto

        return crypto
    return libcrypto


fastest = _fastest()
