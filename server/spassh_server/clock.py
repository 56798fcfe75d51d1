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


def booted_ms() -> int:
    """Return when the machine was booted, in ms since 1970, as the two clocks have it.

    It moves when the wall clock is set.
    """
    return now_ms() - monotonic_ms()


def wall_clock() -> float:
    """Return seconds since 1970-01-01 UTC: what a firewall rule with an end means."""
    return time.time_ns() / 1e9
