"""No datagram is accepted twice, in whatever order and whatever the clocks do."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.disk import WRITING, Disk

from spassh.protocol.errors import PacketError
from spassh.protocol.limits import WINDOW_MS
from spassh_server import store
from spassh_server.replay import Entry, ReplayMemory
from spassh_server.store import ReplayStore

NOW = 1_767_225_600_000
BOOT = b"b" * 36
SOURCE = b"\xc0\0\2\7"

# Few datagrams and few times, so that they meet; the hash covers the time, so a
# datagram has just one.
OFFSETS = (0, 1, -1, 5_000, -5_000, WINDOW_MS, -WINDOW_MS, 90_000, 150_000, 3_600_000)
DATAGRAMS = [
    Entry(number.to_bytes(16, "big"), NOW + OFFSETS[number % len(OFFSETS)])
    for number in range(20)
]

arrivals = st.tuples(st.just("packet"), st.sampled_from(DATAGRAMS))
clocks = st.tuples(
    st.just("clock"),
    st.sampled_from([NOW + offset for offset in OFFSETS])
    | st.integers(NOW - 200_000, NOW + 200_000),
)
restarts = st.tuples(st.just("restart"), st.none())
reboots = st.tuples(st.just("reboot"), st.none())


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, 4),
    st.integers(NOW - 70_000, NOW + 70_000),
    st.integers(NOW - 70_000, NOW + 3_600_000),
    st.lists(arrivals | clocks | restarts, max_size=60),
)
def test_a_memory_accepts_no_datagram_twice(
    capacity: int,
    floor: int,
    start: int,
    steps: list[tuple[str, Entry | int | None]],
) -> None:
    memory, now = ReplayMemory(capacity, floor, start=start), NOW
    accepted: Counter[bytes] = Counter()
    for step, value in steps:
        if step == "restart":
            floor, start = memory.floor, memory.start
            memory = ReplayMemory(capacity, floor, memory.entries(), start)
        elif isinstance(value, Entry):
            try:
                memory.admit(value, SOURCE, now)
            except PacketError:
                continue
            accepted[value.identity] += 1
        elif value is not None:
            now = value
    assert max(accepted.values(), default=0) <= 1


@settings(deadline=None)
@given(
    st.lists(restarts | reboots | clocks, max_size=20),
    st.integers(NOW - 7_200_000, NOW + 7_200_000),
)
def test_no_clock_of_the_past_locks_anybody_out(
    steps: list[tuple[str, int | None]], now: int
) -> None:
    """Whatever it showed at starts: a minute after it is right, all are let in."""
    boot = 0
    with directory() as fd:
        current = ReplayStore(fd, now, BOOT)
        for number, (step, value) in enumerate([*steps, ("clock", NOW)]):
            if value is not None:
                now = value
                knock = Entry(number.to_bytes(16, "big"), now)
                with suppress(PacketError):
                    current.admit(knock, SOURCE, now)
                continue
            current._close()
            boot += step == "reboot"
            current = ReplayStore(fd, now, boot.to_bytes(36, "big"))
        later = NOW + WINDOW_MS + 1
        current.admit(Entry(b"\xff" * 16, later), SOURCE, later)
        current._close()


@contextmanager
def directory() -> Iterator[int]:
    with tempfile.TemporaryDirectory() as path:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 4), st.lists(arrivals | clocks | restarts | reboots, max_size=40))
def test_a_store_accepts_no_datagram_twice_across_restarts(
    capacity: int, steps: list[tuple[str, Entry | int | None]]
) -> None:
    now, boot = NOW - 300_000, 0
    accepted: Counter[bytes] = Counter()
    with pytest.MonkeyPatch.context() as patch, directory() as fd:
        patch.setattr(store, "REPLAY_CAPACITY", capacity)
        current = ReplayStore(fd, now, BOOT)
        for step, value in steps:
            if step in {"restart", "reboot"}:
                # No goodbye: the program was killed.
                current._close()
                boot += step == "reboot"
                current = ReplayStore(fd, now, boot.to_bytes(36, "big"))
                assert not current.lost
            elif isinstance(value, Entry):
                try:
                    current.admit(value, SOURCE, now)
                except PacketError:
                    continue
                accepted[value.identity] += 1
            elif value is not None:
                now = value
        current._close()
    assert max(accepted.values(), default=0) <= 1


forward = st.tuples(st.just("clock"), st.integers(1, 90_000))
behind = st.tuples(
    st.just("knock"), st.sampled_from([0, -1, -5_000, -30_000, -WINDOW_MS])
)
again = st.tuples(st.just("again"), st.integers(0, 9))
breaks = st.tuples(
    st.just("break"),
    st.sampled_from([(call,) for call in WRITING] + [WRITING, ("short",)]),
)
heals = st.tuples(st.just("heal"), st.none())


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 4),
    st.lists(
        behind | again | forward | restarts | reboots | breaks | heals, max_size=40
    ),
)
def test_a_store_on_a_failing_disk_accepts_no_datagram_twice(
    capacity: int, steps: list[tuple[str, Any]]
) -> None:
    """The clock only moves on, and no client's clock is ahead of it.

    What the disk lost is below the floor then, because it was made before the start:
    PROTOCOL.md 6.3 promises no more for a store that may lack its last entries.
    """
    now, boot, made = NOW, 0, 0
    sent: list[Entry] = []
    accepted: Counter[bytes] = Counter()
    with pytest.MonkeyPatch.context() as patch, directory() as fd:
        disk = Disk(fd)
        patch.setattr(store, "REPLAY_CAPACITY", capacity)
        patch.setattr(store, "os", disk)
        current = ReplayStore(fd, now, BOOT)
        for step, value in steps:
            if step in {"restart", "reboot"}:
                current._close()
                boot += step == "reboot"
                current = ReplayStore(fd, now, boot.to_bytes(36, "big"))
            elif step == "clock":
                now += value
            elif step == "heal":
                disk.heal()
            elif value == ("short",):
                disk.short = True
            elif step == "break":
                disk.fail(*value)
            else:
                if step == "knock" or not sent:
                    made += 1
                    offset = value if step == "knock" else 0
                    sent.append(Entry(made.to_bytes(16, "big"), now + offset))
                one = sent[-1 - value % len(sent)] if step == "again" else sent[-1]
                try:
                    current.admit(one, SOURCE, now)
                except PacketError:
                    continue
                accepted[one.identity] += 1
                current.sync()
        current._close()
    assert max(accepted.values(), default=0) <= 1
