"""Whose turn it is, of those who wait."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from spassh_server.fair_lines import FairLines


class Wish(NamedTuple):
    user: str
    number: int = 0


def lines(*wishes: Wish) -> FairLines[Wish]:
    made: FairLines[Wish] = FairLines()
    for wish in wishes:
        made.add(wish)
    return made


def burst(user: str, count: int) -> list[Wish]:
    return [Wish(user, number) for number in range(count)]


def drained(waiting: FairLines[Wish]) -> list[Wish]:
    """Take all, each as if what was taken before it were done."""
    taken = []
    while (wish := waiting.take({})) is not None:
        taken.append(wish)
    return taken


def test_nobody_is_there_to_begin_with() -> None:
    waiting = lines()
    assert len(waiting) == 0
    assert waiting.take({}) is None
    assert waiting.drop(lambda _: True) == []


def test_users_have_their_turns_and_each_of_them_an_order() -> None:
    waiting = lines(*burst("ada", 3), Wish("bob"), *burst("eve", 2))
    assert drained(waiting) == [
        Wish("ada", 0),
        Wish("bob", 0),
        Wish("eve", 0),
        Wish("ada", 1),
        Wish("eve", 1),
        Wish("ada", 2),
    ]
    assert len(waiting) == 0


def test_who_has_least_under_way_is_next() -> None:
    waiting = lines(*burst("ada", 2), *burst("bob", 2), *burst("eve", 1))
    assert waiting.take({"ada": 2, "bob": 1}) == Wish("eve")
    assert waiting.take({"ada": 2, "bob": 1}) == Wish("bob", 0)
    assert waiting.take({"ada": 2, "bob": 2}) == Wish("ada", 0)
    assert waiting.take({"ada": 3, "bob": 2}) == Wish("bob", 1)


def test_what_may_not_be_taken_keeps_its_place_and_holds_nobody_up() -> None:
    waiting = lines(*burst("ada", 3), Wish("bob", 0))
    assert waiting.take({}, lambda wish: wish.number == 1) == Wish("ada", 1)
    assert waiting.take({}, lambda _: False) is None
    assert drained(waiting) == [Wish("bob", 0), Wish("ada", 0), Wish("ada", 2)]


def test_what_waits_is_counted_and_what_is_unwanted_dropped() -> None:
    waiting = lines(*burst("ada", 3), Wish("bob", 0))
    assert (len(waiting), waiting.waiting("ada"), waiting.waiting("eve")) == (4, 3, 0)
    assert waiting.drop(lambda wish: wish.number == 0) == [
        Wish("ada", 0),
        Wish("bob", 0),
    ]
    assert (len(waiting), waiting.waiting("ada"), waiting.waiting("bob")) == (2, 2, 0)
    assert drained(waiting) == [Wish("ada", 1), Wish("ada", 2)]


@given(
    st.lists(st.sampled_from(["ada", "bob", "eve", None]), max_size=60),
    st.integers(1, 4),
)
def test_nobody_is_passed_over(asked: list[str | None], most: int) -> None:
    """Whatever comes, at most one more of each other user is taken before it."""
    waiting: FairLines[Wish] = FairLines()
    under_way: list[Wish] = []
    passed: Counter[tuple[str, str]] = Counter()
    for number, user in enumerate(asked):
        if user is not None:
            waiting.add(Wish(user, number))
            continue
        del under_way[: len(under_way) + 1 - most]
        taken = waiting.take(Counter(wish.user for wish in under_way))
        if taken is None:
            continue
        under_way.append(taken)
        for other in ("ada", "bob", "eve"):
            passed[taken.user, other] = 0
            if other != taken.user and waiting.waiting(other):
                passed[other, taken.user] += 1
                assert passed[other, taken.user] <= 1 + most
