"""Have one system call of a process, or of a program that it starts, fail.

The kernel stops a forked process at each call and asks us: seccomp_unotify(2). That is
many times as fast as strace, and it tells all calls, so each of them can be made to
fail. libseccomp makes the filter, because it knows the numbers of the calls.
"""

import ctypes
import errno
import fcntl
import os
import select
import struct
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes.util import find_library
from typing import Final, NamedTuple, NoReturn

import pytest

from .failures import HALF, HARMLESS

Work = Callable[[], Iterator[None]]
"""What is done in the process. Calls may fail until it yields, and none after that."""

_CONTROL: Final = 900
"""The descriptor by which the process talks to us. What it says there never fails."""

_PATIENCE_MS: Final = 120_000
"""A process that neither calls nor ends for so long is taken to hang."""

# linux/seccomp.h, and seccomp.h of libseccomp
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_MAP_ANONYMOUS = 0x20
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_QUESTION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, number, architecture, ip, args
_ANSWER = struct.Struct("=QqiI")  # id, value, error, flags
_CONTINUE = 1
_PIDFD_GETFD = 438  # the same on every architecture

_ENDS = frozenset({"exit", "exit_group", "rt_sigreturn", "set_robust_list", "rseq"})
"""Calls that nobody outlives, or that the C library makes before anything else."""


needs_injection = pytest.mark.skipif(
    find_library("seccomp") is None, reason="needs libseccomp, as of libseccomp2"
)


class Call(NamedTuple):
    """A system call, in lives that are alike up to the one that fails."""

    process: int
    """0 for the forked process, 1 for the first one that it starts, and so on."""
    name: str
    number: int
    """Counted from 1, among the calls of that name by that process."""


class Life(NamedTuple):
    """What became of a process."""

    calls: list[Call]
    """Those up to the mark, or to the one that has failed."""
    failed: bool
    """Whether the call that was to fail was made."""
    marked: bool
    """Whether it got as far as the mark."""
    status: int
    """As `os.waitstatus_to_exitcode` has it: 0 unless something came out of `work`,
    which is printed then, or something ended the process."""


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def live(work: Work, at: Call | None = None, how: str = "") -> Life:
    """Do `work` in a forked process, in which the call `at` fails.

    `how` is the name of an error, or `HALF`.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        _child(work, theirs)
    os.close(theirs)
    pidfd = os.pidfd_open(pid)
    try:
        told = os.read(ours, 4)
        assert len(told) == 4, "no filter of system calls"
        listener = _take(pidfd, int.from_bytes(told, "big"))
        try:
            return _watch(pid, ours, listener, at, how)
        finally:
            os.close(listener)
    finally:
        os.close(pidfd)
        os.close(ours)


def _watch(pid: int, control: int, listener: int, at: Call | None, how: str) -> Life:
    """Answer whatever the process and its programs ask, until it has ended."""
    counts = _Counts()
    failed = marked = False
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(listener, select.POLLIN)
    question = bytearray(_QUESTION.size)
    while True:
        ready = [fd for fd, _ in poll.poll(_PATIENCE_MS)]
        assert ready, f"{pid} hangs, with {how} at {at}"
        if control in ready:
            if not os.read(control, 1):
                break
            marked = True
            continue
        question[:] = bytes(_QUESTION.size)
        # Whoever asks may be killed meanwhile.
        with suppress(FileNotFoundError):
            fcntl.ioctl(listener, _RECEIVE, question)
            identity, who, _, number, _, _, *arguments = _QUESTION.unpack(question)
            answer = identity, 0, 0, _CONTINUE
            # Most of all calls are behind the one that fails.
            if not marked and not failed:
                call = counts.add(who, number)
                failed = call == at
                if failed:
                    answer = _failure(identity, who, how, call.name, arguments)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(*answer))
    status = os.waitpid(pid, 0)[1]
    return Life(counts.calls, failed, marked, os.waitstatus_to_exitcode(status))


class _Counts:
    """The calls that were made so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._order: dict[int, int] = {}
        self._counts: Counter[tuple[int, str]] = Counter()

    def add(self, who: int, number: int) -> Call:
        """Take in the call of that number by that process."""
        key = self._order.setdefault(who, len(self._order)), _name(number)
        self._counts[key] += 1
        call = Call(*key, self._counts[key])
        self.calls.append(call)
        return call


def _failure(
    identity: int, who: int, how: str, name: str, arguments: list[int]
) -> tuple[int, int, int, int]:
    """Return the answer that makes the call fail, or do half of it ourselves."""
    if how != HALF:
        return identity, 0, -getattr(errno, how), 0
    fd, place, size = arguments[:3]
    pidfd = os.pidfd_open(who)
    taken = _take(pidfd, fd)
    os.close(pidfd)
    try:
        with open(f"/proc/{who}/mem", "r+b", buffering=0) as memory:
            memory.seek(place)
            if name == "write":
                done = os.write(taken, memory.read((size + 1) // 2))
            else:
                # Of what is there, not of the room that it is to be put into.
                room = os.read(taken, min(size, _left(taken)))
                done = memory.write(room)
    finally:
        os.close(taken)
    return identity, done, 0, 0


def _left(fd: int) -> int:
    """Return half of what a file has left, at least one byte."""
    return max(1, (os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR)) // 2)


def _child(work: Work, control: int) -> NoReturn:
    status = 1
    try:
        os.dup2(control, _CONTROL, inheritable=False)
        os.close(control)
        os.write(_CONTROL, _install().to_bytes(4, "big"))
        for _ in work():
            os.write(_CONTROL, b"-")
        status = 0
    except BaseException:  # noqa: BLE001 - it is shown, and the parent judges
        traceback.print_exc()
    finally:
        os._exit(status)


def _install() -> int:
    """Have the kernel ask about this process from now on; return where it asks."""
    seccomp = _library()
    context = ctypes.c_void_p(seccomp.seccomp_init(_NOTIFY))
    for name in (HARMLESS | _ENDS) - {"mmap"}:
        _rule(context, name)
    for name in ("read", "write"):
        _rule(context, name, _Compare(0, 4, _CONTROL, 0))
    # Memory without a file is as brk(2) is.
    anonymous = _Compare(3, _MASKED_EQUAL, _MAP_ANONYMOUS, _MAP_ANONYMOUS)
    _rule(context, "mmap", anonymous)
    assert not seccomp.seccomp_load(context)
    listener: int = seccomp.seccomp_notify_fd(context)
    return listener


def _rule(context: ctypes.c_void_p, name: str, *conditions: _Compare) -> None:
    """Let the calls of that name pass without asking."""
    seccomp = _library()
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return  # Not on this architecture.
    array = (_Compare * len(conditions))(*conditions)
    arguments = context, _ALLOW, number, len(conditions), array
    assert not seccomp.seccomp_rule_add_array(*arguments), name


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.c_void_p,
    ]
    library.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    return library


_names: dict[int, str] = {}


def _name(number: int) -> str:
    if number not in _names:
        found = _library().seccomp_syscall_resolve_num_arch(0, number)
        _names[number] = found.decode() if found else str(number)
    return _names[number]


def _take(pidfd: int, number: int) -> int:
    """Return a descriptor for what the process has as `number`: pidfd_getfd(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return fd
