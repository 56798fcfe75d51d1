"""Give up privileges for good, and check that they are gone.

Linux: prctl(2), capset(2). Elsewhere only the user and the resource limits change.
"""

import ctypes
import errno
import os
import resource
import sys
from typing import Final

CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63


class SandboxError(Exception):
    """A privilege could not be given up, so the program must not go on.

    `hint` may name the remedy.
    """

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def become(uid: int, gid: int, *, file_bytes: int) -> None:
    """Become an unprivileged user for ever; no file may grow beyond `file_bytes`.

    Raises:
        SandboxError: something of the old privileges would have stayed.
    """
    if uid == 0 or gid == 0:
        raise SandboxError("the listener must not run as root")
    _limit_bounding_set(frozenset())
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise SandboxError(f"cannot become uid {uid}: {error.strerror}") from error
    # OpenSSH's habit: a drop is done when going back fails.
    for back in (os.setresuid, os.setresgid):
        try:
            back(-1, 0, -1)
        except PermissionError:
            continue
        raise SandboxError("privileges came back after they were dropped")
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        # Python has a ValueError for what is not permitted.
        raise SandboxError(f"cannot become uid {uid}: {error}") from error
    keep_capabilities(frozenset())


def keep_capabilities(kept: frozenset[int]) -> None:
    """Reduce every capability set of this process, and of what it starts, to `kept`.

    Raises:
        SandboxError: the kernel refused.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    # A core dump, or ptrace by another process of the same user, would show the keys.
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    if os.geteuid() == 0:
        _limit_bounding_set(kept)
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    low = sum(1 << one for one in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; twice, for capabilities 0-31 and 32-63
    data = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    if libc.capset(header, data):
        raise SandboxError(f"capset: {os.strerror(ctypes.get_errno())}")
    if capabilities() != low:
        raise SandboxError("capabilities stayed after they were dropped")


def _limit_bounding_set(kept: frozenset[int]) -> None:
    """Bound what exec could give back. It takes CAP_SETPCAP, so it comes first."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_LAST_CAPABILITY + 1):
        # The kernel has fewer than 64, and says EINVAL to the rest.
        if capability not in kept and libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            error = ctypes.get_errno()
            if error != errno.EINVAL:
                raise SandboxError(f"prctl PR_CAPBSET_DROP: {os.strerror(error)}")


def capabilities() -> int:
    """Return the effective and permitted capabilities of this process as one mask."""
    mask = 0
    # As bytes: a codec might have to be imported, from where we may not look any more.
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith((b"CapEff:", b"CapPrm:")):
                mask |= int(line.split()[1], 16)
    return mask


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0):
        raise SandboxError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")
