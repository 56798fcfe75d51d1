"""The gate's tag as a program for the kernel's filter (PROTOCOL.md section 3.1).

It is put behind the filter that libpcap compiles, which has seen to protocol, port and
size. What it lets go, user space would refuse as well; a packet that it cannot judge,
such as one that is cut short, is one of these.

Link types differ in the offset of the IP header. The version there decides what is
read, as in `datagram`. IPv6 with extension headers does not come here: neither the
filter of libpcap nor `datagram` lets it through.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from spassh.protocol.fwknop import openpgp
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.packet import BODIES, FIRST
from spassh.protocol.limits import DATAGRAM_SIZES

from ..datagram import (
    DLT_ETHERNET,
    DLT_LINUX_SLL,
    DLT_LINUX_SLL2,
    DLT_LOOP,
    DLT_NULL,
    DLT_RAW,
)
from . import bpf
from .bpf import Instruction, do, jump

NETWORK: Final = {
    DLT_ETHERNET: 14,
    DLT_LINUX_SLL: 16,
    DLT_LINUX_SLL2: 20,
    DLT_NULL: 4,
    DLT_LOOP: 4,
    **dict.fromkeys(DLT_RAW, 0),
}
"""Where the IP header is, by link type. The kernel takes tags of VLANs away."""

_IPV6_HEADER = 40
_UDP_HEADER = 8
_UDP_LENGTH = 4

# Words of the filter's memory: the state, what is read, and two for a while.
_V0, _V1, _V2, _V3, _M0, _M1, _TAG, _LEFT, _HEADER = range(9)
SEEN_BY_TAG: Final = range(_M0, _TAG)
"""Those with the eight bytes that the tag is of."""

_PERIOD = 64
"""Sizes of fwknop's packets repeat after 48 bytes of ciphertext: three blocks."""
_LOOKED_AT = 14
"""Characters of such a packet that are looked at. Of 256 bytes, 4 may be the first and
64 each of the 13 others: noise is like that once in 2^32, as often as it has a tag. Of
a packet by GnuPG, 12 may be the first, 1 the third and 16 the fourth: once in 2^38."""


def tag_filter(
    link: int, key: bytes, *, keep: int, fwknop: bool = False
) -> list[Instruction]:
    """Return the program that lets datagrams with the right tag through.

    Args:
        link: the link type, one of `NETWORK`.
        key: the tag key, 8 bytes.
        keep: bytes to keep of a frame that passes.
        fwknop: whether to let packets of fwknop through as well, by their form.
    """
    at = NETWORK[link]
    udp = at + _UDP_HEADER
    other = [*_fwknop(udp, keep)] if fwknop else [do(bpf.RET_K, 0)]
    judge = [
        *_words(udp),
        *_halfsiphash(key),
        do(bpf.LDX_MEM, _TAG),
        jump(bpf.JEQ_X, 0, 0, 1),
        do(bpf.RET_K, keep),
    ]
    sizes = [size + _UDP_HEADER for size in sorted(DATAGRAM_SIZES)]
    # The last jump is taken if the size is none of ours, and left out if it is.
    ours = [
        jump(bpf.JEQ_K, size, len(sizes) - index, 0) for index, size in enumerate(sizes)
    ]
    return [
        do(bpf.LDB_ABS, at),
        do(bpf.RSH_K, 4),
        jump(bpf.JEQ_K, 4, 0, 2),
        do(bpf.LDX_MSH, at),
        do(bpf.JA, 3),
        jump(bpf.JEQ_K, 6, 1, 0),
        do(bpf.RET_K, 0),
        do(bpf.LDX_IMM, _IPV6_HEADER),
        do(bpf.STX, _HEADER),
        do(bpf.LDH_IND, at + _UDP_LENGTH),
        *ours,
        do(bpf.JA, len(judge)),
        *judge,
        *other,
    ]


def passes_at(program: Sequence[Instruction]) -> int:
    """Return which instruction of a `tag_filter` lets a right tag through."""
    return next(at for at, one in enumerate(program) if one.code == bpf.RET_K and one.k)


def _words(udp: int) -> Iterator[Instruction]:
    """Read the tag and the eight bytes behind it; X is the length of the IP header."""
    for index, word in enumerate((_TAG, _M0, _M1)):
        yield do(bpf.LDX_MEM, _HEADER)
        yield do(bpf.LD_IND, udp + 4 * index)
        # The network's order is the other one.
        yield do(bpf.ST, word)
        yield do(bpf.LSH_K, 24)
        yield do(bpf.TAX)
        for shift, mask, k in (
            (bpf.LSH_K, 0x00FF0000, 8),
            (bpf.RSH_K, 0x0000FF00, 8),
            (bpf.RSH_K, 0x000000FF, 24),
        ):
            yield do(bpf.LD_MEM, word)
            yield do(shift, k)
            yield do(bpf.AND_K, mask)
            yield do(bpf.OR_X)
            yield do(bpf.TAX)
        yield do(bpf.ST, word)


