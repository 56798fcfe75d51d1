import pytest
from unit.server.parties import HERE, HERE6, NOW, THERE

from spassh.protocol.errors import PacketError, Replayed, Stale
from spassh.protocol.limits import WINDOW_MS
from spassh_server.replay import Entry, ReplayMemory

HOUR = 3_600_000


def entry(number: int, time: int = NOW) -> Entry:
    return Entry(number.to_bytes(16, "big"), time)


def memory(capacity: int = 8, floor: int = 0) -> ReplayMemory:
    return ReplayMemory(capacity, floor)


def outcome(replay: ReplayMemory, one: Entry, now: int, source: bytes = HERE) -> str:
    try:
        replay.admit(one, source, now)
    except PacketError as error:
        return error.outcome
    return "accepted"


@pytest.mark.parametrize(
    ("offset", "floor", "seen", "expected"),
    [
        # The window: both edges are inside.
        (0, 0, False, "accepted"),
        (-1, 0, False, "accepted"),
        (+1, 0, False, "accepted"),
        (-WINDOW_MS + 1, 0, False, "accepted"),
        (-WINDOW_MS, 0, False, "accepted"),
        (-WINDOW_MS - 1, 0, False, "stale"),
        (+WINDOW_MS - 1, 0, False, "accepted"),
        (+WINDOW_MS, 0, False, "accepted"),
        (+WINDOW_MS + 1, 0, False, "stale"),
        (-HOUR, 0, False, "stale"),
        (+HOUR, 0, False, "stale"),
        (-NOW, 0, False, "stale"),
        # The floor itself is outside.
        (0, NOW - 1, False, "accepted"),
        (0, NOW, False, "stale"),
        (0, NOW + 1, False, "stale"),
        (-1, NOW, False, "stale"),
        (+1, NOW, False, "accepted"),
        (+WINDOW_MS, NOW + WINDOW_MS - 1, False, "accepted"),
        (+WINDOW_MS, NOW + WINDOW_MS, False, "stale"),
        (-WINDOW_MS, NOW - WINDOW_MS, False, "stale"),
        # What was seen is replayed, wherever the window and the floor are.
        (0, 0, True, "replayed"),
        (-WINDOW_MS, 0, True, "replayed"),
        (+WINDOW_MS, 0, True, "replayed"),
        (-WINDOW_MS - 1, 0, True, "replayed"),
        (+WINDOW_MS + 1, 0, True, "replayed"),
        (-HOUR, NOW, True, "replayed"),
        (0, NOW, True, "replayed"),
    ],
)
def test_the_window_the_floor_and_the_memory_decide(
    offset: int, floor: int, seen: bool, expected: str
) -> None:
    one = entry(1, NOW + offset)
    replay = ReplayMemory(8, floor, [one] if seen else [])
    assert expected == outcome(replay, one, NOW)


def test_the_time_alone_makes_no_identity() -> None:
    replay = memory()
    assert outcome(replay, entry(1), NOW) == "accepted"
    assert outcome(replay, entry(2), NOW) == "accepted"
    assert len(replay) == 2


def test_what_was_not_accepted_is_not_remembered() -> None:
    replay = memory(floor=NOW)
    assert outcome(replay, entry(1), NOW) == "stale"
    assert outcome(replay, entry(2, NOW + HOUR), NOW) == "stale"
    assert len(replay) == 0
    assert outcome(replay, entry(2, NOW + HOUR), NOW + HOUR) == "accepted"


@pytest.mark.parametrize("source", [THERE, HERE6, b""])
def test_a_replay_from_elsewhere_is_told_from_a_duplicate(source: bytes) -> None:
    replay = memory()
    replay.admit(entry(1), HERE, NOW)
    with pytest.raises(Replayed) as caught:
        replay.admit(entry(1), HERE, NOW)
    assert caught.value.same_source
    with pytest.raises(Replayed) as caught:
        replay.admit(entry(1), source, NOW)
    assert not caught.value.same_source


def test_a_replay_does_not_become_the_source_of_later_duplicates() -> None:
    replay = memory()
    replay.admit(entry(1), HERE, NOW)
    for _ in range(2):
        with pytest.raises(Replayed) as caught:
            replay.admit(entry(1), THERE, NOW)
        assert not caught.value.same_source


def test_a_replay_of_an_earlier_run_is_no_duplicate_of_anybody() -> None:
    replay = ReplayMemory(8, 0, [entry(1)])
    with pytest.raises(Replayed) as caught:
        replay.admit(entry(1), HERE, NOW)
    assert not caught.value.same_source


@pytest.mark.parametrize(
    ("offset", "words"),
    [(-61_000, "61 s behind"), (+61_000, "61 s ahead"), (+HOUR, "3600 s ahead")],
)
def test_a_stale_datagram_tells_how_wrong_its_clock_is(offset: int, words: str) -> None:
    with pytest.raises(Stale, match=words):
        memory().admit(entry(1, NOW + offset), HERE, NOW)


def test_forgetting_raises_the_floor_to_what_was_forgotten() -> None:
    replay = memory(capacity=2)
    for number in range(3):
        assert outcome(replay, entry(number, NOW + number), NOW) == "accepted"
    assert replay.floor == NOW
    assert len(replay) == 2
    assert outcome(replay, entry(0, NOW), NOW) == "stale"
    assert outcome(replay, entry(9, NOW), NOW) == "stale"
    assert outcome(replay, entry(1, NOW + 1), NOW) == "replayed"


