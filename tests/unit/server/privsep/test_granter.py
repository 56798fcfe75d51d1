import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_network
from pathlib import Path
from struct import unpack
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.child import in_child, needs_root
from unit.server.firewall_double import RecordingFirewall
from unit.server.parties import EVERY_WIDTH, HERE, HERE6, SSH, THERE

from spassh_server import config
from spassh_server.clock import monotonic_ms
from spassh_server.firewall import (
    ActiveGrant,
    Firewall,
    FirewallError,
    Grant,
    Settings,
    Width,
)
from spassh_server.firewall.sessions import Session
from spassh_server.firewall.watch import Watch
from spassh_server.limits import ADDRESSES_PER_USER, OTHER_LINES_PER_SECOND
from spassh_server.ports import Port
from spassh_server.privsep import granter as granter_module
from spassh_server.privsep import message
from spassh_server.privsep.granter import Granter
from spassh_server.privsep.handout import Handout
from spassh_server.privsep.message import (
    Answer,
    Connection,
    GrantMessage,
    MessageError,
    Proof,
    Revoke,
    RunMessage,
    decode_answer,
    encode_grant,
    encode_list_users,
    encode_ping,
    encode_proof,
    encode_protect,
    encode_revoke,
    encode_run,
)
from spassh_server.privsep.programs import Programs
from spassh_server.privsep.sandbox import (
    CAP_KILL,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    capabilities,
)
from spassh_server.trial import Trial

ROOT = Path(__file__).parents[4]
SETTINGS = config.parse(
    "grant_ports = ['tcp/22', 'udp/53']\nmax_lifetime = 60\nmax_grants = 3",
    "/etc/spassh/spasshd.toml",
)


def host(number: int) -> bytes:
    return bytes([192, 0, 2, number])


def wish(
    number: int = 1,
    address: bytes = HERE,
    port: Port = SSH,
    seconds: int = 15,
    user: str = "ada",
) -> GrantMessage:
    return GrantMessage(number, Grant(address, port), seconds, user)


def order(number: int = 1, user: str = "ada") -> RunMessage:
    return RunMessage(number, user, HERE, ("/usr/bin/uptime",), "uptime")


class FakePrograms:
    """Remembers what the granter tells the hooks, and which commands it asks for."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.ordered: list[RunMessage] = []
        self.answer = (True, True)
        self.turns: list[set[int]] = []
        self.wait: int | None = None
        self.forgotten: list[str] = []

    def forget(self, user: str) -> None:
        self.forgotten.append(user)

    def opened(self, grant: Grant, seconds: int, user: str) -> None:
        self.told.append(("opened", grant, seconds, user))

    def closed(self, grant: Grant) -> None:
        self.told.append(("closed", grant))

    def run(self, wanted: RunMessage) -> tuple[bool, bool]:
        self.ordered.append(wanted)
        return self.answer

    def turn(self, ready: set[int]) -> None:
        self.turns.append(ready)

    def until_next(self) -> int | None:
        return self.wait


Message = GrantMessage | Revoke | RunMessage | bytes


def encoded(wanted: Message) -> bytes:
    """Spell what the listener sends; bytes are what they are."""
    if isinstance(wanted, GrantMessage):
        return encode_grant(wanted)
    if isinstance(wanted, Revoke):
        return encode_revoke(wanted)
    return encode_run(wanted) if isinstance(wanted, RunMessage) else wanted


class Listener:
    """The other end of the granter's socket, and the granter."""

    def __init__(self, users: Path, firewall: RecordingFirewall) -> None:
        self.socket, self._theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.programs = FakePrograms()
        self.poll = select.poll()
        changed = SETTINGS._replace(users_dir=str(users), path="/dev/null")
        self.granter = Granter(
            self._theirs,
            changed,
            firewall,
            handout=Handout(changed),
            programs=cast(Programs, self.programs),
            poll=self.poll,
            make=self.make,
        )

    def make(self, settings: Settings) -> Firewall:
        """Make a firewall as the granter asks for it."""
        raise AssertionError(settings)

    def send(self, *wanted: Message) -> None:
        for one in wanted:
            self.socket.send(encoded(one))

    def run(self, *wanted: Message) -> list[Answer]:
        """Send, leave, and let the granter serve until then; return its answers."""
        self.send(*wanted)
        self.socket.shutdown(socket.SHUT_WR)
        self.granter.serve()
        return self.answers()

    def answers(self) -> list[Answer]:
        """Return what the granter has said so far."""
        self.socket.setblocking(False)
        found: list[Answer] = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, message.SIZE + 1, 1)
            except BlockingIOError:
                return found
            for fd in fds:
                os.close(fd)
            found.append(decode_answer(data))

    def close(self) -> None:
        self.socket.close()
        self._theirs.close()
        os.close(self.granter._handout._directory)


@pytest.fixture
def firewall() -> RecordingFirewall:
    return RecordingFirewall()


@pytest.fixture
def listener(
    tmp_path: Path, firewall: RecordingFirewall, clock: SimpleNamespace
) -> Iterator[Listener]:
    made = Listener(tmp_path, firewall)
    yield made
    made.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A hand-moved clock: `monotonic` for the limits, `wall` for the sweep."""
    hand = SimpleNamespace(now=1000.0, wall=1_767_225_600.0)
    hand.monotonic = lambda: hand.now
    monkeypatch.setattr(granter_module, "time", hand)
    monkeypatch.setattr(granter_module, "wall_clock", lambda: hand.wall)
    return hand


READY = Answer(message.READY, 0, widths=EVERY_WIDTH)


def test_the_firewall_is_prepared_before_the_listener_is_told(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    answers = listener.run(encode_list_users(1))
    assert answers[0] == READY
    assert firewall.calls == ["prepare", "repair", "grants"]


def test_what_fails_when_the_drop_is_in_place_is_reported_and_tried_again(
    listener: Listener, firewall: RecordingFirewall, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon that leaves then leaves a drop that nobody can open."""
    firewall.failing.add("repair")
    answers = listener.run(encode_grant(wish()))
    assert answers == [READY, Answer(message.GRANTED, 1)]
    assert capsys.readouterr().err.count("error: repair failed") == 1
    assert listener.granter._changed


