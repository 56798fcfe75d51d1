"""Instructions of classic BPF, and enough of an assembler to write a program of them.

Source: McCanne and Jacobson, "The BSD Packet Filter" (1993), and the kernel's
Documentation/networking/filter.rst. The numbers are the same everywhere.
"""

from typing import Final, NamedTuple

# Loads into A: a constant, a word of the memory, or of the packet at a fixed offset.
LD_IMM: Final = 0x00
LD_MEM: Final = 0x60
LDB_ABS: Final = 0x30
# Loads the length of the packet into A.
LD_LEN: Final = 0x80
# Loads into A: what is in the packet at the offset X + k.
LD_IND: Final = 0x40
LDH_IND: Final = 0x48
LDB_IND: Final = 0x50
# Loads into X. MSH is 4 * (byte & 15): the length of an IPv4 header.
LDX_IMM: Final = 0x01
LDX_MEM: Final = 0x61
LDX_MSH: Final = 0xB1
# Stores of A and of X into the memory of 16 words.
ST: Final = 0x02
STX: Final = 0x03
# What is done to A, with the constant k or with X.
SUB_K: Final = 0x14
AND_K: Final = 0x54
LSH_K: Final = 0x64
RSH_K: Final = 0x74
XOR_K: Final = 0xA4
ADD_X: Final = 0x0C
OR_X: Final = 0x4C
XOR_X: Final = 0xAC
# What is in A goes to X, or the other way around.
TAX: Final = 0x07
TXA: Final = 0x87
# Jumps, all of them forward. Of the conditional ones, the offsets are single bytes.
JA: Final = 0x05
JEQ_K: Final = 0x15
JGT_K: Final = 0x25
JGE_K: Final = 0x35
JEQ_X: Final = 0x1D
# How many bytes of the packet to keep: 0 is to let it go.
RET_K: Final = 0x06
# The same, with as many bytes as A says.
RET_A: Final = 0x16


class Instruction(NamedTuple):
    """One instruction, as struct bpf_insn has it."""

    code: int
    jt: int
    """For a conditional jump, how many instructions are left out if it is true."""
    jf: int
    """The same if it is false."""
    k: int
    """The constant, 32 bits."""


def do(code: int, k: int = 0) -> Instruction:
    """Return an instruction that is no conditional jump."""
    return Instruction(code, 0, 0, k)


def jump(code: int, k: int, jt: int, jf: int) -> Instruction:
    """Return a conditional jump, which leaves `jt` or `jf` instructions out."""
    return Instruction(code, jt, jf, k)


def behind(
    first: list[Instruction],
    second: list[Instruction],
    otherwise: list[Instruction] | None = None,
) -> list[Instruction]:
    """Return a program that lets through what `first` does and `second` does as well.

    How much of it is kept, `second` says. What `first` lets go is for `otherwise` to
    judge, if that is given.
    """
    joined = []
    for at, one in enumerate(first):
        left = len(first) - at - 1
        # Where the first one would say yes, it is the second one's turn.
        if one.code == RET_K and one.k:
            joined.append(do(JA, left))
        elif one.code == RET_K and otherwise is not None:
            joined.append(do(JA, left + len(second)))
        else:
            joined.append(one)
    return joined + second + (otherwise or [])
