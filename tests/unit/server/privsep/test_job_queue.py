"""Whose turn it is among the jobs that wait. No program is run."""

from collections.abc import Iterable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh_server.privsep.job import Account, Job
from spassh_server.privsep.job_queue import JobQueue

NOBODY: Final = Account("nobody", 65534, 65534, (), "/")


def job(name: str, user: str = "ada", *, lane: str = "", owed: bool = False) -> Job:
    return Job(
        "/bin/true", (name,), NOBODY, 1, lambda _: None, lane=lane, user=user, owed=owed
    )


def filled(*jobs: Job, most: int = 64, most_each: int = 64) -> JobQueue:
    queue = JobQueue(most, most_each)
    for one in jobs:
        queue.add(one)
    return queue


def names(jobs: Iterable[Job]) -> list[str]:
    return [one.argv[0] for one in jobs]


def drained(queue: JobQueue, running: Iterable[Job] = ()) -> list[str]:
    """Take all that can run beside `running`, each ended before the next begins."""
    taken = []
    while (one := queue.take(running)) is not None:
        taken.append(one)
    return names(taken)


def test_an_empty_one_has_nothing() -> None:
    queue = JobQueue(8, 8)
    assert len(queue) == 0
    assert queue.take([]) is None
    assert queue.drop("") == queue.clear() == []


class TestTurns:
    def test_of_one_user_are_in_order(self) -> None:
        assert drained(filled(job("1"), job("2"), job("3"))) == ["1", "2", "3"]

    def test_go_round_among_users(self) -> None:
        many = [job(f"a{number}") for number in range(4)]
        queue = filled(*many, job("b0", "bob"), job("c0", "cyd"), job("b1", "bob"))
        assert drained(queue) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]

    def test_of_who_comes_late_are_not_behind_all_of_who_has_many(self) -> None:
        queue = filled(*(job(f"a{number}") for number in range(60)))
        assert names(filter(None, [queue.take([])])) == ["a0"]
        queue.add(job("b0", "bob"))
        assert drained(queue)[:2] == ["a1", "b0"]

    def test_are_first_of_those_who_have_least_of_what_runs(self) -> None:
        queue = filled(job("a"), job("b", "bob"), job("c", "cyd"))
        running = [job("", "ada"), job("", "ada"), job("", "bob")]
        assert drained(queue, running) == ["c", "b", "a"]

    def test_of_what_is_owed_come_first_whoever_is_busy(self) -> None:
        queue = filled(job("a"), job("b", "bob"), job("owed", "cyd", owed=True))
        assert drained(queue, [job("", "cyd")] * 7) == ["owed", "a", "b"]

    def test_of_what_is_owed_go_round_as_well(self) -> None:
        owed = [job(f"a{number}", owed=True) for number in range(3)]
        queue = filled(*owed, job("b0", "bob", owed=True))
        assert drained(queue) == ["a0", "b0", "a1", "a2"]

    def test_are_kept_by_those_who_lose_what_was_dropped(self) -> None:
        queue = filled(job("a0", lane="x"), job("a1"), job("b0", "bob"))
        queue.drop("x")
        assert drained(queue) == ["a1", "b0"]


class TestALane:
    def test_that_is_busy_keeps_its_jobs_waiting_and_no_others(self) -> None:
        queue = filled(job("1", lane="x"), job("2", lane="y"), job("3"))
        running = [job("", "bob", lane="x")]
        assert drained(queue, running) == ["2", "3"]
        assert drained(queue, running) == []
        assert drained(queue) == ["1"]

    def test_that_is_busy_does_not_keep_others_of_the_user_waiting(self) -> None:
        queue = filled(*(job(f"{number}", lane="x") for number in range(9)), job("y"))
        assert drained(queue, [job("", lane="x")]) == ["y"]

    def test_that_is_busy_holds_for_what_is_owed(self) -> None:
        queue = filled(job("close", lane="x", owed=True), job("open", lane="x"))
        assert drained(queue, [job("", lane="x")]) == []
        # What was opened before is closed before it is opened again.
        assert drained(queue) == ["close", "open"]

    def test_without_a_name_is_none(self) -> None:
        assert drained(filled(job("1"), job("2")), [job("")] * 3) == ["1", "2"]