@pytest.mark.parametrize("widths", [{Width.ADDRESS}, {Width.FLOW, Width.ADDRESS}])
def test_the_listener_is_told_what_the_packet_filter_can_do(
    listener: Listener, firewall: RecordingFirewall, widths: set[Width]
) -> None:
    firewall.widths = frozenset(widths)
    assert listener.run(encode_list_users(1))[0].widths == widths


def test_a_listener_that_cannot_start_leaves_the_firewall_as_it_is(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    assert listener.run() == []
    assert firewall.calls == []


def test_a_firewall_that_cannot_be_prepared_ends_the_granter(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    firewall.failing.add("prepare")
    with pytest.raises(FirewallError):
        listener.run(wish())
    assert listener.answers() == []
    assert firewall.granted == []


def test_a_wish_within_the_limits_is_granted(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    answers = listener.run(wish(7), wish(8, HERE6, Port(17, 53), 60))
    expected = [READY, Answer(message.GRANTED, 7), Answer(message.GRANTED, 8)]
    assert expected == answers
    assert firewall.granted == [
        (Grant(HERE, SSH), 15, "ada"),
        (Grant(HERE6, Port(17, 53)), 60, "ada"),
    ]


@pytest.mark.parametrize(
    "grant", [Grant(HERE, SSH, Width.FLOW, 40_000), Grant(HERE, SSH, Width.ONCE)]
)
def test_a_grant_has_the_width_that_was_asked_for(
    listener: Listener, firewall: RecordingFirewall, grant: Grant
) -> None:
    listener.run(GrantMessage(1, grant, 15, "bob"))
    assert firewall.granted == [(grant, 15, "bob")]


def test_granting_again_reaches_the_firewall_again(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    listener.run(wish(1), wish(2))
    assert firewall.granted == [(Grant(HERE, SSH), 15, "ada")] * 2


@pytest.mark.parametrize(
    "over",
    [wish(7, port=Port(6, 23)), wish(7, port=Port(17, 22)), wish(7, seconds=61)],
    ids=["another port", "another protocol", "too long"],
)
def test_a_wish_over_the_limits_is_refused_and_never_reaches_the_firewall(
    listener: Listener, firewall: RecordingFirewall, over: GrantMessage
) -> None:
    assert listener.run(over, wish(8)) == [
        READY,
        Answer(message.REFUSED, 7),
        Answer(message.GRANTED, 8),
    ]
    assert firewall.granted == [(Grant(HERE, SSH), 15, "ada")]
    assert listener.programs.told == [("opened", Grant(HERE, SSH), 15, "ada")]


def test_one_grant_too_many_is_refused_and_never_reaches_the_firewall(
    listener: Listener, firewall: RecordingFirewall, clock: SimpleNamespace
) -> None:
    answers = listener.run(*(wish(n, host(n)) for n in range(1, 6)))
    kinds = [answer.kind for answer in answers]
    granted, refused = message.GRANTED, message.REFUSED
    assert kinds == [message.READY, granted, granted, granted, refused, refused]
    assert [host(1), host(2), host(3)] == [
        grant.address for grant, *_ in firewall.granted
    ]


def test_the_grants_of_an_earlier_run_count(
    listener: Listener, firewall: RecordingFirewall, clock: SimpleNamespace
) -> None:
    firewall.live = [ActiveGrant(Grant(host(n), SSH), 30) for n in range(3)]
    answers = listener.run(wish(7, host(9)), wish(8, host(0)))
    expected = [READY, Answer(message.REFUSED, 7), Answer(message.GRANTED, 8)]
    assert expected == answers


def test_a_taken_over_listener_gets_no_more_than_the_limits(
    listener: Listener, firewall: RecordingFirewall, clock: SimpleNamespace
) -> None:
    """It may ask for everything; what reaches the firewall is what config allows."""
    everything = [
        wish(number, host(address), Port(protocol, port), seconds)
        for number, (address, protocol, port, seconds) in enumerate(
            (address, protocol, port, seconds)
            for address in range(1, 5)
            for protocol in (6, 17)
            for port in (1, 22, 53, 443)
            for seconds in (1, 60, 61, 0xFFFFFFFF)
        )
    ]
    listener.run(*everything)
    assert firewall.granted
    for grant, seconds, _ in firewall.granted:
        assert grant.port in SETTINGS.grant_ports
        assert seconds <= SETTINGS.max_lifetime
    assert len({grant for grant, *_ in firewall.granted}) <= SETTINGS.max_grants


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.binary(min_size=1, max_size=70)
        | st.sampled_from(
            [
                encode_ping(3),
                encode_list_users(4),
                encode_revoke(Revoke(5)),
                encode_revoke(Revoke(6, user="ada", sessions=True)),
                encode_run(order(7)),
            ]
        )
        | st.builds(
            lambda number, address, protocol, port, seconds: encode_grant(
                wish(number, host(address), Port(protocol, port), seconds)
            ),
            st.integers(0, 9),
            st.integers(0, 255),
            st.sampled_from([6, 17, 1]),
            st.sampled_from([22, 53, 0, 80]),
            st.sampled_from([0, 1, 60, 61, 0xFFFFFFFF]),
        ),
        max_size=12,
    )
)
def test_whatever_the_listener_sends_the_firewall_stays_within_the_limits(
    sent: list[bytes],
) -> None:
    firewall = RecordingFirewall()
    listener = Listener(ROOT, firewall)
    try:
        listener.run(*sent)
    except MessageError:
        pass
    finally:
        listener.close()
    assert all(grant.port in SETTINGS.grant_ports for grant, *_ in firewall.granted)
    assert all(0 < seconds <= 60 for _, seconds, _ in firewall.granted)
    assert len({grant for grant, *_ in firewall.granted}) <= SETTINGS.max_grants
    assert set(firewall.calls) <= {
        *("prepare", "repair", "grants", "grant", "revoke", "end_sessions")
    }


def test_a_refusing_firewall_is_reported_and_outlived(
    listener: Listener,
    firewall: RecordingFirewall,
    capsys: pytest.CaptureFixture[str],
) -> None:
    firewall.failing.add("grant")
    expected = [READY, Answer(message.FAILED, 7), Answer(message.FAILED, 8)]
    assert expected == listener.run(wish(7), wish(8))
    assert listener.programs.told == []
    expected_line = "spasshd: error: grant to 192.0.2.7: grant failed"
    assert expected_line in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 64,
        b"\x08" + bytes(63),
        b"\xff" * 64,
        b"\x11" + bytes(63),
        encode_grant(wish())[:-1],
        encode_grant(wish()) + b"\0",
        encode_grant(wish())[:-1] + b"\1",
        b"x",
    ],
    ids=["zero", "type 8", "ones", "an answer", "short", "long", "padding", "one byte"],
)
def test_an_unknown_message_ends_it_at_once(
    listener: Listener, firewall: RecordingFirewall, data: bytes
) -> None:
    with pytest.raises(MessageError):
        listener.run(data, wish())
    assert firewall.granted == []


