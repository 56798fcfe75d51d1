"""Inputs that are made of a corpus, the same ones for the same seed."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from fuzz.command import MAX_BYTES

_EDGES = (0, 1, 0x0A, 0x20, 0x22, 0x2D, 0x5C, 0x7F, 0x80, 0xFE, 0xFF)
_MOST_CHANGES = 6


def inputs(corpus: Sequence[bytes], seed: int, number: int) -> Iterator[bytes]:
    """Yield so many inputs: each one of the corpus with a few changes."""
    random = Random(seed)
    for _ in range(number):
        data = random.choice(corpus)
        for _ in range(random.randint(1, _MOST_CHANGES)):
            data = random.choice(_CHANGES)(random, data, corpus)
        yield data[:MAX_BYTES]


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _replace(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, end = _part(random, data)
    return data[:at] + random.randbytes(end - at) + data[end:]


def _edge(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    size = random.choice((1, 1, 2, 4, 8))
    return data[:at] + bytes([random.choice(_EDGES)]) * size + data[at + size :]


def _insert(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.randbytes(random.randint(1, 4)) + data[at:]


def _remove(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, end = _part(random, data)
    return data[:at] + data[end:]


def _again(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, end = _part(random, data)
    return data[:end] * random.randint(1, 3) + data[at:]


def _splice(random: Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = random.choice(corpus)
    at, end = _part(random, other)
    to, rest = _part(random, data)
    return data[:to] + other[at:end] + data[rest:]


def _number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Put another number in the place of one that is spelled in decimal."""
    at = random.randint(0, len(data))
    end = at
    while data[end : end + 1].isdigit():
        end += 1
    number = random.choice((0, 1, 255, 256, 65535, 65536, -1, 1 << 31, 1 << 64))
    return data[:at] + str(number).encode() + data[end:]


def _part(random: Random, data: bytes) -> tuple[int, int]:
    at = random.randint(0, len(data))
    return at, random.randint(at, min(len(data), at + random.choice((1, 4, 64))))


_CHANGES: Sequence[Callable[[Random, bytes, Sequence[bytes]], bytes]] = (
    _flip, _replace, _edge, _insert, _remove, _again, _splice, _number,
)  # fmt: skip
