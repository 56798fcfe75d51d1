"""Programs of classic BPF as programs of eBPF, in which a map can be asked. Pure.

A filter of classic BPF has no memory from one packet to the next. The kernel runs it as
one of eBPF anyway, and what is here is that translation: the same registers, the same
16 words of memory, the same results.

Source: RFC 9669, and the kernel's Documentation/networking/filter.rst (the classic
instructions and the negative offsets) and include/uapi/linux/bpf.h (struct __sk_buff).
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from typing import Final, NamedTuple

from . import bpf

# Registers: A holds the result as well, and calls and loads of the packet spoil 1 to 5.
A: Final = 0
ARGUMENT: Final = (1, 2, 3, 4)
_CONTEXT: Final = 6
_X: Final = 7
_SAVED: Final = 8
FRAME: Final = 10

# Operations that classic BPF does not have, or spells in another way.
ALU64_ADD_K: Final = 0x07
MOV64_K: Final = 0xB7
MOV64_X: Final = 0xBF
CALL: Final = 0x85
EXIT: Final = 0x95
JEQ64_K: Final = 0x15
LDX_W: Final = 0x61
ST_W: Final = 0x62
LD_IMM64: Final = 0x18
ATOMIC_W: Final = 0xC3
JA: Final = 0x05
JMP32: Final = 0x06
"""The class of jumps that compare 32 bits, from Linux 5.1 on."""
JGE32_K: Final = 0x30 | JMP32
_MOV32_K: Final = 0xB4
_MOV32_X: Final = 0xBC
_LDX_DW: Final = 0x79
_STX_DW: Final = 0x7B
_TO_BIG_ENDIAN: Final = 0xDC

MAP_BY_DESCRIPTOR: Final = 1
"""In place of the source register of LD_IMM64: the constant is a map's descriptor."""

_WORDS: Final = 16
# Half of it is zero. To write four of eight bytes anew takes CAP_PERFMON as well in the
# eyes of some verifiers, such as that of Linux 6.1.
WORD_BYTES: Final = 8
"""Room of a word of the memory."""
MEMORY: Final = -WORD_BYTES * _WORDS
"""Where the memory's words begin, from FRAME."""

# Classes of the classic instructions.
_LD, _LDX, _ALU, _JMP = 0, 1, 4, 5
# A division by zero is the end of a classic program, and here the result is a number.
_DIV_X, _MOD_X = 0x3C, 0x9C

_ANCILLARY: Final = -0x1000
"""Where offsets begin that mean the kernel's own knowledge of a packet."""
# By offset from there, where struct __sk_buff has it: only what libpcap makes use of.
_PROTOCOL, _PACKET_TYPE, _INTERFACE = 0, 4, 8
_IN_CONTEXT: Final = {_PROTOCOL: 16, _PACKET_TYPE: 4, _INTERFACE: 40}
_LENGTH_IN_CONTEXT: Final = 0


class UntranslatableError(Exception):
    """The program has an instruction that has no counterpart here."""


class Instruction(NamedTuple):
    """One instruction, as struct bpf_insn of eBPF has it."""

    code: int
    to: int = 0
    """The destination register."""
    source: int = 0
    """The source register."""
    offset: int = 0
    """16 bits with a sign: instructions to leave out, or bytes."""
    k: int = 0
    """32 bits with a sign."""


def memory(word: int) -> int:
    """Return where a word of the classic memory is, from FRAME."""
    return MEMORY + WORD_BYTES * word


def translate(
    program: Sequence[bpf.Instruction],
    instead: Mapping[int, Sequence[Instruction]] | None = None,
) -> list[Instruction]:
    """Return what does the same as `program`.

    With `instead`, some of its instructions, by index, are replaced. Whatever stands
    there must end with an EXIT, and finds the memory's words as `memory` tells.

    Raises:
        UntranslatableError: `program` has an instruction that filters of ours have not.
    """
    instead = instead or {}
    pieces = [
        list(instead[at]) if at in instead else list(_one(one))
        for at, one in enumerate(program)
    ]
    begins = [0]
    for piece in pieces:
        begins.append(begins[-1] + len(piece))
    joined = [
        Instruction(_MOV32_K, A),
        Instruction(_MOV32_K, _X),
        Instruction(MOV64_X, _CONTEXT, ARGUMENT[0]),
    ]
    for at, (one, piece) in enumerate(zip(program, pieces, strict=True)):
        if at not in instead and one.code & 0x07 == _JMP:
            _aim(piece, one, begins[at + 1 :])
        joined += piece
    return joined


