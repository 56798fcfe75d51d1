"""When hooks run, without running them."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from unit.server.parties import HERE, HERE6, NOW, SSH

from spassh_server.firewall import Grant, Width
from spassh_server.privsep.hook_journal import FIELDS
from spassh_server.privsep.hooks import Done, Hooks, Outcome

START = NOW / 1000
GRANT = Grant(HERE, SSH)
OTHERS = (
    Grant(HERE6, SSH),
    Grant(HERE, SSH, Width.ONCE),
    Grant(HERE, SSH, Width.FLOW, 40_000),
    Grant(HERE, SSH, Width.FLOW, 40_001),
    Grant(HERE, SSH._replace(number=23)),
    Grant(HERE, SSH._replace(protocol=17)),
)

TOLD = {
    "user": "ada",
    "address": "192.0.2.7",
    "port": "tcp/22",
    "width": "address",
    "source_port": 0,
}
OPEN = {"event": "open", **TOLD, "seconds": 15}
CLOSE = {"event": "close", **TOLD, "seconds": 15}
ENTRY = {**TOLD, "seconds": 15, "ends": START + 15, "opened": True}


def line(entry: dict[str, Any]) -> bytes:
    """Spell an entry as the journal does."""
    return json.dumps([entry[key] for key in FIELDS]).encode() + b"\n"


LINE = line(ENTRY)


class Granter:
    """Hooks that are only noted, and a wall clock that is set by hand."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "open-hooks"
        self.now = START
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.lanes: list[str] = []
        self.slow = False
        """Whether hooks go on until the test calls what is in `under_way`."""
        self.under_way: list[Callable[[], None]] = []
        self.waiting: dict[str, Done] = {}
        """What on_open waits in each lane, while `full` is set."""
        self.full = False
        self.outcome = Outcome.DONE
        """How each on_open ends that is begun from now on."""
        self.hooks = Hooks(str(run_dir), self)

    def start(self, name: str, told: bytes, lane: str, user: str, done: Done) -> None:
        assert user == json.loads(told)["user"]
        if self.full and name == "on_open":
            self.waiting[lane] = done
            return
        self.started.append((name, json.loads(told)))
        self.lanes.append(lane)
        outcome = self.outcome if name == "on_open" else Outcome.DONE
        if self.slow:
            self.under_way.append(partial(done, outcome))
        else:
            done(outcome)

    def drop(self, lane: str) -> None:
        done = self.waiting.pop(lane, None)
        if done is not None:
            done(Outcome.NOT_BEGUN)

    def open(self, grant: Grant = GRANT, seconds: int = 15, user: str = "ada") -> None:
        self.hooks.opened(grant, seconds, user, self.now)

    def wait(self, seconds: float) -> list[tuple[str, dict[str, Any]]]:
        """Let time pass, or set the clock; return what was started."""
        self.now += seconds
        self.hooks.run_due(self.now)
        return self.take()

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        started, self.started = self.started, []
        return started

    def restarted(self) -> "Granter":
        """Return another one in the same place, at the same time."""
        other = Granter(self.path.parent)
        other.now = self.now
        return other


@pytest.fixture
def granter(tmp_path: Path) -> Granter:
    return Granter(tmp_path)


def test_a_grant_opens_once_and_closes_when_it_has_ended(granter: Granter) -> None:
    granter.open()
    assert granter.take() == [("on_open", OPEN)]
    assert granter.wait(14.9) == []
    assert granter.wait(0.1) == [("on_close", CLOSE)]
    assert granter.wait(1000) == []


def test_a_flow_is_told_with_its_port(granter: Granter) -> None:
    granter.open(Grant(HERE6, SSH, Width.FLOW, 40_000), 20, "bob")
    expected = {
        "event": "open",
        "user": "bob",
        "address": "2001:db8::7",
        "port": "tcp/22",
        "width": "flow",
        "source_port": 40_000,
        "seconds": 20,
    }
    assert granter.take() == [("on_open", expected)]


@pytest.mark.parametrize("other", OTHERS)
def test_another_grant_is_another_one(granter: Granter, other: Grant) -> None:
    granter.open()
    granter.open(other)
    assert [name for name, _ in granter.take()] == ["on_open"] * 2
    granter.hooks.closed(other)
    ((name, told),) = granter.take()
    assert name == "on_close"
    assert told != CLOSE
    assert granter.wait(15) == [("on_close", CLOSE)]


def test_a_grant_that_is_extended_runs_nothing_and_ends_later(granter: Granter) -> None:
    granter.open()
    granter.take()
    assert granter.wait(10) == []
    granter.open()
    assert granter.wait(14.9) == []
    assert granter.wait(0.1) == [("on_close", CLOSE)]


