"""The schedule with a clock that is moved by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh.profile import WIDTHS
from spassh.schedule import (
    FALL_BACK,
    GAPS,
    KNOCK_INTERVAL,
    KNOCKS,
    NEXT_ADDRESS,
    PATIENCE,
    WIDE_DIALS,
    Action,
    Plan,
    Schedule,
    Step,
    Width,
)

KNOCK, WIDE, DIAL = Action.KNOCK, Action.KNOCK_WIDE, Action.DIAL

BEGAN = 1000.0
"""Clocks do not begin at zero."""

PLAN = Plan(10)
WORDS = {KNOCK: "knock", WIDE: "wide", DIAL: "dial"}


def play(schedule: Schedule, until: float) -> list[tuple[int, str, int]]:
    """Do all that is due up to a time: (milliseconds, what, which address)."""
    done = []
    now = BEGAN
    while not schedule.over(now) and now <= BEGAN + until:
        step = schedule.step(now)
        if step:
            milliseconds = round(1000 * (now - BEGAN))
            done.append((milliseconds, WORDS[step.action], step.address))
        else:
            # A timer is never early, and a little late at times.
            now += schedule.wait(now) + 1e-9
    return done


def story(plan: Plan, until: float = 60) -> list[tuple[int, str]]:
    """Return what becomes of a single address."""
    return [(at, what) for at, what, _ in play(Schedule(1, BEGAN, plan), until)]


def test_one_address_is_knocked_at_and_dialled_ever_more_slowly() -> None:
    assert story(PLAN) == [
        (0, "knock"),
        (4, "dial"),
        (60, "knock"),
        (90, "dial"),
        (250, "knock"),
        (310, "dial"),
        (500, "wide"),
        (504, "dial"),
        (530, "dial"),
        (1000, "knock"),
        (1060, "dial"),
        (2000, "wide"),
        (2004, "dial"),
        (2030, "dial"),
        (4000, "knock"),
        (4060, "dial"),
        (7000, "wide"),
        (7004, "dial"),
        (7030, "dial"),
    ]


def test_a_long_timeout_goes_on_knocking() -> None:
    assert [one for one in story(Plan(30)) if one[0] > 7500] == [
        (12000, "knock"),
        (12060, "dial"),
        (17000, "wide"),
        (17004, "dial"),
        (17030, "dial"),
        (22000, "knock"),
        (22060, "dial"),
        (27000, "wide"),
        (27004, "dial"),
        (27030, "dial"),
    ]


def test_with_flows_alone_every_knock_is_narrow_and_each_dial_has_one() -> None:
    done = story(Plan(30, Width.FLOW))
    words = [what for _, what in done]
    assert words == ["knock", "dial"] * (len(done) // 2)
    assert len(done) > 20


def test_without_flows_no_knock_is_narrow() -> None:
    done = story(Plan(2, Width.ADDRESS))
    assert done[:6] == [
        (0, "wide"),
        (4, "dial"),
        (30, "dial"),
        (60, "wide"),
        (64, "dial"),
        (90, "dial"),
    ]
    assert not [one for one in done if one[1] == "knock"]


def test_the_narrow_ones_come_first_and_then_they_take_turns() -> None:
    """Where a NAT is at work, the user waits no longer than half a second."""
    assert FALL_BACK <= 0.5
    early = sum(1 for at in KNOCKS if at < FALL_BACK)
    assert early > 2
    turns = [PLAN.is_narrow(number) for number in range(early + 4)]
    assert turns == [*[True] * early, False, True, False, True]


def test_a_schedule_of_ones_own_is_kept_and_its_last_interval_too() -> None:
    plan = Plan(8, knocks=(0.0, 0.01, 2.0))
    assert story(plan) == [
        (0, "knock"),
        (4, "dial"),
        (10, "knock"),
        (40, "dial"),
        (2000, "wide"),
        (2004, "dial"),
        (2030, "dial"),
        (7000, "knock"),
        (7060, "dial"),
    ]


def test_a_dial_comes_before_the_next_knock_however_close_that_is() -> None:
    done = story(Plan(0.1, Width.FLOW, (0.0, 0.002, 0.004, 0.006)))
    assert [what for _, what in done] == ["knock", "dial"] * 4


def test_every_dial_has_a_knock_before_it() -> None:
    assert min(*GAPS, *WIDE_DIALS) > 0
    assert list(GAPS) == sorted(GAPS)
    assert list(KNOCKS) == sorted(KNOCKS)
    assert KNOCKS[0] == 0
    assert max(*GAPS, *WIDE_DIALS) < KNOCK_INTERVAL


def test_nothing_is_left_to_hope_for_at_the_deadline() -> None:
    schedule = Schedule(1, BEGAN, PLAN)
    assert not schedule.over(BEGAN + 9.999)
    assert schedule.over(BEGAN + 10)


def test_the_wait_ends_with_the_deadline_and_is_never_negative() -> None:
    schedule = Schedule(1, BEGAN, Plan(0.1))
    play(schedule, 0.09)
    assert 0 < schedule.wait(BEGAN + 0.09) <= 0.0101
    assert schedule.wait(BEGAN + 5) == 0


def test_the_second_address_starts_after_a_while_with_a_plan_of_its_own() -> None:
    done = play(Schedule(2, BEGAN, PLAN), 0.501)
    begins = round(1000 * NEXT_ADDRESS)
    assert [step for step in done if step[2] == 1] == [
        (begins, "knock", 1),
        (begins + 4, "dial", 1),
        (begins + 60, "knock", 1),
        (begins + 90, "dial", 1),
        (begins + 250, "knock", 1),
    ]
    assert (500, "wide", 0) in done


def test_the_next_address_starts_at_once_when_one_is_hopeless() -> None:
    schedule = Schedule(3, BEGAN, PLAN)
    assert schedule.step(BEGAN) == Step(KNOCK, 0)
    schedule.hopeless(0, BEGAN)
    assert schedule.wait(BEGAN) == 0
    assert schedule.step(BEGAN) == Step(KNOCK, 1)
    assert schedule.step(BEGAN) is None
    assert schedule.wait(BEGAN) == pytest.approx(GAPS[0])


def test_the_end_of_an_earlier_address_does_not_hurry_the_next_one() -> None:
    schedule = Schedule(3, BEGAN, PLAN)
    done = play(schedule, NEXT_ADDRESS + 0.001)
    assert done[-1] == (round(1000 * NEXT_ADDRESS), "knock", 1)
    later = BEGAN + NEXT_ADDRESS + 0.001
    schedule.hopeless(0, later)
    assert schedule.step(later) is None
    assert schedule.wait(later) > 0


def test_it_is_over_when_every_address_is_hopeless_and_not_before() -> None:
    schedule = Schedule(2, BEGAN, PLAN)
    schedule.step(BEGAN)
    schedule.hopeless(0, BEGAN)
    assert not schedule.over(BEGAN)
    schedule.step(BEGAN)
    schedule.hopeless(1, BEGAN)
    assert schedule.over(BEGAN)


def test_a_refusal_of_an_early_dial_changes_nothing() -> None:
    refused, untouched = Schedule(1, BEGAN, PLAN), Schedule(1, BEGAN, PLAN)
    for schedule in (refused, untouched):
        assert schedule.step(BEGAN) == Step(KNOCK, 0)
        assert schedule.step(BEGAN + 0.005) == Step(DIAL, 0)
    assert not refused.refused(0, BEGAN + 0.005, BEGAN + 3)
    assert play(refused, 60) == play(untouched, 60)


def test_a_refusal_is_final_by_when_its_dial_was_made_not_by_when_it_came() -> None:
    schedule = Schedule(1, BEGAN, PLAN)
    play(schedule, 1.01)
    assert not schedule.refused(0, BEGAN + PATIENCE - 0.001, BEGAN + 9)
    assert not schedule.over(BEGAN + 9)
    assert schedule.refused(0, BEGAN + PATIENCE, BEGAN + 1.1)
    assert schedule.over(BEGAN + 1.1)


def test_patience_is_counted_from_the_beginning_of_that_address() -> None:
    schedule = Schedule(2, BEGAN, PLAN)
    play(schedule, 1.1)
    assert not schedule.refused(1, BEGAN + 1.1, BEGAN + 1.2)
    assert schedule.refused(1, BEGAN + NEXT_ADDRESS + PATIENCE + 0.1, BEGAN + 1.5)


def test_steps_that_were_slept_through_are_not_made_up_for() -> None:
    schedule = Schedule(1, BEGAN, Plan(60))
    assert schedule.step(BEGAN) == Step(KNOCK, 0)
    woken = BEGAN + 5
    assert schedule.step(woken) == Step(KNOCK, 0)
    assert schedule.step(woken) is None
    assert schedule.step(woken + GAPS[-1]) == Step(DIAL, 0)
    assert schedule.step(woken + GAPS[-1]) is None
    assert schedule.wait(woken) == pytest.approx(KNOCKS[-1] - 5)


def test_dials_that_were_slept_through_become_one() -> None:
    schedule = Schedule(1, BEGAN, Plan(60, Width.ADDRESS, (0.0, 1.0)))
    schedule.step(BEGAN)
    assert schedule.step(BEGAN + 0.1) == Step(DIAL, 0)
    assert schedule.step(BEGAN + 0.1) is None


def test_the_dial_is_timed_from_the_moment_the_knock_was_sent() -> None:
    schedule = Schedule(1, BEGAN, PLAN)
    schedule.step(BEGAN)
    schedule.knocked(0, BEGAN + 0.002)
    assert schedule.step(BEGAN + 0.005) is None
    assert schedule.step(BEGAN + 0.006) == Step(DIAL, 0)


@given(
    st.integers(1, 5),
    st.sampled_from(WIDTHS),
    st.lists(st.floats(0, 3), max_size=60),
    st.data(),
)
def test_whatever_happens_it_knocks_before_it_dials_and_it_ends(
    addresses: int, width: str, delays: list[float], data: st.DataObject
) -> None:
    plan = Plan(10, width)
    schedule = Schedule(addresses, BEGAN, plan)
    now = BEGAN
    knocked: dict[int, float] = {}
    for delay in delays:
        step = schedule.step(now)
        if step is None:
            now += delay
            continue
        if step.action is not DIAL:
            knocked[step.address] = now
        else:
            assert now >= knocked[step.address] + min(GAPS)
            if data.draw(st.booleans()):
                schedule.refused(step.address, now, now)
        if data.draw(st.integers(0, 9)) == 0:
            schedule.hopeless(step.address, now)
        assert schedule.wait(now) >= 0
    assert schedule.over(max(now, BEGAN + 10))
