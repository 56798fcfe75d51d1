"""Valid datagrams that come too early, too late, or twice (sections 6.2 and 6.3)."""

from collections.abc import Iterator

from spassh.protocol.request import TCP, Request

from .common import NOW, SOURCE, Vector, success

_WINDOW = 60_000


def vectors() -> Iterator[Vector]:
    for name, expect, comment, time, headers in (
        (
            "time_at_window_edge_past",
            "success",
            "Made exactly 60 s ago by the server's clock.",
            NOW - _WINDOW,
            {},
        ),
        (
            "time_at_window_edge_future",
            "success",
            "Made exactly 60 s ahead of the server's clock.",
            NOW + _WINDOW,
            {},
        ),
        (
            "time_one_past_window_past",
            "stale",
            "One millisecond too old.",
            NOW - _WINDOW - 1,
            {},
        ),
        (
            "time_one_past_window_future",
            "stale",
            "One millisecond too far ahead.",
            NOW + _WINDOW + 1,
            {},
        ),
        (
            "time_in_seconds",
            "stale",
            "The client counts seconds where it should count milliseconds.",
            NOW // 1000,
            {},
        ),
        (
            "time_at_floor",
            "stale",
            "Inside the window, and not above the server's floor.",
            NOW - 10_000,
            {"floor": str(NOW - 10_000)},
        ),
        (
            "time_one_above_floor",
            "success",
            "Inside the window, and one millisecond above the server's floor.",
            NOW - 10_000,
            {"floor": str(NOW - 10_001)},
        ),
        (
            "duplicate_same_source",
            "replayed",
            "Accepted a moment ago from the same address: the network doubled it.",
            NOW,
            {"accepted_from": SOURCE},
        ),
        (
            "replayed_other_source",
            "replayed",
            "Accepted before from another address: somebody recorded it.",
            NOW,
            {"accepted_from": "203.0.113.66"},
        ),
        (
            "replayed_after_window",
            "replayed",
            "Accepted before and too old as well: that it is a replay weighs more.",
            NOW - 10 * _WINDOW,
            {"accepted_from": "203.0.113.66"},
        ),
    ):
        yield success(name, comment, Request(time, TCP, 22), expect=expect, **headers)