def test_a_shorter_grant_does_not_end_a_longer_one(granter: Granter) -> None:
    granter.open(seconds=60)
    granter.take()
    granter.open(seconds=1)
    assert granter.wait(59.9) == []
    assert granter.wait(0.1) == [("on_close", CLOSE | {"seconds": 60})]


def test_who_extended_it_last_is_told_at_the_end(granter: Granter) -> None:
    granter.open()
    granter.open(user="bob")
    granter.take()
    assert granter.wait(15) == [("on_close", CLOSE | {"user": "bob"})]


def test_a_grant_that_is_taken_back_closes_at_once_and_only_once(
    granter: Granter,
) -> None:
    granter.open()
    granter.take()
    granter.hooks.closed(GRANT)
    assert granter.take() == [("on_close", CLOSE)]
    granter.hooks.closed(GRANT)
    assert granter.wait(1000) == []
    granter.open()
    assert granter.take() == [("on_open", OPEN)]


def test_what_was_never_open_is_not_closed(granter: Granter) -> None:
    granter.hooks.closed(GRANT)
    assert granter.take() == []
    assert not granter.path.exists()


def test_the_next_end_is_that_of_the_first_to_end(granter: Granter) -> None:
    assert granter.hooks.next_end() is None
    granter.open(seconds=60)
    granter.open(OTHERS[0], seconds=15)
    assert granter.hooks.next_end() == START + 15
    granter.wait(15)
    assert granter.hooks.next_end() == START + 60
    granter.wait(60)
    assert granter.hooks.next_end() is None


def test_the_hooks_of_one_grant_run_one_after_the_other(granter: Granter) -> None:
    """Else an on_open that is slow would open after all, and for ever."""
    for grant in (GRANT, *OTHERS):
        granter.open(grant)
        granter.hooks.closed(grant)
    assert granter.lanes[::2] == granter.lanes[1::2]
    assert len(set(granter.lanes)) == len(OTHERS) + 1
    assert "" not in granter.lanes


class TestTheClock:
    def test_that_is_set_forward_closes_early(self, granter: Granter) -> None:
        granter.open()
        granter.take()
        assert granter.wait(3600) == [("on_close", CLOSE)]

    def test_that_is_set_back_keeps_nothing_open(self, granter: Granter) -> None:
        """The kernel closes in its own time, and so must a cloud."""
        granter.open()
        granter.take()
        assert granter.wait(-3600) == []
        assert granter.hooks.next_end() == START - 3600 + 15
        assert granter.wait(15) == [("on_close", CLOSE)]

    def test_that_is_set_back_a_little_shortens_nothing(self, granter: Granter) -> None:
        granter.open()
        granter.take()
        granter.wait(5)
        granter.wait(-3)
        assert granter.wait(12.9) == []
        assert granter.wait(0.1) == [("on_close", CLOSE)]

    def test_that_is_set_back_counts_the_longest_of_what_was_granted(
        self, granter: Granter
    ) -> None:
        granter.open(seconds=60)
        granter.open(seconds=1)
        granter.take()
        granter.wait(-3600)
        assert granter.hooks.next_end() == START - 3600 + 60


class TestAfterARestart:
    def test_what_lives_is_closed_in_its_time(self, granter: Granter) -> None:
        granter.open()
        other = granter.restarted()
        assert other.wait(14.9) == []
        assert other.wait(0.1) == [("on_close", CLOSE)]

    def test_what_has_ended_meanwhile_is_closed_but_not_before_it_serves(
        self, granter: Granter
    ) -> None:
        """Until then it has more privileges than a program should inherit."""
        granter.open()
        granter.now += 1000
        other = granter.restarted()
        assert other.take() == []
        assert other.hooks.next_end() == START + 15
        assert other.wait(0) == [("on_close", CLOSE)]
        assert other.restarted().wait(1000) == []

    def test_what_lives_is_extended_without_another_opening(
        self, granter: Granter
    ) -> None:
        granter.open()
        other = granter.restarted()
        other.wait(10)
        other.open()
        assert other.take() == []
        assert other.wait(14.9) == []
        assert other.wait(0.1) == [("on_close", CLOSE)]

    def test_what_lives_can_be_taken_back(self, granter: Granter) -> None:
        granter.open()
        other = granter.restarted()
        other.hooks.closed(GRANT)
        assert other.take() == [("on_close", CLOSE)]

    def test_what_was_taken_back_is_over(self, granter: Granter) -> None:
        granter.open()
        granter.open(OTHERS[0])
        granter.hooks.closed(GRANT)
        assert [told["address"] for _, told in granter.restarted().wait(1000)] == [
            "2001:db8::7"
        ]

    def test_what_was_being_closed_is_closed_again(self, granter: Granter) -> None:
        """Whether the hook came to its end, nobody knows."""
        granter.open()
        granter.slow = True
        granter.wait(15)
        assert granter.restarted().wait(0) == [("on_close", CLOSE)]
        granter.under_way.pop()()
        assert granter.restarted().wait(1000) == []

    def test_what_was_being_closed_by_hand_is_closed_again(
        self, granter: Granter
    ) -> None:
        granter.open()
        granter.slow = True
        granter.hooks.closed(GRANT)
        assert granter.restarted().wait(15) == [("on_close", CLOSE)]

    def test_what_was_opened_again_while_it_was_being_closed_is_open(
        self, granter: Granter
    ) -> None:
        granter.open()
        granter.slow = True
        granter.wait(15)
        granter.open(seconds=60)
        other = granter.restarted()
        assert other.wait(59) == []
        (close,) = granter.under_way[:1]
        close()
        other = granter.restarted()
        assert other.hooks.next_end() == granter.now + 60

    def test_the_end_of_a_first_closing_is_not_that_of_a_second(
        self, granter: Granter
    ) -> None:
        granter.open()
        granter.slow = True
        granter.hooks.closed(GRANT)
        granter.open()
        granter.hooks.closed(GRANT)
        first, _, second = granter.under_way
        first()
        assert granter.restarted().wait(15) == [("on_close", CLOSE)]
        second()
        assert granter.restarted().wait(15) == []

    def test_a_kill_before_the_hook_started_closes_it_all_the_same(
        self, tmp_path: Path
    ) -> None:
        class Killed(Granter):
            def start(self, *_: object) -> None:
                raise KeyboardInterrupt

        hooks = Killed(tmp_path).hooks
        with pytest.raises(KeyboardInterrupt):
            hooks.opened(GRANT, 15, "ada", START)
        other = Granter(tmp_path)
        assert other.wait(15) == [("on_close", CLOSE)]


