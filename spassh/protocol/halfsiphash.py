"""HalfSipHash-2-4 with a 32-bit result.

Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), and the
authors' reference implementation for the half-width variant. It makes the tag of
PROTOCOL.md section 3.1: the only keyed function small enough for a classic BPF filter.
"""

_MASK = 0xFFFFFFFF


def _rounds(
    v0: int, v1: int, v2: int, v3: int, count: int
) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v1 = ((v1 << 5 | v1 >> 27) & _MASK) ^ v0
        v0 = (v0 << 16 | v0 >> 16) & _MASK
        v2 = (v2 + v3) & _MASK
        v3 = ((v3 << 8 | v3 >> 24) & _MASK) ^ v2
        v0 = (v0 + v3) & _MASK
        v3 = ((v3 << 7 | v3 >> 25) & _MASK) ^ v0
        v2 = (v2 + v1) & _MASK
        v1 = ((v1 << 13 | v1 >> 19) & _MASK) ^ v2
        v2 = (v2 << 16 | v2 >> 16) & _MASK
    return v0, v1, v2, v3


def halfsiphash(key: bytes, message: bytes) -> bytes:
    """Compute the 4-byte HalfSipHash-2-4 of `message` under the 8-byte `key`."""
    v0 = int.from_bytes(key[:4], "little")
    v1 = int.from_bytes(key[4:8], "little")
    v2 = 0x6C796765 ^ v0
    v3 = 0x74656462 ^ v1
    # The last word holds the 0 to 3 bytes that are left, and the length on top.
    whole = len(message) & ~3
    last = bytes(message[whole:]).ljust(3, b"\0") + bytes([len(message) & 0xFF])
    for at in range(0, whole + 4, 4):
        chunk = message[at : at + 4] if at < whole else last
        word = int.from_bytes(chunk, "little")
        v0, v1, v2, v3 = _rounds(v0, v1, v2, v3 ^ word, 2)
        v0 ^= word
    v0, v1, v2, v3 = _rounds(v0, v1, v2 ^ 0xFF, v3, 4)
    return (v1 ^ v3).to_bytes(4, "little")
