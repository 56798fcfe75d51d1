"""The clocks of the daemon, and its boot. Everything else is given the time."""

import time


def now_ms() -> int:
    """Return milliseconds since 1970-01-01 UTC, as the time in a datagram."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Return milliseconds of a clock that goes on, whatever the date is set to.

    It is the same for every process until the machine boots again.
    """
    return time.monotonic_ns() // 1_000_000


def boot_id() -> str:
    """Return what tells this boot from every other, empty if the system does not."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(36)
    except OSError:
        return ""


def wall_clock() -> float:
    """Return seconds since 1970-01-01 UTC: what a firewall rule with an end means."""
    return time.time_ns() / 1e9