class TestAnOpeningThatDidNotBegin:
    """Nothing was opened elsewhere, so nothing is owed to anybody."""

    def test_because_it_was_refused_is_not_closed(self, granter: Granter) -> None:
        granter.full = True
        granter.open()
        ((lane, done),) = granter.waiting.items()
        granter.waiting.clear()
        done(Outcome.NOT_BEGUN)
        assert lane
        assert granter.wait(1000) == []
        assert granter.restarted().wait(1000) == []

    def test_before_the_grant_was_over_is_dropped(self, granter: Granter) -> None:
        granter.full = True
        granter.open()
        assert granter.wait(15) == []
        assert granter.waiting == {}
        assert granter.restarted().wait(1000) == []


class TestAnOpeningThatFailed:
    """One hiccup of a cloud must not keep out who goes on knocking."""

    def test_is_tried_again_with_each_knock_until_it_is_done(
        self, granter: Granter
    ) -> None:
        granter.outcome = Outcome.FAILED
        for _ in range(3):
            granter.open()
            assert granter.take() == [("on_open", OPEN)]
            assert granter.wait(10) == []
        granter.outcome = Outcome.DONE
        granter.open(seconds=60, user="bob")
        assert granter.take() == [("on_open", OPEN | {"user": "bob", "seconds": 60})]
        granter.open()
        assert granter.take() == []
        granter.hooks.closed(GRANT)
        assert granter.wait(1000) == [
            ("on_close", CLOSE | {"user": "ada", "seconds": 60})
        ]

    def test_is_closed_all_the_same(self, granter: Granter) -> None:
        """Half of what it opens may be open."""
        granter.outcome = Outcome.FAILED
        granter.open()
        granter.take()
        assert granter.wait(15) == [("on_close", CLOSE)]
        assert granter.restarted().wait(1000) == []

    def test_is_not_tried_again_without_a_knock(self, granter: Granter) -> None:
        granter.outcome = Outcome.FAILED
        granter.open()
        granter.take()
        assert granter.wait(14.9) == []

    def test_is_not_tried_again_beside_itself(self, granter: Granter) -> None:
        """However often somebody knocks."""
        granter.slow = True
        granter.outcome = Outcome.FAILED
        for _ in range(9):
            granter.open()
        assert granter.take() == [("on_open", OPEN)]
        (fail,) = granter.under_way
        fail()
        for _ in range(9):
            granter.open()
        assert granter.take() == [("on_open", OPEN)]

    def test_is_closed_even_if_it_could_not_be_tried_again(
        self, granter: Granter
    ) -> None:
        granter.outcome = Outcome.FAILED
        granter.open()
        granter.full = True
        granter.open()
        assert granter.take() == [("on_open", OPEN)]
        assert granter.wait(15) == [("on_close", CLOSE)]
        assert granter.waiting == {}

    def test_of_an_earlier_grant_says_nothing_of_a_later_one(
        self, granter: Granter
    ) -> None:
        granter.slow = True
        granter.open()
        granter.hooks.closed(GRANT)
        granter.outcome = Outcome.FAILED
        granter.open()
        first, _, second = granter.under_way
        granter.take()
        first()
        granter.open()
        assert granter.take() == []
        second()
        granter.open()
        assert granter.take() == [("on_open", OPEN)]

    def test_is_tried_again_after_a_restart(self, granter: Granter) -> None:
        granter.outcome = Outcome.FAILED
        granter.open()
        other = granter.restarted()
        other.open()
        assert other.take() == [("on_open", OPEN)]
        other = other.restarted()
        other.open()
        assert other.take() == []

    @pytest.mark.parametrize("begun", [False, True])
    def test_because_the_granter_was_killed_is_tried_again(
        self, granter: Granter, begun: bool
    ) -> None:
        granter.slow = begun
        granter.full = not begun
        granter.open()
        other = granter.restarted()
        other.open()
        assert other.take() == [("on_open", OPEN)]


