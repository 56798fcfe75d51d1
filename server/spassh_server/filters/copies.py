"""How many copies of a packet the kernel lets through. Pure: it makes the program.

Whoever has recorded a packet can send it, and what begins like it, as fast as a network
goes. All of these have the right tag. The tag is of the eight bytes behind it, and each
client draws them at random for each packet, so packets that have these in common are
copies, or were made from one. A map in the kernel counts them.

Some copies do pass: one packet is heard more than once where interfaces hang together.
That nothing is accepted twice is for the replay check alone to see to.
"""

from collections.abc import Sequence
from typing import Final

from . import bpf, ebpf
from .ebpf import ARGUMENT, FRAME, A, Instruction
from .tag_filter import SEEN_BY_TAG

KEY_BYTES: Final = ebpf.WORD_BYTES * len(SEEN_BY_TAG)
"""Size of a key of the map: the words that the tag is made of, which say it all."""
COUNT_BYTES: Final = 4

_LOOK_UP, _UPDATE = 1, 2
_COUNT_AT: Final = ebpf.MEMORY - COUNT_BYTES


def at_most(
    program: Sequence[bpf.Instruction], passes: int, counts: int, copies: int
) -> list[Instruction]:
    """Return what lets through what `program` does, but of copies only so many.

    Args:
        program: a filter with the tag's; see `tag_filter.passes_at`.
        passes: the index of the instruction in it that lets a right tag through.
        counts: the descriptor of the map, of `KEY_BYTES` and `COUNT_BYTES`.
        copies: how many of them pass.

    Raises:
        UntranslatableError: as `ebpf.translate`.
    """
    keep = program[passes].k
    return ebpf.translate(program, {passes: _counted(counts, copies, keep)})


def _counted(counts: int, copies: int, keep: int) -> list[Instruction]:
    key, value = ebpf.memory(SEEN_BY_TAG[0]), _COUNT_AT
    passes = [
        Instruction(ebpf.MOV64_K, A, k=keep),
        Instruction(ebpf.EXIT),
    ]
    known = [
        Instruction(ebpf.LDX_W, ARGUMENT[0], A),
        Instruction(ebpf.JGE32_K, ARGUMENT[0], offset=4, k=copies),
        Instruction(ebpf.MOV64_K, ARGUMENT[0], k=1),
        Instruction(ebpf.ATOMIC_W, A, ARGUMENT[0]),
        *passes,
        Instruction(ebpf.MOV64_K, A),
        Instruction(ebpf.EXIT),
    ]
    unknown = [
        Instruction(ebpf.ST_W, FRAME, offset=value, k=1),
        *_map(counts),
        *_place(ARGUMENT[1], key),
        *_place(ARGUMENT[2], value),
        Instruction(ebpf.MOV64_K, ARGUMENT[3]),
        Instruction(ebpf.CALL, k=_UPDATE),
        *passes,
    ]
    return [
        *_map(counts),
        *_place(ARGUMENT[1], key),
        Instruction(ebpf.CALL, k=_LOOK_UP),
        Instruction(ebpf.JEQ64_K, A, offset=len(known)),
        *known,
        *unknown,
    ]


def _map(counts: int) -> list[Instruction]:
    first = ARGUMENT[0]
    # It takes the room of two. The upper half of the constant is zero.
    return [
        Instruction(ebpf.LD_IMM64, first, ebpf.MAP_BY_DESCRIPTOR, k=counts),
        Instruction(0),
    ]


def _place(register: int, offset: int) -> list[Instruction]:
    return [
        Instruction(ebpf.MOV64_X, register, FRAME),
        Instruction(ebpf.ALU64_ADD_K, register, k=offset),
    ]