def test_it_leaves_when_the_listener_does(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    # The granter has answers to read yet; READY could not be sent any more.
    listener.socket.shutdown(socket.SHUT_WR)
    listener.granter.serve()
    assert "remove" not in firewall.calls
    assert "revoke" not in firewall.calls


class TestRevoking:
    """Grants of two users at three addresses, made by the granter itself."""

    @pytest.fixture
    def listener(
        self, tmp_path: Path, firewall: RecordingFirewall, clock: SimpleNamespace
    ) -> Iterator[Listener]:
        made = Listener(tmp_path, firewall)
        made.send(wish(1, host(1)), wish(2, host(2)), wish(3, host(3), user="bob"))
        yield made
        made.close()

    @staticmethod
    def revoke(listener: Listener, wanted: Revoke, *more: Message) -> list[Answer]:
        """Return the answers to `wanted` and what comes after it."""
        return listener.run(wanted, *more)[4:]

    @pytest.mark.parametrize(
        ("wanted", "left"),
        [
            (Revoke(9, user="ada"), [3]),
            (Revoke(9, user="bob"), [1, 2]),
            (Revoke(9, user="eve"), [1, 2, 3]),
            (Revoke(9, user="Ada"), [1, 2, 3]),
            (Revoke(9, address=host(2)), [1, 3]),
            (Revoke(9, address=THERE), [1, 2, 3]),
            (Revoke(9), []),
        ],
    )
    def test_takes_back_what_was_asked_for_and_tells_the_hooks(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        wanted: Revoke,
        left: list[int],
    ) -> None:
        gone = [number for number in (1, 2, 3) if number not in left]
        expected = [Answer(message.REVOKED, 9, grants=len(gone))]
        assert expected == self.revoke(listener, wanted)
        assert [one.grant.address for one in firewall.live] == [*map(host, left)]
        closed = [("closed", Grant(host(number), SSH)) for number in gone]
        assert listener.programs.told[3:] == closed
        assert firewall.ended == []

    def test_of_a_user_drops_the_commands_that_wait(self, listener: Listener) -> None:
        self.revoke(listener, Revoke(9, user="ada"), Revoke(10), Revoke(11, "bob"))
        assert listener.programs.forgotten == ["ada", "bob"]

    def test_of_a_user_finds_grants_that_a_neighbour_has_extended(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        """Behind one address, the last who knocks is the one whose name is kept."""
        listener.send(wish(4, host(1), user="bob"))
        answers = self.revoke(listener, Revoke(9, user="ada"))
        assert answers[-1] == Answer(message.REVOKED, 9, grants=2)
        assert [one.grant.address for one in firewall.live] == [host(3)]

    def test_tells_if_there_were_more_addresses_than_are_remembered(
        self, tmp_path: Path, firewall: RecordingFirewall, clock: SimpleNamespace
    ) -> None:
        with closing(Listener(tmp_path, firewall)) as listener:
            for number in range(ADDRESSES_PER_USER + 1):
                clock.now += 1000
                address = bytes([10, 0, 0, number])
                listener.granter._ledger.note("ada", address)
            answers = listener.run(
                Revoke(1, user="ada", sessions=True), Revoke(2, user="bob")
            )
        assert [one.forgotten for one in answers if one.kind == message.REVOKED] == [
            True,
            False,
        ]

    def test_never_throws_out_who_is_always_allowed(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        """A listener that was taken over could keep the owner from coming back."""
        listener.granter._always_allow = (ip_network(host(1)),)
        self.revoke(listener, Revoke(9, sessions=True))
        assert sorted(firewall.ended) == [host(2), host(3)]

    def test_makes_room_for_others(self, listener: Listener) -> None:
        """There are three grants at most."""
        more = (wish(8, host(8)), wish(9, host(9)), wish(10, host(10)))
        answers = self.revoke(listener, Revoke(7, user="ada"), *more)
        granted, refused = message.GRANTED, message.REFUSED
        kinds = [answer.kind for answer in answers]
        assert kinds == [message.REVOKED, granted, granted, refused]

    def test_leaves_the_connections_alone_unless_asked(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        firewall.sessions = {host(1): 5}
        self.revoke(listener, Revoke(9, user="ada"))
        assert "end_sessions" not in firewall.calls

    def test_of_a_user_ends_connections_from_every_address_that_was_let_in(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        """The grant is long over while its session lives."""
        firewall.sessions = {host(1): 2, host(2): 1, host(3): 7}
        over = Grant(host(1), SSH)
        firewall.revoke(over)
        grant = firewall.grant

        def forget_at_once(wanted: Grant, seconds: int, user: str) -> None:
            grant(wanted, seconds, user)
            if wanted == over:
                firewall.live.clear()

        firewall.grant = forget_at_once  # type: ignore[assignment, method-assign]
        answer = Answer(message.REVOKED, 9, grants=1, sessions=3)
        wanted = Revoke(9, user="ada", sessions=True)
        assert self.revoke(listener, wanted) == [answer]
        assert sorted(firewall.ended) == [host(1), host(2)]

    def test_of_an_address_ends_its_connections_even_without_a_grant(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        firewall.sessions = {THERE: 2, host(1): 1}
        answer = Answer(message.REVOKED, 9, grants=0, sessions=2)
        wanted = Revoke(9, address=THERE, sessions=True)
        assert self.revoke(listener, wanted) == [answer]
        assert firewall.ended == [THERE]

    def test_of_all_ends_the_connections_of_the_live_grants(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        self.revoke(listener, Revoke(9, sessions=True))
        assert sorted(firewall.ended) == [host(1), host(2), host(3)]

    def test_comes_before_the_end_of_the_connections(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        """Or a new connection would slip in between."""
        self.revoke(listener, Revoke(9, user="ada", sessions=True))
        calls = [one for one in firewall.calls if one in {"revoke", "end_sessions"}]
        assert calls == ["revoke", "revoke", "end_sessions"]

    def test_that_fails_half_way_is_told_and_the_rest_still_counts(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        firewall.stuck = {host(2)}
        wanted = Revoke(9, sessions=True)
        more = [wish(number, host(number)) for number in (10, 11, 12)]
        answers = self.revoke(listener, wanted, *more)
        granted = message.GRANTED
        kinds = [answer.kind for answer in answers]
        assert kinds == [message.FAILED, granted, granted, message.REFUSED]
        closed = [("closed", Grant(host(number), SSH)) for number in (1, 3)]
        assert listener.programs.told[3:5] == closed
        assert "spasshd: error: revoke: revoke failed" in capsys.readouterr().err

    def test_that_fails_again_and_again_cannot_fill_a_disk(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        firewall.stuck = {host(2)}
        answers = self.revoke(listener, *[Revoke(number) for number in range(50)])
        assert [one.kind for one in answers] == [message.FAILED] * 50
        said = capsys.readouterr().err
        assert said.count("error: revoke: revoke failed") == OTHER_LINES_PER_SECOND

    @pytest.mark.parametrize("call", ["grants", "end_sessions"])
    def test_that_the_packet_filter_refuses_is_told_and_outlived(
        self, listener: Listener, firewall: RecordingFirewall, call: str
    ) -> None:
        def failing(*_: object) -> int:
            raise FirewallError(f"{call} failed")

        def begin_to_fail(grant: Grant, seconds: int, user: str) -> None:
            setattr(firewall, call, failing)
            grant_before(grant, seconds, user)

        grant_before = firewall.grant
        firewall.grant = begin_to_fail  # type: ignore[assignment, method-assign]
        wanted = Revoke(9, user="ada", sessions=True)
        answers = self.revoke(listener, wanted, encode_ping(10))
        assert [one.kind for one in answers] == [message.FAILED, message.PONG]

    def test_of_a_user_works_where_the_packet_filter_keeps_no_names(
        self, listener: Listener, firewall: RecordingFirewall
    ) -> None:
        """ipfw has tables of addresses and nothing else."""
        firewall.keeps_names = False
        answer = Answer(message.REVOKED, 9, grants=2)
        assert self.revoke(listener, Revoke(9, user="ada")) == [answer]
        assert [one.grant.address for one in firewall.live] == [host(3)]


def test_the_grants_of_an_earlier_run_are_taken_back_with_their_connections(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    firewall.live = [
        ActiveGrant(Grant(HERE, SSH), 30, "ada"),
        ActiveGrant(Grant(THERE, SSH), 30, "bob"),
    ]
    firewall.sessions = {HERE: 1, THERE: 1}
    answers = listener.run(Revoke(9, user="ada", sessions=True))
    assert answers == [READY, Answer(message.REVOKED, 9, grants=1, sessions=1)]
    assert listener.programs.told == [("closed", Grant(HERE, SSH))]


def test_who_was_let_in_by_an_earlier_run_is_remembered_when_the_grant_is_over(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    firewall.live = [ActiveGrant(Grant(HERE, SSH), 30, "ada")]
    firewall.sessions = {HERE: 2}
    grant = firewall.grant

    def end_the_others(wanted: Grant, seconds: int, user: str) -> None:
        firewall.live.clear()
        grant(wanted, seconds, user)

    firewall.grant = end_the_others  # type: ignore[assignment, method-assign]
    revoke = Revoke(9, user="ada", sessions=True)
    answers = listener.run(wish(8, THERE, user="bob"), revoke)
    assert answers[2:] == [Answer(message.REVOKED, 9, grants=0, sessions=2)]


def test_a_question_whether_it_is_alive_is_answered(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    assert listener.run(encode_ping(7)) == [READY, Answer(message.PONG, 7)]
    assert firewall.calls == ["prepare", "repair", "grants"]


class TestCommands:
    @pytest.mark.parametrize(
        ("allowed_and_started", "kind"),
        [
            ((True, True), message.GRANTED),
            ((True, False), message.FAILED),
            ((False, False), message.REFUSED),
        ],
    )
    def test_are_answered_when_they_are_under_way(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        allowed_and_started: tuple[bool, bool],
        kind: int,
    ) -> None:
        listener.programs.answer = allowed_and_started
        assert listener.run(order(7)) == [READY, Answer(kind, 7)]
        assert listener.programs.ordered == [order(7)]
        assert "grant" not in firewall.calls

    def test_are_only_so_many_whoever_asks(
        self, listener: Listener, clock: SimpleNamespace
    ) -> None:
        """A listener that was taken over invents users as it likes."""
        for number in range(100):
            listener.granter._run(order(number, f"user{number}"))
        kinds = [answer.kind for answer in listener.answers()]
        assert kinds == [message.GRANTED] * 80 + [message.REFUSED] * 20
        assert len(listener.programs.ordered) == 80

    def test_of_one_who_was_refused_cost_nothing_later(
        self, listener: Listener, clock: SimpleNamespace
    ) -> None:
        for seconds, granted in ((0, 20), (1, 1), (3.5, 3), (1000, 20)):
            clock.now += seconds
            for number in range(25):
                listener.granter._run(order(number))
            kinds = [answer.kind for answer in listener.answers()]
            assert kinds.count(message.GRANTED) == granted


def test_programs_get_their_turn_after_the_listener(listener: Listener) -> None:
    """So that nobody waits for a grant because a program prints."""
    seen: list[int] = []
    turn = listener.programs.turn

    def count_then_turn(ready: set[int]) -> None:
        seen.append(len(listener.answers()))
        turn(ready)

    listener.programs.turn = count_then_turn  # type: ignore[method-assign]
    listener.run(wish(1), wish(2))
    assert seen == [2, 1]


@pytest.mark.parametrize(
    ("sweep", "programs", "expected"),
    [
        (None, None, None),
        (None, 70, 70),
        (2.0, 70, 70),
        (0.5, 700, 501),
        (2, None, 2001),
    ],
)
def test_it_sleeps_until_something_is_due_and_for_ever_if_nothing_is(
    tmp_path: Path,
    clock: SimpleNamespace,
    sweep: float | None,
    programs: int | None,
    expected: int | None,
) -> None:
    firewall = RecordingFirewall(expires_by_itself=False)
    firewall.following = None if sweep is None else clock.wall + sweep
    listener = Listener(tmp_path, firewall)
    listener.programs.wait = programs
    asked: list[int | None] = []

    def poll(timeout: int | None) -> list[tuple[int, int]]:
        asked.append(timeout)
        return []

    listener.granter._poll = cast(select.poll, SimpleNamespace(poll=poll))
    assert listener.granter._turn()
    assert asked == [expected]
    listener.close()


@pytest.mark.parametrize("last_words", [[], [b"nonsense"]])
def test_nothing_stays_open_that_the_kernel_would_not_end(
    tmp_path: Path, last_words: list[bytes]
) -> None:
    """ipfw and pf: with the granter gone, nobody sweeps."""
    firewall = RecordingFirewall(expires_by_itself=False)
    listener = Listener(tmp_path, firewall)
    with suppress(MessageError):
        listener.run(wish(1, host(1)), wish(2, host(2)), *last_words)
    listener.close()
    assert len(firewall.granted) == 2
    assert firewall.live == []
    assert "remove" not in firewall.calls


def test_what_cannot_be_taken_back_at_the_end_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    firewall = RecordingFirewall(expires_by_itself=False)
    firewall.failing = {"revoke"}
    listener = Listener(tmp_path, firewall)
    listener.run(wish())
    listener.close()
    assert "error: live grants stay: revoke failed" in capsys.readouterr().err


@pytest.mark.parametrize("resists", [False, True])
def test_rules_of_another_back_end_go_when_ours_are_in_place(
    listener: Listener,
    firewall: RecordingFirewall,
    capsys: pytest.CaptureFixture[str],
    resists: bool,
) -> None:
    """Their drop would stay, and nobody could be let through it."""

    class Other(RecordingFirewall):
        def remove(self) -> None:
            assert firewall.calls == ["prepare"]
            super().remove()

    other = Other()
    if resists:
        other.failing.add("remove")
    listener.granter._others = [other]
    answers = listener.run(wish())
    assert other.calls == ["remove"]
    assert [one.kind for one in answers] == [message.READY, message.GRANTED]
    assert ("old rules stay: remove failed" in capsys.readouterr().err) is resists


def test_a_clock_that_is_set_back_keeps_nothing_open(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    """The packet filter goes by the wall clock, where the kernel ends nothing."""
    firewall = RecordingFirewall(expires_by_itself=False)
    firewall.following = clock.wall + 15
    with closing(Listener(tmp_path, firewall)) as listener:
        listener.granter._handle(wish(1, host(1), seconds=15))
        listener.granter._handle(wish(2, host(2), seconds=30))
        assert listener.granter._until_sweep() == 15_001
        clock.wall -= 3600
        clock.now += 15
        # The sweep would come back in an hour; the next grant is over before that.
        assert listener.granter._until_sweep() == 15_001
        assert [one.grant.address for one in firewall.live] == [host(2)]


@pytest.mark.parametrize("resisting", ["sweep", "grants", "revoke"])
def test_what_is_over_is_taken_back_even_if_the_first_try_fails(
    tmp_path: Path,
    clock: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    resisting: str,
) -> None:
    """One lock that was busy, and the sweep comes back when the clock says so."""
    firewall = RecordingFirewall(expires_by_itself=False)
    firewall.following = clock.wall + 3600
    with closing(Listener(tmp_path, firewall)) as listener:
        granter = listener.granter
        granter._handle(wish(1, host(1), seconds=15))
        granter._handle(wish(2, host(2), seconds=15))
        clock.now += 15
        firewall.failing.add(resisting)
        for _ in range(3):
            assert granter._until_sweep() == 1000
            # Those who ask meanwhile do not wait for it to fail once more.
            tries = len(firewall.calls)
            assert granter._until_sweep() == 1001
            assert len(firewall.calls) == tries
            clock.now += 1
        assert len(firewall.live) == 2
        assert capsys.readouterr().err.count(f"error: {resisting} failed") == 3

        firewall.failing.clear()
        granter._until_sweep()
        assert firewall.live == []
        closed = [one for one in listener.programs.told if one[0] == "closed"]
        assert len(closed) == 2


def test_what_is_over_and_resists_does_not_keep_others_open(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    firewall = RecordingFirewall(expires_by_itself=False)
    with closing(Listener(tmp_path, firewall)) as listener:
        granter = listener.granter
        for number in (1, 2, 3):
            granter._handle(wish(number, host(number), seconds=15))
        firewall.stuck = {host(1)}
        # Ended by the packet filter already, so it is listed no more.
        firewall._forget(Grant(host(3), SSH))
        clock.now += 15
        assert granter._until_sweep() == 1000
        assert [one.grant.address for one in firewall.live] == [host(1)]

        # What lives on takes its place: three may be there.
        listener.answers()
        for number in (4, 5, 6):
            granter._handle(wish(number, host(number), seconds=60))
        kinds = [answer.kind for answer in listener.answers()]
        assert kinds == [message.GRANTED, message.GRANTED, message.REFUSED]
        firewall.stuck = set()
        clock.now += 1
        granter._until_sweep()
        assert [one.grant.address for one in firewall.live] == [host(4), host(5)]


def test_a_clock_that_was_set_back_before_the_start_keeps_nothing_open(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    """The granter was killed, so nobody has counted: hours left are none at all."""
    firewall = RecordingFirewall(expires_by_itself=False)
    firewall.live = [
        ActiveGrant(Grant(host(1), SSH), 15 + 3600, "ada"),
        ActiveGrant(Grant(host(2), SSH), 61, "bob"),
        ActiveGrant(Grant(host(3), SSH), 60, "bob"),
    ]
    firewall.sessions = {host(1): 1}
    with closing(Listener(tmp_path, firewall)) as listener:
        listener.granter._turn = lambda: False  # type: ignore[method-assign]
        listener.granter._leave = lambda: None  # type: ignore[method-assign]
        listener.send(encode_ping(1))
        listener.granter.serve()
        assert [one.grant.address for one in firewall.live] == [host(3)]
        closed = [("closed", Grant(host(number), SSH)) for number in (1, 2)]
        assert listener.programs.told == closed
        # Who was let in then is still known, to end what was begun.
        listener.granter._revoke(Revoke(2, user="ada", sessions=True))
        assert firewall.ended == [host(1)]
        clock.now += 60
        listener.granter._until_sweep()
        assert firewall.live == []


def test_a_listener_that_does_not_read_is_left(
    tmp_path: Path, firewall: RecordingFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for it, the granter would end no grant any more."""

    def full(_sock: socket.socket, _path: str) -> int:
        raise BlockingIOError

    monkeypatch.setattr(granter_module, "_work", full)
    monkeypatch.setattr(granter_module, "signal", MagicMock())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        assert granter_module.main(["/nowhere", str(theirs.detach())]) == 1


def test_a_send_of_the_granter_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[bytes] = []

    def look(sock: socket.socket, _path: str) -> int:
        waits.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))
        return 0

    monkeypatch.setattr(granter_module, "_work", look)
    monkeypatch.setattr(granter_module, "signal", MagicMock())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        granter_module.main(["/nowhere", str(theirs.detach())])
    seconds, _ = unpack("ll", waits[0])
    assert 0 < seconds <= 10


class TestRepair:
    def test_happens_once_a_second_at_most(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
    ) -> None:
        granter = listener.granter
        for now, repairs in (
            (1000.0, 0),
            (1000.999, 0),
            (1001.0, 1),
            (1001.5, 1),
            (1001.999, 1),
            (1002.0, 2),
            (1009.0, 3),
        ):
            clock.now = now
            granter._grant(wish())
            assert repairs == firewall.count("repair")

    def test_happens_even_if_the_grant_failed(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
    ) -> None:
        firewall.failing.add("grant")
        clock.now += 1
        listener.granter._grant(wish())
        assert firewall.count("repair") == 1

    def test_is_not_provoked_by_what_is_refused(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
    ) -> None:
        clock.now += 1
        listener.granter._grant(wish(seconds=61))
        assert firewall.calls == []

    def test_happens_after_a_sign_of_life(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The legacy variant of iptables tells nobody that it was flushed."""
        told: list[Answer] = []
        repair = firewall.repair

        def look_and_repair() -> bool:
            told.extend(listener.answers())
            return repair()

        monkeypatch.setattr(firewall, "repair", look_and_repair)
        clock.now += 1
        for number in (7, 8):
            listener.granter._handle(message.Ping(number))
        assert told == [Answer(message.PONG, 7)], "the watchdog does not wait for it"
        assert firewall.count("repair") == 1
        assert listener.granter._until_repair() is None

    def test_is_reported_when_there_was_something_to_mend(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for firewall.broken in (False, True, False):
            clock.now += 1
            listener.granter._grant(wish())
        assert capsys.readouterr().err == "spasshd: repaired firewall=recording\n"

    def test_that_fails_is_reported_and_tried_again(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        firewall.failing.add("repair")
        for _ in range(2):
            clock.now += 1
            listener.granter._grant(wish())
        assert capsys.readouterr().err.count("error: repair failed") == 2
        assert firewall.count("repair") == 2


class TestSweeping:
    @pytest.fixture
    def firewall(self) -> RecordingFirewall:
        return RecordingFirewall(expires_by_itself=False)

    @pytest.mark.parametrize(
        ("left", "milliseconds"),
        [
            (None, None),
            (0.0, 1),
            (-5.0, 1),
            (0.0005, 1),
            (1.5, 1501),
            (15.0, 15_001),
            (60.0, 60_001),
            (61.0, 60_001),
            (1e9, 60_001),
        ],
    )
    def test_comes_again_when_the_next_grant_ends(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
        left: float | None,
        milliseconds: int | None,
    ) -> None:
        """At least once a minute, because the clock may be set meanwhile."""
        firewall.following = None if left is None else clock.wall + left
        assert milliseconds == listener.granter._until_sweep()
        assert firewall.calls == ["sweep"]
        if milliseconds is not None:
            # What poll(2) is given, it takes.
            poll = select.poll()
            poll.register(listener.socket, select.POLLOUT)
            assert poll.poll(milliseconds)

    def test_that_fails_is_reported_and_comes_again_soon(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        firewall.failing.add("sweep")
        assert listener.granter._until_sweep() == 1000
        assert "error: sweep failed" in capsys.readouterr().err

    def test_happens_before_each_message_and_when_time_is_up(
        self,
        listener: Listener,
        firewall: RecordingFirewall,
        clock: SimpleNamespace,
    ) -> None:
        """The first poll finds nothing, and the second has the listener leave."""

        def sweep() -> float:
            firewall.calls.append("sweep")
            if firewall.count("sweep") == 3:
                listener.socket.shutdown(socket.SHUT_WR)
            return float(clock.wall)

        firewall.sweep = sweep  # type: ignore[method-assign]
        listener.send(encode_list_users(1))
        listener.granter.serve()
        assert firewall.count("sweep") >= 3


class FakeWatch:
    """A pipe that is readable when the packet filter has changed."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)

    def change(self) -> None:
        os.write(self._write, b"x")

    def fileno(self) -> int:
        return self._read

    def drain(self) -> bool:
        return os.read(self._read, 100) == b"x"

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def test_a_change_of_the_packet_filter_is_followed_by_a_repair_without_a_grant(
    listener: Listener, firewall: RecordingFirewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = FakeWatch()
    listener.granter._watch = cast(Watch, watch)
    monkeypatch.setattr(granter_module, "REPAIR_SECONDS", 0)
    repair = firewall.repair

    def repair_twice() -> bool:
        mended = repair()
        if firewall.count("repair") == 1:
            watch.change()
        else:
            listener.socket.shutdown(socket.SHUT_WR)
        return mended

    monkeypatch.setattr(firewall, "repair", repair_twice)
    listener.send(encode_list_users(1))
    listener.granter.serve()
    watch.close()
    assert firewall.count("repair") == 2
    assert firewall.granted == []


def test_repairs_after_changes_have_a_shortest_interval(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    listener.granter._changed = True
    wait = listener.granter._until_repair()
    assert wait is not None
    assert wait > 0
    assert firewall.calls == []


def test_a_repair_that_fails_is_tried_again_and_reported_once(
    listener: Listener,
    firewall: RecordingFirewall,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A lock that was busy must not leave the port open after a flush."""
    monkeypatch.setattr(granter_module, "REPAIR_SECONDS", 0)
    granter = listener.granter
    granter._changed = True
    firewall.failing.add("repair")
    for _ in range(3):
        granter._until_repair()
    assert firewall.count("repair") == 3
    assert capsys.readouterr().err.count("error: repair failed") == 1

    firewall.failing.clear()
    granter._until_repair()
    assert firewall.count("repair") == 4
    assert granter._until_repair() is None
    assert firewall.count("repair") == 4


def test_what_is_protected_is_read_anew_when_the_listener_says_so(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spasshd.toml"
    path.write_text('protect = ["tcp/22"]\n')
    path.chmod(0o600)
    other = RecordingFirewall()
    told: list[Settings] = []

    def make(settings: Settings) -> Firewall:
        told.append(settings)
        return other

    protection = listener.granter._protection
    changed = protection._config._replace(path=str(path), run_dir=str(tmp_path))
    monkeypatch.setattr(protection, "_config", changed)
    monkeypatch.setattr(protection, "_make", make)
    answers = listener.run(encode_protect(3), wish(4))
    assert answers == [READY, Answer(message.GRANTED, 3), Answer(message.GRANTED, 4)]
    assert [settings.protect for settings in told] == [(SSH,)]
    assert [grant for grant, _, _ in other.granted] == [wish(4).grant]


def test_a_file_that_is_wrong_changes_nothing_and_is_told(
    listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    # Its configuration is /dev/null, and so no file.
    answers = listener.run(encode_protect(3), wish(4))
    assert answers == [READY, Answer(message.FAILED, 3), Answer(message.GRANTED, 4)]
    assert "error: /dev/null: not a regular file" in capsys.readouterr().err


LOGIN = Connection(HERE, 40_000, 22)


@pytest.fixture
def trial(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a trial that has just begun, with no connection from before."""
    protection = listener.granter._protection
    monkeypatch.setattr(protection, "leave", lambda: None)
    now = monotonic_ms()
    monkeypatch.setattr(protection, "_trial", Trial((SSH,), now, now + 60_000))
    monkeypatch.setattr(protection._proofs, "_list", lambda _: frozenset())
    protection._proofs.begin([SSH])


def test_without_a_trial_nobody_proves_anything(listener: Listener) -> None:
    answers = listener.run(wish(4), encode_proof(Proof(5, LOGIN)))
    assert answers == [READY, Answer(message.GRANTED, 4), Answer(message.REFUSED, 5)]


@pytest.mark.usefixtures("trial")
def test_who_was_let_in_during_the_trial_proves_it(listener: Listener) -> None:
    answers = listener.run(
        encode_proof(Proof(3, LOGIN)),
        wish(4),
        encode_proof(Proof(5, LOGIN)),
        encode_proof(Proof(6, LOGIN._replace(address=THERE))),
        encode_proof(Proof(7, LOGIN._replace(port=2222))),
    )
    kinds = [message.READY, message.REFUSED, message.GRANTED]
    kinds += [message.GRANTED, message.REFUSED, message.REFUSED]
    assert [one.kind for one in answers] == kinds


def test_on_a_bsd_netstat_tells_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session((THERE, 22), (HERE, 40_000))
    monkeypatch.setattr(granter_module, "established", lambda _: [session])
    monkeypatch.setattr(granter_module, "SOCKET_TABLES", ("/nowhere", "/nowhere"))
    assert granter_module._begun([SSH]) == {session}


@pytest.mark.usefixtures("trial")
def test_a_grant_that_failed_proves_nothing(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    firewall.failing.add("grant")
    answers = listener.run(wish(4), encode_proof(Proof(5, LOGIN)))
    assert answers == [READY, Answer(message.FAILED, 4), Answer(message.REFUSED, 5)]


def test_the_grants_of_before_are_taken_back_when_a_trial_begins(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    """Else somebody could come through on one, and would have shown nothing."""
    other = Grant(HERE, Port(17, 53))
    firewall.live = [ActiveGrant(Grant(HERE, SSH), 30), ActiveGrant(other, 30)]
    listener.granter._take_back_ports((SSH,))
    assert [active.grant for active in firewall.live] == [other]


def test_a_firewall_that_expires_by_itself_is_not_swept(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    assert listener.granter._until_sweep() is None
    assert firewall.calls == []


@needs_root
class TestTheProgram:
    """In a child, because it gives its capabilities up."""

    @pytest.fixture
    def configuration(self, tmp_path: Path) -> Path:
        (tmp_path / "users.d").mkdir()
        path = tmp_path / "spasshd.toml"
        path.write_text("max_lifetime = 60")
        path.chmod(0o600)
        return path

    @staticmethod
    def run(
        path: Path, *wanted: bytes, **of_firewall: Any
    ) -> tuple[int, list[int], str, int]:
        """Return its status, the kinds of its answers, its log and capabilities."""

        def work() -> tuple[int, list[int], str, int]:
            firewall = RecordingFirewall()
            vars(firewall).update(of_firewall)
            stderr = io.StringIO()
            vars(granter_module)["choose"] = lambda *_: (firewall, "testing")
            vars(granter_module)["others"] = lambda *_: []
            sys.stderr = stderr
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for data in wanted:
                ours.send(data)
            ours.shutdown(socket.SHUT_WR)
            status = granter_module.main([str(path), str(theirs.detach())])
            kinds = []
            while data := ours.recv(100):
                kinds.append(decode_answer(data).kind)
            return status, kinds, stderr.getvalue(), capabilities()

        return in_child(work)

    def test_serves_until_the_listener_leaves(self, configuration: Path) -> None:
        status, kinds, log, left = self.run(configuration, encode_grant(wish()))
        assert status == 0
        assert kinds == [message.READY, message.GRANTED]
        assert log == "spasshd: firewall backend=recording because=testing\n"
        assert left == 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW

    @pytest.mark.parametrize(
        "line",
        [
            "[[command]]\nname = 'up'\nargv = ['/bin/true']",
            "on_open = ['/bin/true']",
            "on_close = ['/bin/true']",
        ],
    )
    def test_keeps_what_programs_take_only_if_there_are_any(
        self, configuration: Path, line: str
    ) -> None:
        configuration.write_text(f"{line}\n")
        status, _, log, left = self.run(configuration)
        kept = (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SETUID, CAP_SETGID, CAP_KILL)
        assert (status, left) == (0, sum(1 << one for one in kept)), log

    @pytest.mark.parametrize(
        ("lines", "error"),
        [
            ("on_open = ['/no/such']", "on_open: /no/such: no such file"),
            (
                "on_open = ['/bin/true']\nhook_user = 'no-such-user'",
                "hook_user: no account 'no-such-user'",
            ),
            (
                "[[command]]\nname = 'x'\nargv = ['/no/such']",
                "argv: /no/such: no such file",
            ),
        ],
    )
    def test_ends_with_an_error_when_a_program_cannot_run(
        self, configuration: Path, lines: str, error: str
    ) -> None:
        configuration.write_text(lines)
        status, kinds, log, _ = self.run(configuration)
        assert (status, kinds) == (1, [])
        assert f"error: {configuration}: {error}" in log

    def test_says_what_may_keep_grants_out(self, configuration: Path) -> None:
        warned = ["ufw is off", "a chain drops"]
        status, _, log, _ = self.run(configuration, warned=warned)
        assert status == 0
        assert log.splitlines()[1:] == [
            'spasshd: warning text="ufw is off"',
            'spasshd: warning text="a chain drops"',
        ]

    def test_writes_to_the_log_of_the_configuration(self, configuration: Path) -> None:
        configuration.write_text("log = 'json'")
        _, _, log, _ = self.run(configuration)
        (line,) = [json.loads(line) for line in log.splitlines()]
        del line["time"]
        assert line == {
            "event": "firewall",
            "backend": "recording",
            "because": "testing",
        }

    def test_ends_what_runs_when_the_listener_leaves(self, configuration: Path) -> None:
        configuration.write_text(
            "[[command]]\nname = 'wait'\nrun_as = 'root'\n"
            "argv = ['/bin/sleep', '1000']\n"
        )
        run = RunMessage(7, "ada", HERE, ("/bin/sleep", "1000"), "wait")
        status, kinds, log, _ = self.run(configuration, encode_run(run))
        assert (status, kinds) == (0, [message.READY, message.GRANTED])
        assert "command user=ada address=192.0.2.7 name=wait" in log
        assert "status=stopped" in log

    def test_ends_with_an_error_when_the_rules_are_broken(
        self, configuration: Path
    ) -> None:
        status, kinds, log, _ = self.run(configuration, b"?")
        assert status == 1
        assert kinds == [message.READY]
        assert log.endswith("spasshd: error: granter: size\n")

    def test_ends_with_an_error_when_the_configuration_is_broken(
        self, configuration: Path
    ) -> None:
        configuration.write_text("max_lifetim = 60")
        status, kinds, log, _ = self.run(configuration)
        assert status == 1
        assert kinds == []
        assert log == (
            f"spasshd: error: {configuration}:1: max_lifetim: unknown key\n"
            "spasshd: hint: did you mean 'max_lifetime'?\n"
        )

    def test_ends_with_an_error_when_there_is_no_users_dir(
        self, configuration: Path
    ) -> None:
        (configuration.parent / "users.d").rmdir()
        status, kinds, log, _ = self.run(configuration)
        assert status == 1
        assert kinds == []
        assert "users.d" in log

    def test_does_not_end_at_a_signal_that_was_meant_for_the_listener(
        self, configuration: Path
    ) -> None:
        def work() -> int:
            firewall = RecordingFirewall()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

            def choose(*_: object) -> tuple[RecordingFirewall, str]:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    os.kill(os.getpid(), number)
                ours.close()
                return firewall, "testing"

            vars(granter_module)["choose"] = choose
            vars(granter_module)["others"] = lambda *_: []
            return granter_module.main([str(configuration), str(theirs.detach())])

        assert in_child(work) == 0

    def test_leaves_the_programs_that_it_starts_their_signals(
        self, configuration: Path
    ) -> None:
        """What is ignored stays ignored in a program: it could not be stopped."""

        def work() -> list[object]:
            theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[1]
            configuration.write_text("nonsense")
            granter_module.main([str(configuration), str(theirs.detach())])
            numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            return [callable(signal.getsignal(number)) for number in numbers]

        assert in_child(work) == [True, True, True]


FORBIDDEN = {"scapy", "cryptography", "hypothesis", "_pytest"}


def test_importing_the_granter_loads_neither_scapy_nor_cryptography() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import spassh_server.privsep.granter\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(ROOT), str(ROOT / "server")],
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "spassh_server" in loaded
    assert not loaded & FORBIDDEN


def test_the_granter_starts_from_its_own_code_and_loads_no_more_than_it_needs(
    tmp_path: Path,
) -> None:
    """Neither the environment nor the working directory can put a module before it."""
    for name in ("spassh_server", "spassh", "signal", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    boot = ROOT / "server" / "spassh_server" / "privsep" / "boot.py"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        argv = [sys.executable, "-I", "-X", "importtime", str(boot), "/no/such"]
        done = subprocess.run(
            [*argv, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "spasshd: error: /no/such: no such file or directory" in lines
    modules = [line.rpartition("|")[2].strip() for line in lines if "|" in line]
    assert "spassh_server.privsep.granter" in modules
    assert not {name.partition(".")[0] for name in modules} & FORBIDDEN
