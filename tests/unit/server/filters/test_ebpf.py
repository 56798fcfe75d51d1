"""Programs of classic BPF, translated: the kernel does the same with both."""

import os
import socket
import sys
from random import Random

import pytest
from unit.server.bpf_machine import kernel, kernel_with_maps, need_maps, run

from spassh_server.filters import bpf, ebpf, kernel_bpf, tag_filter
from spassh_server.filters.bpf import Instruction, do, jump
from spassh_server.filters.ebpf import UntranslatableError, translate

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has SO_ATTACH_FILTER"
)

ETH_P_ALL = 3

FRAME = bytes(range(200, 256)) + bytes(range(56))

# Instructions of either kind, one of each: what goes into A, and what is done with it.
LOADS = [
    do(bpf.LD_IMM, 0x80000001),
    do(bpf.LD_MEM, 3),
    do(bpf.LDB_ABS, 5),
    do(0x28, 6),
    do(0x20, 7),
    do(bpf.LD_IND, 1),
    do(bpf.LDH_IND, 2),
    do(bpf.LDB_IND, 3),
    do(bpf.LD_LEN),
    do(bpf.LDX_IMM, 11),
    do(bpf.LDX_MEM, 4),
    do(bpf.LDX_MSH, 60),
    do(bpf.TAX),
    do(bpf.TXA),
    do(bpf.ST, 3),
    do(bpf.STX, 4),
]
OPERATIONS = [
    do(code | by, k)
    for code in (0x04, 0x14, 0x24, 0x44, 0x54, 0x64, 0x74, 0xA4)
    for by, k in ((0x00, 3), (0x08, 0))
    # A shift by more than there are bits is nothing that a program can rely on.
    if not (by and code in {0x64, 0x74})
]
JUMPS = [
    # Instructions that nothing leads to are refused.
    jump(code | by, k, 0, 2)
    for code in (0x15, 0x25, 0x35, 0x45)
    for by, k in ((0x00, 0x80000000), (0x00, 40), (0x08, 0))
]


def some_program(seed: int) -> list[Instruction]:
    """Return a program that ends, by way of most instructions that there are."""
    random = Random(seed)
    # The memory is written before it is read, as the kernel asks for.
    program = [do(bpf.LDB_ABS, 20), do(bpf.ST, 3), do(bpf.TAX), do(bpf.STX, 4)]
    for _ in range(40):
        program += [random.choice(random.choice([LOADS, LOADS, OPERATIONS, JUMPS]))]
    # Where the last jumps may lead.
    end = [do(bpf.AND_K, 63), jump(bpf.JGT_K, 0, 0, 1), do(bpf.RET_A), do(bpf.RET_K, 9)]
    return [*program, do(bpf.TXA), do(bpf.TXA), *end]


@needs_linux
@pytest.mark.parametrize("seed", range(60))
def test_the_translation_does_what_the_program_does(seed: int) -> None:
    need_maps()
    program = some_program(seed)
    with kernel(program) as classic, kernel_with_maps(translate(program)) as other:
        for frame in (FRAME, FRAME[::-1], FRAME[:70], FRAME[:30], FRAME[:3]):
            kept = classic.run(frame)
            assert other.run(frame) == kept
            assert min(run(program, frame), len(frame)) == kept


def test_most_of_these_programs_let_some_frames_through() -> None:
    """Else they would show nothing."""
    kept = [run(some_program(seed), FRAME) for seed in range(60)]
    assert len(set(kept)) > 6


@needs_linux
@pytest.mark.parametrize(
    ("offset", "answer"), [(0, 0x0800), (4, socket.PACKET_OUTGOING), (8, None)]
)
def test_what_the_kernel_knows_of_a_packet_is_the_same_number(
    offset: int, answer: int | None
) -> None:
    """The protocol, the type, the interface: libpcap reads these where is no header."""
    need_maps()
    index = socket.if_nametoindex("lo")
    wanted = index if answer is None else answer
    program = [
        do(0x20, 0xFFFFF000 + offset),
        jump(bpf.JEQ_K, wanted, 0, 1),
        do(bpf.RET_K, 100),
        do(bpf.RET_K, 0),
    ]
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as classic,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        kernel_bpf.attach_classic(classic, program)
        loaded = kernel_bpf.load(translate(program))
        kernel_bpf.attach(other, loaded)
        os.close(loaded)
        for one in (classic, other):
            one.settimeout(20)
            one.bind(("lo", ETH_P_ALL))
        mark = os.urandom(16)
        sender.sendto(mark, ("127.0.0.1", 9))
        for one in (classic, other):
            while mark not in one.recv(1 << 16):
                pass


@pytest.mark.parametrize("link", tag_filter.NETWORK)
def test_no_word_of_the_memory_is_written_in_part(link: int) -> None:
    """With Linux 6.1 that takes CAP_PERFMON as well, which the unit does not have.

    Its verifier sees an "attempt to corrupt spilled pointer on stack" where four bytes
    are written of eight that were written before.
    """
    plain_and_double, modes_and_sizes = 0x60 | 0x18, 0xF8
    program = tag_filter.tag_filter(link, bytes(8), keep=100, fwknop=True)
    stores = [
        one for one in translate(program) if one.code & 7 == 3 and one.to == ebpf.FRAME
    ]
    assert {one.code & modes_and_sizes for one in stores} == {plain_and_double}
    places = {one.offset for one in stores}
    assert len(places) == 9
    assert all(place % 8 == 0 for place in places)


def test_what_has_no_counterpart_is_refused() -> None:
    for code, k in (
        (0x20, 0xFFFFF000 + 20),
        (bpf.LDB_ABS, 0xFFF00000),
        # A division by zero ends a program of classic BPF, and not one of eBPF.
        (0x3C, 0),
        (0x9C, 0),
        (0x97, 0),
        (0x0E, 0),
    ):
        with pytest.raises(UntranslatableError, match=f"0x{code:02x}"):
            translate([do(code, k), do(bpf.RET_K, 0)])


def test_an_instruction_can_be_replaced_and_jumps_are_aimed_anew() -> None:
    program = [
        jump(bpf.JEQ_K, 0, 1, 2),
        do(bpf.JA, 1),
        do(bpf.RET_K, 1),
        do(bpf.RET_K, 0),
    ]
    long = [ebpf.Instruction(ebpf.MOV64_K, ebpf.A, k=5)] * 7
    usual, replaced = (
        translate(program, instead) for instead in ({}, {2: [*long, long[0]]})
    )
    assert len(replaced) == len(usual) + 6
    (_, _, _, yes, no, over, *_) = usual
    assert (yes.offset, no.offset, over.offset) == (2, 3, 2)
    (_, _, _, yes, no, over, *_) = replaced
    assert (yes.offset, no.offset, over.offset) == (2, 9, 8)


def test_instructions_are_spelled_in_the_order_of_the_host() -> None:
    """RFC 9669 section 3.1: on a big-endian host the registers change places, too."""
    program = [
        ebpf.Instruction(0x63, 10, 1, -20),
        ebpf.Instruction(0xB4, 0, 0, 0, -2),
    ]
    little, big = (
        "631aecff00000000 b4000000feffffff",
        "63a1ffec00000000 b4000000fffffffe",
    )
    assert ebpf.encode(program, "little") == bytes.fromhex(little)
    assert ebpf.encode(program, "big") == bytes.fromhex(big)
    assert ebpf.encode(program) == ebpf.encode(program, sys.byteorder)
