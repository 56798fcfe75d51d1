"""Whether somebody keeps this computer's clock right: adjtimex(2)."""

import ctypes
import os

_SYNCHRONISED = "/run/systemd/timesync/synchronized"
_UNSYNCHRONISED = 0x0040  # STA_UNSYNC of linux/timex.h


class _Timex(ctypes.Structure):
    """The first fields of struct timex, and room for the others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("others", ctypes.c_byte * 512),
    )


def is_synchronised() -> bool | None:
    """Tell whether the clock is kept right, or None if the system does not say."""
    if os.path.exists(_SYNCHRONISED):
        return True
    timex = _Timex()  # No modes: nothing is set.
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError, TypeError):  # macOS has none, nor Windows a libc
        return None
    return None if state < 0 else not timex.status & _UNSYNCHRONISED
