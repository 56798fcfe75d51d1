"""Machines for classic BPF: one after the kernel's filter.rst, and the kernel.

They take frames as libpcap shows them, with the header of their link type.
"""

import operator
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import pytest

from spassh_server.filters import ebpf, kernel_bpf
from spassh_server.filters.bpf import Instruction

_WORD = 0xFFFFFFFF
_OPERATIONS: Final[dict[int, Callable[[int, int], int]]] = {
    0x00: operator.add,
    0x10: operator.sub,
    0x20: operator.mul,
    0x30: operator.floordiv,
    0x40: operator.or_,
    0x50: operator.and_,
    0x60: operator.lshift,
    0x70: operator.rshift,
    0xA0: operator.xor,
}
_COMPARISONS: Final[dict[int, Callable[[int, int], int]]] = {
    0x10: operator.eq,
    0x20: operator.gt,
    0x30: operator.ge,
    0x40: operator.and_,
}
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}


class Kernel:
    """The filter of a socket: it sees what is sent there as a frame."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self.far = far

    def run(self, frame: bytes) -> int:
        """Return how many bytes of `frame` the kernel keeps, or 0."""
        self._near.send(frame)
        try:
            return len(self.far.recv(1 << 16))
        except BlockingIOError:
            return 0


@contextmanager
def kernel(program: Sequence[Instruction]) -> Iterator[Kernel]:
    """Have the kernel of this host run `program`. It takes no privilege.

    Raises:
        OSError: the kernel refuses the program.
    """
    with _filtered() as one:
        kernel_bpf.attach_classic(one.far, program)
        yield one


@contextmanager
def kernel_with_maps(program: Sequence[ebpf.Instruction]) -> Iterator[Kernel]:
    """Have the kernel of this host run `program`, of eBPF. It takes CAP_BPF.

    Raises:
        OSError: the kernel refuses the program.
    """
    with _filtered() as one:
        loaded = kernel_bpf.load(program)
        try:
            kernel_bpf.attach(one.far, loaded)
        finally:
            os.close(loaded)
        yield one


@contextmanager
def _filtered() -> Iterator[Kernel]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setblocking(False)
        yield Kernel(near, far)


def need_maps() -> None:
    """Skip the test, with the reason, where the kernel gives us no map."""
    try:
        os.close(kernel_bpf.counts(4, 4, 1))
    except OSError as error:
        pytest.skip(f"bpf(2) is refused: {error}")


def has_maps() -> bool:
    """Tell whether the kernel gives us one."""
    with suppress(OSError):
        os.close(kernel_bpf.counts(4, 4, 1))
        return True
    return False


class Outside(Exception):  # noqa: N818 - no error: the packet is let go
    """A load reaches beyond the packet."""


def run(program: Sequence[Instruction], frame: bytes) -> int:
    """Return how many bytes of `frame` the program keeps, or 0."""
    try:
        return _run(program, frame)
    except Outside:
        return 0


def _run(program: Sequence[Instruction], frame: bytes) -> int:
    a = x = at = 0
    memory: dict[int, int] = {}
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind = code & 0x07
        if kind == 0x00:  # LD
            a = _load(code, k, x, memory, frame)
        elif kind == 0x01:  # LDX
            msh = code & 0xE0 == 0xA0
            x = (
                4 * (_bytes(frame, k, 1) & 15)
                if msh
                else _load(code, k, x, memory, b"")
            )
        elif kind in {0x02, 0x03}:  # ST, STX
            assert 0 <= k < 16
            memory[k] = a if kind == 0x02 else x
        elif kind == 0x04:  # ALU
            a = _compute(code & 0xF0, a, x if code & 0x08 else k)
        elif kind == 0x05:  # JMP
            if code & 0xF0 == 0x00:
                at += k
            else:
                at += jt if _holds(code & 0xF0, a, x if code & 0x08 else k) else jf
        elif kind == 0x06:  # RET
            return a if code & 0x18 == 0x10 else k
        elif code & 0xF8 == 0x00:  # MISC: TAX
            x = a
        else:
            a = x


def _load(code: int, k: int, x: int, memory: dict[int, int], frame: bytes) -> int:
    mode = code & 0xE0
    if mode == 0x00:
        return k
    if mode == 0x60:
        return memory[k]
    if mode == 0x80:
        return len(frame)
    if mode == 0x20:
        return _bytes(frame, k, _SIZES[code & 0x18])
    assert mode == 0x40, hex(code)
    return _bytes(frame, x + k, _SIZES[code & 0x18])


def _bytes(frame: bytes, at: int, size: int) -> int:
    if at + size > len(frame):
        raise Outside
    return int.from_bytes(frame[at : at + size], "big")


def _compute(operation: int, a: int, by: int) -> int:
    return _OPERATIONS[operation](a, by) & _WORD


def _holds(operation: int, a: int, by: int) -> bool:
    return bool(_COMPARISONS[operation](a, by))
