"""BLAKE2s, and the key derivation that Noise builds from it.

Both come from Python itself: the `cryptography` library has no keyed BLAKE2s, and its
HKDF would be the one reason to load it where OpenSSL's library does the rest.
"""

try:
    # hashlib would load OpenSSL as well, for the same function.
    from _blake2 import blake2s
except ImportError:  # pragma: no cover - another Python than CPython
    from hashlib import blake2s

__all__ = ["blake2s", "expand"]

_BLOCK = 64
_INNER = bytes(0x36 ^ byte for byte in range(256))
_OUTER = bytes(0x5C ^ byte for byte in range(256))


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-BLAKE2s (RFC 2104) under a key of at most 64 bytes."""
    block = key.ljust(_BLOCK, b"\0")
    inside = blake2s(block.translate(_INNER) + message).digest()
    return blake2s(block.translate(_OUTER) + inside).digest()


def expand(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Derive `outputs` keys of 32 bytes (Noise section 4.3, which is RFC 5869)."""
    secret = _hmac(chaining_key, material)
    derived: list[bytes] = []
    output = b""
    for number in range(1, outputs + 1):
        output = _hmac(secret, output + bytes([number]))
        derived.append(output)
    return derived
