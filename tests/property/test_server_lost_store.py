"""The replay store is lost or damaged: no datagram is accepted twice all the same.

What is promised then needs a clock that goes on (PROTOCOL.md section 6.3).
"""

import os
import tempfile
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spassh.protocol.errors import PacketError
from spassh.protocol.limits import WINDOW_MS
from spassh_server import store
from spassh_server.replay import Entry
from spassh_server.store import ReplayStore

NOW = 1_767_225_600_000
SOURCE = b"\xc0\0\2\7"

knocks = st.tuples(
    st.just("knock"), st.sampled_from([0, 1, 5_000, 59_000, WINDOW_MS, -1, -WINDOW_MS])
)
again = st.tuples(st.just("again"), st.integers(0, 9))
forward = st.tuples(st.just("clock"), st.sampled_from([1, 1_000, 30_000, 90_000]))
restarts = st.tuples(
    st.sampled_from(["restart", "reboot", "remove", "cut", "damage", "empty"]),
    st.none(),
)


def spoil(directory: str, how: str) -> None:
    """Do to the file what a failing disk, or an administrator in a hurry, does."""
    path = os.path.join(directory, "replay")
    if how == "remove":
        os.unlink(path)
    elif how == "cut":
        os.truncate(path, os.path.getsize(path) - 1)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "damage":
        with open(path, "r+b") as file:
            data = file.read()
            file.seek(len(data) // 2)
            file.write(bytes([data[len(data) // 2] ^ 1]))


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 4), st.lists(knocks | again | forward | restarts, max_size=40))
def test_a_lost_store_accepts_no_datagram_twice_and_locks_nobody_out(
    capacity: int, steps: list[tuple[str, Any]]
) -> None:
    now, boot = NOW, 0
    sent: list[Entry] = []
    accepted: Counter[bytes] = Counter()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        patch.setattr(store, "REPLAY_CAPACITY", capacity)
        current = ReplayStore(fd, now, bytes(36))
        for step, value in steps:
            if step == "clock":
                now += value
            elif step in {"knock", "again"}:
                if step == "knock" or not sent:
                    offset = value if step == "knock" else 0
                    sent.append(Entry(len(sent).to_bytes(16, "big"), now + offset))
                one = sent[-1 - value % len(sent)] if step == "again" else sent[-1]
                with suppress(PacketError):
                    current.admit(one, SOURCE, now)
                    accepted[one.identity] += 1
            else:
                current._close()
                spoil(path, step)
                boot += step == "reboot"
                current = ReplayStore(fd, now, boot.to_bytes(36, "big"))
        # Whoever was ahead may keep the others out for a minute, and no longer.
        now += WINDOW_MS + 1
        current.admit(Entry(b"\xff" * 16, now), SOURCE, now)
        current._close()
        os.close(fd)
    assert max(accepted.values(), default=0) <= 1
