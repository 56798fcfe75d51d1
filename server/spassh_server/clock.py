"""The clocks of the daemon. Everything else is given the time."""

import time


def now_ms() -> int:
    """Return milliseconds since 1970-01-01 UTC, as the time in a datagram."""
    return time.time_ns() // 1_000_000


def wall_clock() -> float:
    """Return seconds since 1970-01-01 UTC: what a firewall rule with an end means."""
    return time.time_ns() / 1e9
