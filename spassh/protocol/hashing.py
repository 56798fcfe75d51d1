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


def expand(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Derive `outputs` keys of 32 bytes (Noise section 4.3, which is RFC 5869).

    It is HMAC-BLAKE2s (RFC 2104) under keys of 32 bytes, most of it under the same one.
    """
    inner, outer = _pads(chaining_key)
    inside = blake2s(inner + material).digest()
    inner, outer = _pads(blake2s(outer + inside).digest())
    derived: list[bytes] = []
    output = b""
    for number in range(1, outputs + 1):
        inside = blake2s(b"%b%b%c" % (inner, output, number)).digest()
        output = blake2s(outer + inside).digest()
        derived.append(output)
    return derived


def _pads(key: bytes) -> tuple[bytes, bytes]:
    block = key.ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)
