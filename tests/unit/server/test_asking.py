"""What the listener asks of the granter, without either of them."""

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from unit.server.parties import HERE, SSH, THERE

from spassh_server import asking as asking_module
from spassh_server.asking import Asking
from spassh_server.commands import Command
from spassh_server.firewall import Grant, Width
from spassh_server.limits import (
    MAX_GRANTS_PER_USER,
    MAX_OUTSTANDING_GRANTS,
    MAX_WAITING_GRANTS,
    MAX_WAITING_PER_USER,
    REQUEST_BURST,
)
from spassh_server.policy import Approval, Order
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    Answer,
    Connection,
    GrantMessage,
    Proof,
    Protect,
    Revoke,
    RunMessage,
    Wanted,
    decode_request,
)
from spassh_server.report import Report

ARGV = ("/usr/bin/uptime",)
UPTIME = Command("uptime", ARGV, (), "nobody", 30)
ORDER = Order("ada", HERE, UPTIME, ARGV)
LOGIN = Connection(HERE, 40_000, 22)
FLOW = Grant(HERE, SSH, Width.FLOW, 40_000)

Capture = pytest.CaptureFixture[str]


def host(number: int) -> bytes:
    return ip_address(f"2001:db8::{number:x}").packed


def approval(
    number: int = 1, user: str = "ada", seconds: int = 15, **fields: Any
) -> Approval:
    return Approval(user, Grant(host(number), SSH, **fields), seconds)


class Asked:
    """`Asking`, with all that it sends and replies."""

    def __init__(self) -> None:
        self.sent: list[Wanted] = []
        self.replies: list[Any] = []
        self.report = Report()
        self.asking = Asking(self._send, self.report)

    def _send(self, data: bytes) -> None:
        self.sent.append(decode_request(data))

    def approve(self, approval: Approval) -> bool:
        """Tell whether it led to a message at once."""
        before = len(self.sent)
        self.asking.approve(approval)
        return len(self.sent) > before

    def revoke(self, wanted: Revoke) -> None:
        self.asking.revoke(wanted, self.replies.append)

    def answer(self, kind: int, number: int, **counts: int) -> None:
        answer = Answer(kind, number)._replace(**counts)  # type: ignore[arg-type]
        self.asking.answered(answer)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list with the monotonic time in it."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(asking_module, "time", clock)
    return now


def log(capsys: Capture) -> list[str]:
    return [
        line.removeprefix("spasshd: ") for line in capsys.readouterr().err.splitlines()
    ]


def test_each_request_says_all_that_the_granter_needs(asked: Asked) -> None:
    asked.asking.approve(Approval("ada", FLOW, 7))
    asked.asking.order(ORDER)
    asked.revoke(Revoke(0, address=THERE, sessions=True))
    assert asked.sent == [
        GrantMessage(1, FLOW, 7, "ada"),
        RunMessage(2, "ada", HERE, ARGV, "uptime"),
        Revoke(3, address=THERE, sessions=True),
    ]


def test_it_is_idle_when_every_question_has_its_answer(asked: Asked) -> None:
    assert asked.asking.idle
    questions: tuple[Callable[[], None], ...] = (
        lambda: asked.asking.approve(approval()),
        lambda: asked.asking.order(ORDER),
        lambda: asked.revoke(Revoke(0)),
    )
    for number, ask in enumerate(questions, 1):
        ask()
        assert not asked.asking.idle
        asked.answer(message.FAILED, number)
        assert asked.asking.idle


def test_a_busy_granter_is_not_sent_more_than_it_can_take(asked: Asked) -> None:
    most = MAX_OUTSTANDING_GRANTS
    for number in range(most + 5):
        asked.asking.approve(approval(number))
    asked.asking.order(ORDER)
    assert [one.number for one in asked.sent] == [*range(1, most + 1)]
    # In any order, and in the order of their coming, a command like any other.
    for number in (3, 1, 2, 9, 8, 7):
        asked.answer(message.GRANTED, number)
    assert [one.number for one in asked.sent[most:]] == [*range(most + 1, most + 7)]
    assert isinstance(asked.sent[-1], RunMessage)
    assert not asked.asking.idle


