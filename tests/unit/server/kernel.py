"""What this kernel can do."""

import ctypes

import pytest


def landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1))


needs_landlock = pytest.mark.skipif(
    landlock_version() < 1, reason="this kernel has no Landlock"
)
