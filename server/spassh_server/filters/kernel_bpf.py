"""Maps and programs of eBPF in the kernel: bpf(2). It takes CAP_BPF, or root.

What is made here lasts as long as its descriptor, or a socket that it is attached to.
"""

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Sequence
from typing import Final

from ..libpcap import spelled
from . import bpf, ebpf

# By what uname(2) says. Elsewhere, and for programs of another width than the kernel's,
# nothing can be loaded.
_NUMBERS: Final = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "ppc64le": 361,
    "ppc64": 361,
    "s390x": 351,
}
_WIDE: Final = struct.calcsize("P") == 8

_MAP_CREATE, _PROG_LOAD = 0, 5
_LRU_HASH: Final = 9
_SOCKET_FILTER: Final = 1
_LICENSE: Final = b"Dual MIT/GPL"

# Linux has them; socket does not name them. The first one both sets and tells.
_SO_ATTACH_FILTER = 26
_SO_ATTACH_BPF = 50
_MAX_INSTRUCTIONS = 4096


def counts(key_bytes: int, count_bytes: int, entries: int) -> int:
    """Make a map that forgets what was not used for the longest; return its descriptor.

    Raises:
        OSError: the kernel has none, or does not permit it.
    """
    return _call(_MAP_CREATE, "IIII", _LRU_HASH, key_bytes, count_bytes, entries)


def load(program: Sequence[ebpf.Instruction]) -> int:
    """Load a filter for sockets; return its descriptor.

    Raises:
        OSError: the kernel does not permit it, or its verifier refuses the program.
    """
    code = ctypes.create_string_buffer(ebpf.encode(program))
    license_ = ctypes.create_string_buffer(_LICENSE)
    places = ctypes.addressof(code), ctypes.addressof(license_)
    return _call(_PROG_LOAD, "IIQQ", _SOCKET_FILTER, len(program), *places)


def _call(command: int, form: str, *values: int) -> int:
    number = _NUMBERS.get(platform.machine()) if _WIDE else None
    if number is None:
        raise OSError("no bpf(2) known on this architecture")
    attributes = struct.pack(f"={form}", *values)
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        ctypes.c_long(number),
        ctypes.c_long(command),
        attributes,
        ctypes.c_long(len(attributes)),
    )
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def attach(sock: socket.socket, program: int) -> None:
    """Have the loaded `program` filter what `sock` receives.

    Raises:
        OSError: no room (net.core.optmem_max), or the socket's filter is locked.
    """
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)


def attach_classic(sock: socket.socket, program: Sequence[bpf.Instruction]) -> None:
    """Have `program`, of classic BPF, filter what `sock` receives.

    Raises:
        OSError: as `attach`.
    """
    words = spelled(program)
    fprog = struct.pack("HP", len(program), ctypes.addressof(words))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def attached_classic(sock: socket.socket) -> list[bpf.Instruction]:
    """Return the program of classic BPF that filters what `sock` receives.

    Raises:
        OSError: the kernel does not tell.
    """
    # socket.getsockopt would take the number of instructions for one of bytes.
    words = spelled([bpf.do(0)] * _MAX_INSTRUCTIONS)
    count = ctypes.c_uint(_MAX_INSTRUCTIONS)
    libc = ctypes.CDLL(None, use_errno=True)
    status: int = libc.getsockopt(
        sock.fileno(),
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        words,
        ctypes.byref(count),
    )
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return [
        bpf.Instruction(one.code, one.jt, one.jf, one.k & 0xFFFFFFFF)
        for one in words[: count.value]
    ]