def test_more_than_can_wait_is_dropped_and_counted(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_WAITING_GRANTS > MAX_OUTSTANDING_GRANTS
    monkeypatch.setattr(asking_module, "MAX_OUTSTANDING_GRANTS", 2)
    monkeypatch.setattr(asking_module, "MAX_WAITING_GRANTS", 3)
    for number in range(6):
        asked.asking.approve(approval(number))
    asked.asking.order(ORDER)
    assert asked.report.counters == {"busy": 2}
    assert len(asked.sent) == 2


def test_the_burst_of_one_user_delays_nobody_else(asked: Asked) -> None:
    """With a slow packet filter, it would by the time that the whole burst takes."""
    for number in range(REQUEST_BURST):
        asked.asking.approve(approval(number))
    asked.asking.approve(approval(900, "bob"))
    asked.asking.order(ORDER._replace(user="eve"))
    under_way = len(asked.sent)
    assert under_way <= 8
    for number in range(1, 5):
        asked.answer(message.GRANTED, number)
    assert _users(asked.sent[under_way:]) == ["bob", "eve", "ada", "ada"]


def test_the_bursts_of_two_users_go_on_side_by_side(asked: Asked) -> None:
    for user in ("ada", "bob"):
        for number in range(20):
            asked.asking.approve(approval(number, user))
    for number in range(1, MAX_OUTSTANDING_GRANTS + 1):
        asked.answer(message.GRANTED, number)
    # What is done makes room for the one who has less under way, until both have half.
    half = MAX_OUTSTANDING_GRANTS // 2
    users = _users(asked.sent[MAX_OUTSTANDING_GRANTS:])
    assert users == ["bob"] * half + ["ada"] * half
    for number in range(MAX_OUTSTANDING_GRANTS + 1, 41):
        asked.answer(message.GRANTED, number)
    assert asked.asking.idle
    assert Counter(_users(asked.sent)) == {"ada": 20, "bob": 20}


def test_one_user_does_not_take_all_the_room_to_wait(asked: Asked) -> None:
    """An extension takes no other grant, so no quota bounds how many wait."""
    for _ in range(MAX_OUTSTANDING_GRANTS + MAX_WAITING_PER_USER + 2):
        asked.asking.approve(approval())
    asked.asking.order(ORDER)
    assert asked.report.counters == {"busy": 3}
    asked.asking.approve(approval(user="bob"))
    assert asked.report.counters == {"busy": 3}


def test_an_administrator_does_not_wait_behind_a_busy_granter(asked: Asked) -> None:
    for number in range(MAX_OUTSTANDING_GRANTS + 1):
        asked.asking.approve(approval(number))
    asked.revoke(Revoke(0))
    assert isinstance(asked.sent[-1], Revoke)


@pytest.mark.parametrize("kind", [message.GRANTED, message.REVOKED, message.FAILED])
def test_an_answer_to_nothing_is_of_no_account(
    asked: Asked, capsys: Capture, kind: int
) -> None:
    asked.asking.approve(approval())
    asked.answer(message.GRANTED, 1)
    asked.revoke(Revoke(0))
    asked.answer(message.REVOKED, 2)
    log(capsys)
    for number in (0, 1, 2, 3, 0xFFFFFFFF):
        asked.answer(kind, number)
    assert log(capsys) == []
    assert len(asked.replies) == 1


@pytest.mark.parametrize(
    ("wanted", "whom"),
    [
        (Revoke(0), "-"),
        (Revoke(0, user="ada", sessions=True), "ada"),
        (Revoke(0, address=host(5)), "2001:db8::5"),
    ],
)
def test_the_log_has_what_an_administrator_took_back(
    asked: Asked, capsys: Capture, wanted: Revoke, whom: str
) -> None:
    asked.revoke(wanted)
    asked.answer(message.REVOKED, 1, grants=2, sessions=1)
    assert log(capsys) == [f"revoked whom={whom} grants=2 connections=1"]


def test_a_revocation_that_failed_is_none_in_the_log(
    asked: Asked, capsys: Capture
) -> None:
    asked.revoke(Revoke(0, user="ada"))
    asked.answer(message.FAILED, 1)
    assert log(capsys) == []


def test_numbers_begin_anew_when_they_no_longer_fit(asked: Asked) -> None:
    asked.asking._number = 0xFFFFFFFE
    for number in range(3):
        asked.asking.approve(approval(number))
    assert [one.number for one in asked.sent] == [0xFFFFFFFF, 0, 1]
    asked.answer(message.GRANTED, 0)
    assert asked.report.counters["granted"] == 1


class TestTheGrantsOfOneUser:
    """From one address after the other, as who owns an IPv6 network can."""

    def fill(self, asked: Asked) -> None:
        for number in range(MAX_GRANTS_PER_USER):
            asked.asking.approve(approval(number))
            asked.answer(message.GRANTED, number + 1)

    def test_are_refused_beyond_the_most(self, asked: Asked, capsys: Capture) -> None:
        self.fill(asked)
        log(capsys)
        assert not asked.approve(approval(4096))
        assert log(capsys) == [
            'refused user=ada address=2001:db8::1000 reason="too many live grants"'
        ]
        assert asked.approve(approval(4096, user="bob"))

    def test_can_be_extended_all_the_same(self, asked: Asked) -> None:
        self.fill(asked)
        assert asked.approve(approval(0))

    def test_count_each_flow(self, asked: Asked) -> None:
        self.fill(asked)
        assert not asked.approve(approval(0, width=Width.FLOW, source_port=1))

    def test_make_room_when_they_end(self, asked: Asked, seconds: list[float]) -> None:
        self.fill(asked)
        seconds[0] += 14.9
        assert not asked.approve(approval(4096))
        seconds[0] += 0.1
        assert asked.approve(approval(4096))

    def test_begin_when_they_are_given(
        self, asked: Asked, seconds: list[float]
    ) -> None:
        # As many as are on their way, so that none waits for its turn.
        for number in range(MAX_OUTSTANDING_GRANTS):
            asked.asking.approve(approval(number))
        seconds[0] += 10
        for number in range(MAX_OUTSTANDING_GRANTS):
            asked.answer(message.GRANTED, number + 1)
        for number in range(MAX_OUTSTANDING_GRANTS, MAX_GRANTS_PER_USER):
            asked.asking.approve(approval(number))
            asked.answer(message.GRANTED, number + 1)
        seconds[0] += 14
        assert not asked.approve(approval(4096))
        seconds[0] += 1
        assert asked.approve(approval(4096))

    @pytest.mark.parametrize(
        ("wanted", "room"),
        [
            (Revoke(0), True),
            (Revoke(0, user="ada"), True),
            (Revoke(0, user="bob"), False),
            (Revoke(0, address=host(5)), True),
            (Revoke(0, address=host(4096)), False),
        ],
    )
    def test_make_room_when_they_are_taken_back(
        self, asked: Asked, wanted: Revoke, room: bool
    ) -> None:
        """Who was revoked by mistake can come again at once."""
        self.fill(asked)
        asked.revoke(wanted)
        assert not asked.approve(approval(4096))
        asked.answer(message.REVOKED, asked.sent[-1].number, grants=1)
        assert room is asked.approve(approval(4096))

    def test_count_as_before_when_a_revocation_failed(self, asked: Asked) -> None:
        self.fill(asked)
        asked.revoke(Revoke(0, user="ada"))
        asked.answer(message.FAILED, asked.sent[-1].number)
        assert not asked.approve(approval(4096))


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (Revoke(0, user="ada"), ["bob"]),
        (Revoke(0, user="eve"), ["ada", "bob", "ada"]),
        (Revoke(0, address=host(900)), ["ada", "bob"]),
        (Revoke(0), []),
    ],
)
def test_what_waits_is_not_asked_for_after_a_revocation(
    asked: Asked, wanted: Revoke, left: list[str]
) -> None:
    """It would be there when everybody believes that all is gone."""
    _fill(asked)
    asked.asking.approve(approval(900))
    asked.asking.approve(approval(901, "bob"))
    asked.asking.order(ORDER)
    before = len(asked.sent)
    asked.revoke(wanted)
    for number in range(1, MAX_OUTSTANDING_GRANTS + 1):
        asked.answer(message.GRANTED, number)
    assert _users(asked.sent[before:]) == left


