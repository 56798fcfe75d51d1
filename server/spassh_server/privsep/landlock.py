"""Leave a program one directory to write in: landlock(7).

The listener gets nothing else of the file system, and can execute no file any more. The
helper, which runs gpg, may read and execute the rest.

It takes no privilege, and it cannot be taken back. Nor can a TCP connection be made, if
the kernel is new enough (5.13 for files, 6.7 for TCP, 6.12 for the helper's signals).
"""

import ctypes
import errno
import os
import sys
from collections.abc import Mapping
from struct import pack
from typing import Final

from .sandbox import SandboxError

# The same on every architecture.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446

_VERSION = 1 << 0
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_FILE = 1 << 5
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
_MAKE_SOCK = 1 << 9
_TRUNCATE = 1 << 14

_READ = _READ_FILE | _READ_DIR
_OWN: Final = _READ | _WRITE_FILE | _MAKE_REG | _REMOVE_FILE | _TRUNCATE
"""What the replay store does in its directory."""
_GNUPG: Final = _OWN | _MAKE_SOCK | _MAKE_DIR
"""What gpg does in its home, and its agent, which keeps its keys in a directory."""

# All that can be denied, by the version of the kernel's interface: linux/landlock.h.
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
_NEWEST_FILES = 0xFFFF
_TCP = 0b11
_TCP_VERSION = 4
_SIGNALS = 1 << 1
_SIGNALS_VERSION = 6

_PLACE = getattr(os, "O_PATH", os.O_RDONLY)

_ABSENT = {errno.ENOSYS, errno.EOPNOTSUPP}
"""The kernel is too old, or was built without it; or it was started without it."""


def confine(directory: int) -> bool:
    """Deny this process every file but those below the open `directory`.

    Returns:
        Whether the kernel can do it. What is open already stays open.

    Raises:
        SandboxError: it can, and refused; or a filter of system calls did.
    """
    return _restrict({directory: _OWN}, signals=True)


def confine_helper(home: str) -> bool:
    """Have this process write nothing but what is in the GnuPG home, and /dev/null.

    It may signal nobody but what it starts from now on. It reads what its account may.

    Returns:
        Whether the kernel can do it.

    Raises:
        SandboxError: as `confine`.
        OSError: there is no such home.
    """
    allowed = {"/": _READ | _EXECUTE, home: _GNUPG, os.devnull: _WRITE_FILE}
    places: dict[int, int] = {}
    try:
        for path, access in allowed.items():
            places[os.open(path, _PLACE | os.O_CLOEXEC)] = access
        return _restrict(places, signals=False)
    finally:
        for place in places:
            os.close(place)


def _restrict(places: Mapping[int, int], *, signals: bool) -> bool:
    """Allow what each of the open `places` has, and nothing else below any other.

    With `signals`, these may go to whoever the account may send them to.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = _version(libc)
    if not version:
        return False
    files = _FILES.get(version, _NEWEST_FILES)
    attributes = pack("=Q", files)
    if version >= _TCP_VERSION:
        attributes += pack("=Q", _TCP)
    if version >= _SIGNALS_VERSION and not signals:
        attributes += pack("=Q", _SIGNALS)
    ruleset = _call(libc, _CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for place, access in places.items():
            beneath = pack("=Qi", access & files, place)
            _call(libc, _ADD_RULE, ruleset, _RULE_PATH_BENEATH, beneath, 0)
        _call(libc, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _version(libc: ctypes.CDLL) -> int:
    """Return the version of the kernel's interface, or 0 if it has none."""
    version: int = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 0:
        error = ctypes.get_errno()
        # Any other error comes from what filters system calls. To take that for an old
        # kernel would be to go on unconfined where it can be helped.
        if error not in _ABSENT:
            raise _refused(error)
        return 0
    return version


def _call(libc: ctypes.CDLL, number: int, *arguments: int | bytes) -> int:
    # Whole registers: libc's syscall(2) takes what the kernel takes.
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise _refused(ctypes.get_errno())
    return result


def _refused(error: int) -> SandboxError:
    hint = "see that no filter of system calls, as of a container, forbids landlock(7)"
    return SandboxError(
        f"landlock: {os.strerror(error)}", hint if error == errno.EPERM else ""
    )