def test_at_the_end_of_the_granter_all_that_is_open_is_closed(granter: Granter) -> None:
    """After a reboot, nobody would know of it."""
    granter.open()
    granter.open(OTHERS[0])
    granter.take()
    granter.hooks.close_all()
    assert [name for name, _ in granter.take()] == ["on_close", "on_close"]
    assert granter.restarted().wait(1000) == []


class TestTheFile:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"nonsense",
            b"\xff\xfe",
            b"{}",
            b"3",
            LINE[:20],
            b"[" * 1000,
            b"[]",
            b"[3]",
            b"[" + LINE + b"]",
        ],
    )
    def test_that_is_damaged_opens_and_closes_nothing(
        self, tmp_path: Path, data: bytes
    ) -> None:
        (tmp_path / "open-hooks").write_bytes(data)
        granter = Granter(tmp_path)
        assert granter.wait(1e9) == []
        granter.open()
        assert granter.restarted().hooks.next_end() == granter.now + 15

    @pytest.mark.parametrize(
        "changes",
        [
            {"user": 3},
            {"address": None},
            {"port": "22"},
            {"source_port": "0"},
            {"source_port": True},
            {"seconds": 0},
            {"seconds": 86_401},
            {"seconds": 10**400},
            {"seconds": 15.0},
            {"ends": "now"},
            {"ends": None},
            {"ends": -1},
            {"ends": 1e30},
            {"ends": 10**400},
            {"ends": float("nan")},
            {"ends": float("inf")},
            {"opened": 1},
            {"opened": None},
        ],
    )
    def test_with_a_damaged_entry_keeps_the_others(
        self, tmp_path: Path, changes: dict[str, object]
    ) -> None:
        whole = ENTRY | {"address": "192.0.2.9", "ends": int(START) + 3}
        data = line(ENTRY | changes) + line(whole)
        (tmp_path / "open-hooks").write_bytes(data)
        granter = Granter(tmp_path)
        assert granter.hooks.next_end() == START + 3
        assert [told["address"] for _, told in granter.wait(3)] == ["192.0.2.9"]
        assert granter.wait(1e9) == []

    def test_is_for_its_owner_alone_and_leaves_nothing_beside_it(
        self, granter: Granter
    ) -> None:
        mask = os.umask(0)
        try:
            granter.open()
        finally:
            os.umask(mask)
        assert granter.path.stat().st_mode & 0o777 == 0o600
        assert os.listdir(granter.path.parent) == ["open-hooks"]

    @pytest.mark.parametrize("name", ["open-hooks", "open-hooks.tmp"])
    def test_that_is_a_link_is_never_followed(self, tmp_path: Path, name: str) -> None:
        precious = tmp_path / "precious"
        precious.write_bytes(LINE)
        (tmp_path / name).symlink_to(precious)
        granter = Granter(tmp_path)
        assert granter.hooks.next_end() is None
        granter.open(seconds=60)
        granter.wait(60)
        assert precious.read_bytes() == LINE

    def test_that_was_a_link_is_replaced_by_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "open-hooks").symlink_to(tmp_path / "nowhere")
        granter = Granter(tmp_path)
        granter.open()
        assert granter.path.is_file()
        assert not granter.path.is_symlink()
        assert not (tmp_path / "nowhere").exists()

    def test_that_cannot_be_written_is_no_reason_to_stop(self, tmp_path: Path) -> None:
        granter = Granter(tmp_path)
        (tmp_path / "open-hooks.tmp").mkdir()
        granter.open()
        assert granter.take() == [("on_open", OPEN)]
        assert granter.wait(15) == [("on_close", CLOSE)]

    def test_does_not_grow_with_what_is_over(self, granter: Granter) -> None:
        for number in range(3000):
            granter.open(Grant(HERE, SSH, Width.FLOW, 1 + number))
            granter.wait(15)
            granter.take()
        assert len(granter.path.read_bytes().splitlines()) < 1100
        assert granter.restarted().wait(1000) == []
