"""The lock that says whether a daemon runs with a configuration.

Nothing else is imported: the way back, `spasshd stop --open`, has to work on a host on
which a library that the daemon needs is missing or broken.
"""

import fcntl
import os
import time
from typing import Final

from .config import Config

_INTERVAL: Final = 0.05
"""Seconds between two tries."""


def take_lock(config: Config, seconds: float) -> int:
    """Take the lock that both programs hold while they run; return its descriptor.

    Raises:
        BlockingIOError: somebody still had it after `seconds`.
        OSError: there is no run_dir.
    """
    path = os.path.join(config.run_dir, "lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(lock)
                raise
            time.sleep(_INTERVAL)
        else:
            return lock


def is_alive(config: Config, seconds: float = 0) -> bool:
    """Tell whether one of the two programs still runs after so many seconds."""
    try:
        os.close(take_lock(config, seconds))
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