class TestRoom:
    def test_is_bounded_for_each_user(self) -> None:
        queue = filled(job("1"), job("2"), most_each=2)
        assert not queue.has_room("ada")
        assert queue.has_room("bob")
        assert queue.take([]) is not None
        assert queue.has_room("ada")

    def test_is_bounded_for_all_together(self) -> None:
        users = [job("1", f"user{number}") for number in range(3)]
        queue = filled(*users, most=3)
        assert not queue.has_room("another")
        assert queue.take([]) is not None
        assert queue.has_room("another")

    def test_of_others_is_not_taken_by_what_is_owed(self) -> None:
        owed = [job(f"{number}", owed=True) for number in range(100)]
        queue = filled(*owed, most=3, most_each=2)
        assert len(queue) == 100
        assert not queue.has_room("ada")
        assert queue.has_room("bob")

    def test_of_a_queue_that_is_closed_is_none(self) -> None:
        assert not JobQueue(0, 0).has_room("ada")


class TestTakingOut:
    def test_a_lane_leaves_what_is_owed_and_others(self) -> None:
        queue = filled(
            job("1", lane="x"),
            job("2", lane="y"),
            job("3", "bob", lane="x"),
            job("4", lane="x", owed=True),
            job("5"),
        )
        assert names(queue.drop("x")) == ["1", "3"]
        assert names(queue.drop("x")) == []
        assert len(queue) == 3
        assert drained(queue) == ["4", "2", "5"]

    def test_a_lane_makes_room(self) -> None:
        queue = filled(job("1", lane="x"), job("2", lane="x"), most=2, most_each=2)
        queue.drop("x")
        assert queue.has_room("ada")
        assert len(queue) == 0

    def test_all_leaves_nothing(self) -> None:
        queue = filled(job("1"), job("2", "bob", owed=True))
        assert sorted(names(queue.clear())) == ["1", "2"]
        assert len(queue) == 0
        assert queue.take([]) is None


users = st.sampled_from(["ada", "bob", "cyd"])
lanes = st.sampled_from(["", "x", "y"])


@given(
    st.lists(st.tuples(users, lanes, st.booleans()), max_size=40),
    st.integers(min_value=1, max_value=4),
    st.data(),
)
def test_every_job_has_its_turn_once_and_no_lane_has_two(
    wanted: list[tuple[str, str, bool]], at_once: int, data: st.DataObject
) -> None:
    jobs = [
        job(str(number), user, lane=f"{user}-{lane}" if lane else "", owed=owed)
        for number, (user, lane, owed) in enumerate(wanted)
    ]
    queue = filled(*jobs)
    running: list[Job] = []
    began: list[Job] = []
    while queue or running:
        while len(running) < at_once and (one := queue.take(running)) is not None:
            running.append(one)
            began.append(one)
        busy = [one.lane for one in running if one.lane]
        assert len(busy) == len(set(busy))
        # Whatever ends first, there is always something that goes on.
        assert running
        del running[data.draw(st.integers(0, len(running) - 1))]
    assert sorted(names(began), key=int) == names(jobs)
    # Within one lane, and of what is owed or not, in the order of asking.
    for same in {(one.user, one.lane, one.owed) for one in jobs}:
        of_same = [one for one in began if (one.user, one.lane, one.owed) == same]
        if same[1]:
            assert names(of_same) == sorted(names(of_same), key=int)


@pytest.mark.parametrize("owed", [False, True])
def test_who_asks_without_end_does_not_keep_others_waiting(owed: bool) -> None:
    """One who always has jobs, and another who has one now and then."""
    queue = filled(*(job("greedy", "ada", owed=owed) for _ in range(8)))
    for _ in range(20):
        queue.add(job("modest", "bob", owed=owed))
        turns = []
        while "modest" not in turns:
            turns += names(filter(None, [queue.take([])]))
            queue.add(job("greedy", "ada", owed=owed))
        assert len(turns) <= 2