def test_nothing_more_is_asked_for_a_user_who_is_gone(asked: Asked) -> None:
    _fill(asked)
    asked.asking.approve(approval(900))
    asked.asking.approve(approval(901, "bob"))
    asked.asking.keep({"bob"})
    asked.answer(message.GRANTED, 1)
    asked.answer(message.GRANTED, 2)
    assert _users(asked.sent[MAX_OUTSTANDING_GRANTS:]) == ["bob"]


def _users(sent: list[Wanted]) -> list[str]:
    """Return for whom grants and commands were asked."""
    return [one.user for one in sent if isinstance(one, GrantMessage | RunMessage)]


def _fill(asked: Asked) -> None:
    """Have as much under way as there can be."""
    for number in range(MAX_OUTSTANDING_GRANTS):
        asked.asking.approve(approval(number + 1, f"user{number}"))


def test_who_asked_for_a_revocation_is_told_once_what_came_of_it(asked: Asked) -> None:
    asked.revoke(Revoke(0, user="ada"))
    asked.revoke(Revoke(0, user="bob"))
    asked.answer(message.FAILED, 2)
    asked.answer(message.REVOKED, 1, grants=4, sessions=1)
    asked.answer(message.REVOKED, 1, grants=4, sessions=1)
    assert asked.replies == [
        {"error": "the packet filter refused: see the log"},
        {"grants": 4, "sessions": 1, "forgotten": False},
    ]


def test_who_changed_what_is_protected_is_told_what_came_of_it(asked: Asked) -> None:
    for kind, reply in (
        (message.GRANTED, {}),
        (message.FAILED, {"error": "the packet filter refused: see the log"}),
    ):
        asked.asking.protect(asked.replies.append)
        wanted = asked.sent[-1]
        assert isinstance(wanted, Protect)
        assert not asked.asking.idle
        asked.answer(kind, wanted.number)
        assert asked.replies[-1] == reply
        assert asked.asking.idle


def test_only_the_granter_says_that_a_login_proves_something(asked: Asked) -> None:
    for kind, proved in (
        (message.GRANTED, True),
        (message.REFUSED, False),
        (message.FAILED, False),
    ):
        asked.asking.prove(LOGIN, asked.replies.append)
        wanted = asked.sent[-1]
        assert wanted == Proof(wanted.number, LOGIN)
        asked.answer(kind, wanted.number)
        assert asked.replies[-1] == {"proved": proved}