def test_forgetting_never_lowers_the_floor() -> None:
    replay = memory(capacity=1, floor=NOW)
    assert outcome(replay, entry(1, NOW + 9), NOW) == "accepted"
    assert outcome(replay, entry(2, NOW + 5), NOW) == "accepted"
    assert replay.floor == NOW + 9
    assert outcome(replay, entry(3, NOW + 10), NOW) == "accepted"
    assert replay.floor == NOW + 9


def test_the_oldest_accepted_is_forgotten_first_whatever_its_time_says() -> None:
    replay = memory(capacity=2)
    for number, offset in enumerate((50, 10, 60)):
        assert outcome(replay, entry(number, NOW + offset), NOW) == "accepted"
    assert [entry(1, NOW + 10), entry(2, NOW + 60)] == replay.entries()
    assert replay.floor == NOW + 50


def test_a_memory_without_room_accepts_each_time_once() -> None:
    replay = memory(capacity=0)
    assert outcome(replay, entry(1), NOW) == "accepted"
    assert outcome(replay, entry(1), NOW) == "stale"
    assert outcome(replay, entry(2, NOW + 1), NOW) == "accepted"


def test_more_entries_than_fit_raise_the_floor_as_well() -> None:
    replay = ReplayMemory(2, 0, [entry(n, NOW + n) for n in range(4)])
    assert [entry(2, NOW + 2), entry(3, NOW + 3)] == replay.entries()
    assert replay.floor == NOW + 1


def test_what_is_remembered_can_be_handed_to_the_next_run() -> None:
    before = memory(floor=NOW - 5)
    for number in (3, 1, 2):
        before.admit(entry(number), HERE, NOW)
    after = ReplayMemory(8, before.floor, before.entries())
    assert before.entries() == after.entries()
    assert [entry(3), entry(1), entry(2)] == after.entries()


def test_a_clock_set_back_does_not_open_the_window_again() -> None:
    replay = memory()
    assert outcome(replay, entry(1), NOW) == "accepted"
    assert outcome(replay, entry(2, NOW + HOUR), NOW + HOUR) == "accepted"
    assert outcome(replay, entry(1), NOW) == "replayed"
    assert outcome(replay, entry(2, NOW + HOUR), NOW) == "replayed"


def test_a_clock_set_back_does_not_lock_anybody_out() -> None:
    replay = memory()
    assert outcome(replay, entry(1, NOW + HOUR), NOW + HOUR) == "accepted"
    assert outcome(replay, entry(2), NOW) == "accepted"


def test_a_clock_set_forward_and_back_accepts_nothing_twice() -> None:
    replay = memory(capacity=2)
    for number, now in enumerate((NOW, NOW + HOUR, NOW - HOUR, NOW + 2 * HOUR)):
        outcome(replay, entry(number, now), now)
    for now in (NOW, NOW + HOUR, NOW - HOUR, NOW + 2 * HOUR):
        for number in range(4):
            again = entry(number, (NOW, NOW + HOUR, NOW - HOUR, NOW + 2 * HOUR)[number])
            assert outcome(replay, again, now) in {"stale", "replayed"}


class TestAClockThatWasAheadAtTheStart:
    """The floor of the start comes down with the clock; what is known stays known."""

    @staticmethod
    def begun(ahead: int, floor: int = 0) -> ReplayMemory:
        return ReplayMemory(8, floor, [entry(1, NOW - 5)], start=NOW + ahead)

    def test_locks_nobody_out(self) -> None:
        replay = self.begun(HOUR)
        assert outcome(replay, entry(2, NOW), NOW) == "stale"
        assert outcome(replay, entry(3, NOW + 1), NOW + 1) == "accepted"
        assert replay.start == NOW

    def test_still_refuses_what_was_made_before_that_was_noticed(self) -> None:
        replay = self.begun(HOUR)
        for offset in (-WINDOW_MS, -1, 0):
            assert outcome(replay, entry(2, NOW + offset), NOW) == "stale"
        assert outcome(replay, entry(2, NOW), NOW + 1000) == "stale"

    def test_still_refuses_what_is_known(self) -> None:
        replay = self.begun(HOUR)
        assert outcome(replay, entry(1, NOW - 5), NOW) == "replayed"
        assert outcome(replay, entry(2, NOW + 1), NOW) == "accepted"
        assert outcome(replay, entry(1, NOW - 5), NOW) == "replayed"
        assert outcome(replay, entry(2, NOW + 1), NOW) == "replayed"

    @pytest.mark.parametrize(
        ("ahead", "start", "lowered"),
        [
            (WINDOW_MS + 1, 0, WINDOW_MS + 1),
            (WINDOW_MS, WINDOW_MS, 0),
            (0, 0, 0),
            (-HOUR, -HOUR, 0),
        ],
    )
    def test_is_noticed_from_one_window_on(
        self, ahead: int, start: int, lowered: int
    ) -> None:
        replay = self.begun(ahead)
        assert lowered == replay.lower_start(NOW)
        assert replay.start == NOW + start
        assert replay.lower_start(NOW) == 0

    def test_does_not_lower_the_floor_of_what_was_forgotten(self) -> None:
        replay = self.begun(HOUR, floor=NOW + 50)
        assert outcome(replay, entry(2, NOW + 50), NOW) == "stale"
        assert outcome(replay, entry(2, NOW + 51), NOW) == "accepted"
        assert replay.floor == NOW + 50


def test_a_check_remembers_nothing() -> None:
    replay = memory()
    for _ in range(2):
        replay.check(entry(1), HERE, NOW)
    assert len(replay) == 0
    replay.admit(entry(1), HERE, NOW)
    with pytest.raises(Replayed):
        replay.check(entry(1), HERE, NOW)