def _aim(piece: list[Instruction], one: bpf.Instruction, begins: Sequence[int]) -> None:
    """Give the jumps of `piece` their offsets: `begins` is where the next ones are."""
    first, *rest = piece
    if one.code == bpf.JA:
        piece[0] = first._replace(offset=begins[one.k] - begins[0])
        return
    (second,) = rest
    # The one for "true" leaves the other one out, too.
    piece[0] = first._replace(offset=begins[one.jt] - begins[0] + 1)
    piece[1] = second._replace(offset=begins[one.jf] - begins[0])


def _one(one: bpf.Instruction) -> Iterator[Instruction]:
    code, k = one.code, _signed(one.k)
    kind, by_x = code & 0x07, code & 0x08
    source, constant = (_X, 0) if by_x else (0, k)
    if kind in {_LD, _LDX}:
        yield from _load(code, A if kind == _LD else _X, k)
    elif code in {bpf.ST, bpf.STX}:
        yield Instruction(_STX_DW, FRAME, A if code == bpf.ST else _X, memory(k))
    elif kind == _ALU and code not in {_DIV_X, _MOD_X}:
        # The same numbers as there.
        yield Instruction(code, A, source, k=constant)
    elif code == bpf.JA:
        yield Instruction(JA)
    elif kind == _JMP:
        yield Instruction(code & 0xF8 | JMP32, A, source, k=constant)
        yield Instruction(JA)
    else:
        yield from _end_or_move(code, k)


def _end_or_move(code: int, k: int) -> Iterator[Instruction]:
    if code == bpf.RET_K:
        yield Instruction(_MOV32_K, A, k=k)
        yield Instruction(EXIT)
    elif code == bpf.RET_A:
        yield Instruction(EXIT)
    elif code == bpf.TAX:
        yield Instruction(_MOV32_X, _X, A)
    elif code == bpf.TXA:
        yield Instruction(_MOV32_X, A, _X)
    else:
        raise _unknown(code)


def _load(code: int, to: int, k: int) -> Iterator[Instruction]:
    mode = code & 0xE0
    if mode == bpf.LD_IMM:
        yield Instruction(_MOV32_K, to, k=k)
    elif mode == bpf.LD_MEM:
        yield Instruction(_LDX_DW, to, FRAME, memory(k))
    elif mode == bpf.LD_LEN:
        yield Instruction(LDX_W, to, _CONTEXT, _LENGTH_IN_CONTEXT)
    elif code == bpf.LDX_MSH:
        yield Instruction(_MOV32_X, _SAVED, A)
        yield Instruction(bpf.LDB_ABS, k=k)
        yield Instruction(bpf.AND_K, A, k=0x0F)
        yield Instruction(bpf.LSH_K, A, k=2)
        yield Instruction(_MOV32_X, _X, A)
        yield Instruction(_MOV32_X, A, _SAVED)
    elif mode == bpf.LD_IND:
        yield Instruction(code, source=_X, k=k)
    elif k >= 0:
        yield Instruction(code, k=k)
    elif k - _ANCILLARY in _IN_CONTEXT:
        yield Instruction(LDX_W, A, _CONTEXT, _IN_CONTEXT[k - _ANCILLARY])
        if k - _ANCILLARY == _PROTOCOL:
            # As in the packet. Classic BPF has it as a number.
            yield Instruction(_TO_BIG_ENDIAN, A, k=16)
    else:
        raise _unknown(code)


def _unknown(code: int) -> UntranslatableError:
    return UntranslatableError(f"instruction 0x{code:02x}")


def _signed(k: int) -> int:
    return k - (1 << 32) if k & 1 << 31 else k


def encode(program: Sequence[Instruction], order: str = sys.byteorder) -> bytes:
    """Return `program` as the kernel takes it, eight bytes for each instruction.

    With `order` "big", as a kernel takes it on such a host; "little" is the other one.
    """
    little = order == "little"
    form = "<BBhi" if little else ">BBhi"
    return b"".join(
        pack(form, code, to | source << 4 if little else to << 4 | source, offset, k)
        for code, to, source, offset, k in program
    )