def _halfsiphash(key: bytes) -> Iterator[Instruction]:
    """Leave HalfSipHash-2-4 of the two words in A, as `spassh.protocol.halfsiphash`."""
    k0, k1 = (int.from_bytes(key[at : at + 4], "little") for at in (0, 4))
    for word, value in (
        (_V0, k0),
        (_V1, k1),
        (_V2, 0x6C796765 ^ k0),
        (_V3, 0x74656462 ^ k1),
        # The last word is the length of the message, on top.
        (_LEFT, 8 << 24),
    ):
        yield do(bpf.LD_IMM, value)
        yield do(bpf.ST, word)
    for word in (_M0, _M1, _LEFT):
        yield from _xor(_V3, word)
        yield from _rounds(2)
        yield from _xor(_V0, word)
    yield do(bpf.LD_MEM, _V2)
    yield do(bpf.XOR_K, 0xFF)
    yield do(bpf.ST, _V2)
    yield from _rounds(4)
    yield do(bpf.LD_MEM, _V1)
    yield do(bpf.LDX_MEM, _V3)
    yield do(bpf.XOR_X)


def _rounds(count: int) -> Iterator[Instruction]:
    for _ in range(count):
        yield from _add(_V0, _V1)
        yield from _rotate(_V1, 5, then_xor=_V0)
        yield from _rotate(_V0, 16)
        yield from _add(_V2, _V3)
        yield from _rotate(_V3, 8, then_xor=_V2)
        yield from _add(_V0, _V3)
        yield from _rotate(_V3, 7, then_xor=_V0)
        yield from _add(_V2, _V1)
        yield from _rotate(_V1, 13, then_xor=_V2)
        yield from _rotate(_V2, 16)


def _add(word: int, other: int) -> Iterator[Instruction]:
    yield do(bpf.LD_MEM, word)
    yield do(bpf.LDX_MEM, other)
    yield do(bpf.ADD_X)
    yield do(bpf.ST, word)


def _xor(word: int, other: int) -> Iterator[Instruction]:
    yield do(bpf.LD_MEM, word)
    yield do(bpf.LDX_MEM, other)
    yield do(bpf.XOR_X)
    yield do(bpf.ST, word)


def _rotate(
    word: int, by: int, *, then_xor: int | None = None
) -> Iterator[Instruction]:
    yield do(bpf.LD_MEM, word)
    yield do(bpf.LSH_K, by)
    yield do(bpf.TAX)
    yield do(bpf.LD_MEM, word)
    yield do(bpf.RSH_K, 32 - by)
    yield do(bpf.OR_X)
    if then_xor is not None:
        yield do(bpf.LDX_MEM, then_xor)
        yield do(bpf.XOR_X)
    yield do(bpf.ST, word)


def _fwknop(udp: int, keep: int) -> Iterator[Instruction]:
    """Let through what has a size of fwknop's packets and begins like one."""
    symmetric = [
        do(bpf.LDH_IND, udp - _UDP_HEADER + _UDP_LENGTH),
        do(bpf.SUB_K, _UDP_HEADER),
        do(bpf.AND_K, _PERIOD - 1),
        *_one_of(_residues()),
        do(bpf.LDB_IND, udp),
        *_one_of(sorted(FIRST)),
    ]
    by_gnupg = [
        do(bpf.LDH_IND, udp - _UDP_HEADER + _UDP_LENGTH),
        jump(bpf.JGE_K, openpgp.LEAST + _UDP_HEADER, 1, 0),
        do(bpf.RET_K, 0),
        do(bpf.LDB_IND, udp + 2),
        *_one_of(sorted(openpgp.THIRD)),
        do(bpf.LDB_IND, udp + 3),
        *_one_of(sorted(openpgp.FOURTH)),
    ]
    yield do(bpf.LDX_MEM, _HEADER)
    yield do(bpf.LDB_IND, udp)
    # The first character is the letter of one kind alone, and none of the other's.
    yield jump(bpf.JGE_K, min(openpgp.FIRST), 0, 1)
    yield jump(bpf.JGT_K, max(openpgp.FIRST), 0, 1)
    yield do(bpf.JA, len(by_gnupg) + 1)
    yield from by_gnupg
    yield do(bpf.JA, len(symmetric))
    yield from symmetric
    for at in range(1, _LOOKED_AT):
        yield do(bpf.LDB_IND, udp + at)
        # base64: a to z, A to Z, then / and the digits, which are neighbours, then +.
        yield jump(bpf.JGE_K, ord("a"), 0, 1)
        yield jump(bpf.JGT_K, ord("z"), 5, 6)
        yield jump(bpf.JGE_K, ord("A"), 0, 1)
        yield jump(bpf.JGT_K, ord("Z"), 3, 4)
        yield jump(bpf.JGE_K, ord("/"), 0, 1)
        yield jump(bpf.JGT_K, ord("9"), 1, 2)
        yield jump(bpf.JEQ_K, ord("+"), 1, 0)
        yield do(bpf.RET_K, 0)
    yield do(bpf.RET_K, keep)


def _residues() -> list[int]:
    """Return the sizes that a packet can have, modulo the period.

    With any digest, and with none: users may change while the filter stays.
    """
    tags = {0, *(digest.characters for digest in DIGESTS.values())}
    return sorted({(body + tag) % _PERIOD for body in BODIES for tag in tags})


def _one_of(values: list[int]) -> Iterator[Instruction]:
    """Go on if A is one of `values`, and let the packet go otherwise."""
    for index, value in enumerate(values):
        yield jump(bpf.JEQ_K, value, len(values) - index, 0)
    yield do(bpf.RET_K, 0)
