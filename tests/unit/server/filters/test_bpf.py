"""Programs of classic BPF, one behind the other."""

from unit.server.bpf_machine import run

from spassh_server.filters import bpf
from spassh_server.filters.bpf import Instruction, behind, do, jump


def first_byte_is(value: int, keep: int) -> list[Instruction]:
    return [
        do(bpf.LDB_ABS, 0),
        jump(bpf.JEQ_K, value, 0, 1),
        do(bpf.RET_K, keep),
        do(bpf.RET_K, 0),
    ]


def second_byte_is(value: int, keep: int) -> list[Instruction]:
    return [
        do(bpf.LDB_ABS, 1),
        jump(bpf.JEQ_K, value, 1, 0),
        do(bpf.RET_K, 0),
        do(bpf.RET_K, keep),
    ]


def test_both_have_to_let_a_frame_through_and_the_second_says_how_much() -> None:
    both = behind(first_byte_is(7, 100), second_byte_is(9, 50))
    assert run(both, b"\7\x09") == 50
    for frame in (b"\7\7", b"\x09\x09", b"\x09\7", b"\7", b""):
        assert run(both, frame) == 0


def test_wherever_the_first_one_says_yes_it_is_the_second_ones_turn() -> None:
    """libpcap writes one such place; nothing says that it always will."""
    either = [
        do(bpf.LDB_ABS, 0),
        jump(bpf.JEQ_K, 7, 0, 1),
        do(bpf.RET_K, 100),
        jump(bpf.JEQ_K, 8, 1, 0),
        do(bpf.RET_K, 0),
        do(bpf.RET_K, 100),
    ]
    both = behind(either, second_byte_is(9, 50))
    assert [run(both, bytes([one, 9])) for one in (6, 7, 8)] == [0, 50, 50]
    assert [run(both, bytes([one, 1])) for one in (6, 7, 8)] == [0, 0, 0]


def test_what_the_first_one_lets_go_the_third_one_judges() -> None:
    third = [
        do(bpf.LDB_ABS, 1),
        jump(bpf.JEQ_K, 3, 0, 1),
        do(bpf.RET_K, 25),
        do(bpf.RET_K, 0),
    ]
    whole = behind(first_byte_is(7, 100), second_byte_is(9, 50), third)
    assert [run(whole, bytes([7, one])) for one in (9, 3, 1)] == [50, 0, 0]
    assert [run(whole, bytes([8, one])) for one in (9, 3, 1)] == [0, 25, 0]


def test_without_a_third_one_the_program_is_the_same() -> None:
    first, second = first_byte_is(7, 100), second_byte_is(9, 50)
    assert behind(first, second) == [*first[:2], do(bpf.JA, 1), first[3], *second]
