import io
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.server.child import NOBODY, in_child, needs_root
from unit.server.firewall_double import RecordingFirewall
from unit.server.parties import HERE, HERE6, SSH, THERE

from spassh_server import config
from spassh_server.firewall import ActiveGrant, FirewallError, Grant
from spassh_server.firewall.watch import Watch
from spassh_server.ports import Port
from spassh_server.privsep import granter as granter_module
from spassh_server.privsep import message
from spassh_server.privsep.granter import Granter, Limits, reopened
from spassh_server.privsep.message import (
    Answer,
    GrantMessage,
    MessageError,
    decode_answer,
    encode_grant,
    encode_list_users,
)
from spassh_server.privsep.sandbox import (
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    capabilities,
    keep_capabilities,
)

ROOT = Path(__file__).parents[4]
SETTINGS = config.parse(
    "grant_ports = ['tcp/22', 'udp/53']\nmax_lifetime = 60\nmax_grants = 3",
    "/etc/spassh/spasshd.toml",
)


def host(number: int) -> bytes:
    return bytes([192, 0, 2, number])


def wish(
    number: int = 1, address: bytes = HERE, port: Port = SSH, seconds: int = 15
) -> GrantMessage:
    return GrantMessage(number, Grant(address, port), seconds)


class TestLimits:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(SETTINGS)

    @pytest.mark.parametrize(
        ("port", "allowed"),
        [
            (Port(6, 22), True),
            (Port(17, 53), True),
            (Port(17, 22), False),
            (Port(6, 53), False),
            (Port(6, 23), False),
            (Port(6, 65535), False),
        ],
    )
    def test_allow_the_ports_of_the_configuration(
        self, limits: Limits, port: Port, allowed: bool
    ) -> None:
        assert allowed is limits.allow(wish(port=port), 0.0)

    @pytest.mark.parametrize(
        ("seconds", "allowed"),
        [(1, True), (60, True), (61, False), (86_400, False), (0xFFFFFFFF, False)],
    )
    def test_allow_lifetimes_up_to_the_cap(
        self, limits: Limits, seconds: int, allowed: bool
    ) -> None:
        assert allowed is limits.allow(wish(seconds=seconds), 0.0)

    def test_allow_so_many_grants_at_a_time(self, limits: Limits) -> None:
        for number in range(3):
            assert limits.allow(wish(address=host(number)), 0.0)
        assert not limits.allow(wish(address=host(9)), 0.0)
        assert not limits.allow(wish(address=host(9)), 14.9)
        assert limits.allow(wish(address=host(9)), 15.0)

    def test_count_ports_of_one_address_apart(self, limits: Limits) -> None:
        assert limits.allow(wish(), 0.0)
        assert limits.allow(wish(port=Port(17, 53)), 0.0)
        assert limits.allow(wish(address=HERE6), 0.0)
        assert not limits.allow(wish(address=THERE), 0.0)

    def test_let_a_live_grant_be_extended_when_there_is_no_room_for_another(
        self, limits: Limits
    ) -> None:
        for number in range(3):
            assert limits.allow(wish(address=host(number)), 0.0)
        assert limits.allow(wish(address=host(0)), 10.0)
        assert not limits.allow(wish(address=host(9)), 14.0)
        # Two have ended by now; the extended one has not.
        assert limits.allow(wish(address=host(8)), 16.0)
        assert limits.allow(wish(address=host(9)), 16.0)
        assert not limits.allow(wish(address=host(7)), 16.0)

    def test_do_not_count_a_shorter_wish_as_an_earlier_end(
        self, limits: Limits
    ) -> None:
        assert limits.allow(wish(seconds=60), 0.0)
        assert limits.allow(wish(seconds=1), 0.0)
        assert limits.allow(wish(address=host(1)), 0.0)
        assert limits.allow(wish(address=host(2)), 0.0)
        assert limits.allow(wish(address=host(3)), 16.0)
        assert limits.allow(wish(address=host(4)), 16.0)
        assert not limits.allow(wish(address=host(5)), 16.0)

    def test_count_what_an_earlier_run_left(self, limits: Limits) -> None:
        for number in range(3):
            limits.adopt(Grant(host(number), SSH), 30.0)
        assert not limits.allow(wish(address=host(9)), 29.0)
        assert limits.allow(wish(address=host(0)), 29.0)
        assert limits.allow(wish(address=host(9)), 31.0)

    def test_do_not_count_what_they_refused(self, limits: Limits) -> None:
        for number in range(9):
            assert not limits.allow(wish(address=host(number), seconds=61), 0.0)
            assert not limits.allow(wish(address=host(number), port=Port(6, 1)), 0.0)
        assert limits.allow(wish(), 0.0)


class Listener:
    """The other end of the granter's socket, and the granter."""

    def __init__(self, users: Path, firewall: RecordingFirewall) -> None:
        self.socket, self._theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._users = os.open(users, os.O_RDONLY | os.O_DIRECTORY)
        self.granter = Granter(self._theirs, SETTINGS, firewall, self._users)

    def send(self, *wanted: GrantMessage | bytes) -> None:
        for one in wanted:
            self.socket.send(one if isinstance(one, bytes) else encode_grant(one))

    def run(self, *wanted: GrantMessage | bytes) -> list[Answer]:
        """Send, leave, and let the granter serve until then; return its answers."""
        self.send(*wanted)
        self.socket.shutdown(socket.SHUT_WR)
        self.granter.serve()
        return self.answers()

    def answers(self) -> list[Answer]:
        return [answer for answer, _ in self.answers_with_content()]

    def answers_with_content(self) -> list[tuple[Answer, bytes | None]]:
        """Return what the granter said, with what the descriptors lead to."""
        self.socket.setblocking(False)
        found: list[tuple[Answer, bytes | None]] = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, message.SIZE + 1, 1)
            except BlockingIOError:
                return found
            content = None
            for fd in fds:
                content = os.read(fd, 1000)
                os.close(fd)
            found.append((decode_answer(data), content))

    def close(self) -> None:
        self.socket.close()
        self._theirs.close()
        os.close(self._users)


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


READY = Answer(message.READY, 0)


def test_the_firewall_is_prepared_before_the_listener_is_told(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    answers = listener.run(encode_list_users(1))
    assert answers[0] == READY
    assert firewall.calls == ["prepare", "repair", "grants"]


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
        (Grant(HERE, SSH), 15),
        (Grant(HERE6, Port(17, 53)), 60),
    ]


def test_granting_again_reaches_the_firewall_again(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    listener.run(wish(1), wish(2))
    assert firewall.granted == [(Grant(HERE, SSH), 15)] * 2


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
    assert firewall.granted == [(Grant(HERE, SSH), 15)]


def test_one_grant_too_many_is_refused_and_never_reaches_the_firewall(
    listener: Listener, firewall: RecordingFirewall, clock: SimpleNamespace
) -> None:
    answers = listener.run(*(wish(n, host(n)) for n in range(1, 6)))
    kinds = [answer.kind for answer in answers]
    granted, refused = message.GRANTED, message.REFUSED
    assert kinds == [message.READY, granted, granted, granted, refused, refused]
    assert [host(1), host(2), host(3)] == [
        grant.address for grant, _ in firewall.granted
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
    for grant, seconds in firewall.granted:
        assert grant.port in SETTINGS.grant_ports
        assert seconds <= SETTINGS.max_lifetime
    assert len({grant for grant, _ in firewall.granted}) <= SETTINGS.max_grants


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.binary(min_size=1, max_size=70)
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
    assert all(grant.port in SETTINGS.grant_ports for grant, _ in firewall.granted)
    assert all(0 < seconds <= 60 for _, seconds in firewall.granted)
    assert len({grant for grant, _ in firewall.granted}) <= SETTINGS.max_grants
    assert set(firewall.calls) <= {"prepare", "repair", "grants", "grant"}


def test_a_refusing_firewall_is_reported_and_outlived(
    listener: Listener,
    firewall: RecordingFirewall,
    capsys: pytest.CaptureFixture[str],
) -> None:
    firewall.failing.add("grant")
    expected = [READY, Answer(message.FAILED, 7), Answer(message.FAILED, 8)]
    assert expected == listener.run(wish(7), wish(8))
    expected_line = "spasshd: error: grant to 192.0.2.7: grant failed"
    assert expected_line in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 64,
        b"\3" + bytes(63),
        b"\xff" * 64,
        b"\x11" + bytes(63),
        encode_grant(wish())[:-1],
        encode_grant(wish()) + b"\0",
        encode_grant(wish())[:-1] + b"\1",
        b"x",
    ],
    ids=["zero", "type 3", "ones", "an answer", "short", "long", "padding", "one byte"],
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

    def drain(self) -> None:
        os.read(self._read, 100)

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


class TestTheDirectoryOfUsers:
    def test_that_was_replaced_is_found_at_the_next_reload(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "users"
        path.mkdir()
        old = os.open(path, os.O_RDONLY)
        path.rename(tmp_path / "old")
        path.mkdir()
        (path / "new.toml").touch()
        fresh = reopened(old, str(path))
        assert os.listdir(fresh) == ["new.toml"]
        os.close(fresh)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(old)

    def test_that_is_gone_is_reported(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        old = os.open(tmp_path, os.O_RDONLY)
        assert reopened(old, str(tmp_path / "gone")) == old
        os.close(old)
        assert f"error: {tmp_path}/gone: No such file" in capsys.readouterr().err


def test_a_firewall_that_expires_by_itself_is_not_swept(
    listener: Listener, firewall: RecordingFirewall
) -> None:
    assert listener.granter._until_sweep() is None
    assert firewall.calls == []


class TestUserFiles:
    @staticmethod
    def hand_over(listener: Listener) -> dict[str, bytes | None]:
        """Return the files that the listener got, with their content."""
        listener.granter._hand_over_users(7)
        answers = listener.answers_with_content()
        assert answers.pop() == (Answer(message.USERS_END, 7), None)
        assert {(answer.kind, answer.number) for answer, _ in answers} <= {
            (message.USER_FILE, 7)
        }
        return {answer.name: content for answer, content in answers}

    def test_are_handed_over_open(self, listener: Listener, tmp_path: Path) -> None:
        for name in ("bob", "ada"):
            (tmp_path / f"{name}.toml").write_text(name)
            (tmp_path / f"{name}.toml").chmod(0o600)
        files = self.hand_over(listener)
        assert files == {"ada.toml": b"ada", "bob.toml": b"bob"}
        assert list(files) == ["ada.toml", "bob.toml"]

    def test_are_handed_over_for_reading_alone(
        self, listener: Listener, tmp_path: Path
    ) -> None:
        (tmp_path / "ada.toml").write_text("ada")
        listener.granter._hand_over_users(7)
        _, (fd,), _, _ = socket.recv_fds(listener.socket, message.SIZE, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fd, b"x")
        os.close(fd)

    def test_are_asked_for_by_a_message(
        self, listener: Listener, tmp_path: Path
    ) -> None:
        (tmp_path / "ada.toml").write_text("ada")
        expected = [
            READY,
            Answer(message.USER_FILE, 5, "ada.toml"),
            Answer(message.USERS_END, 5),
            Answer(message.USER_FILE, 6, "ada.toml"),
            Answer(message.USERS_END, 6),
        ]
        assert expected == listener.run(encode_list_users(5), encode_list_users(6))

    def test_are_read_from_the_directory_each_time(
        self, listener: Listener, tmp_path: Path
    ) -> None:
        assert self.hand_over(listener) == {}
        (tmp_path / "ada.toml").write_text("ada")
        assert self.hand_over(listener) == {"ada.toml": b"ada"}
        (tmp_path / "ada.toml").rename(tmp_path / "bob.toml")
        assert self.hand_over(listener) == {"bob.toml": b"ada"}

    @pytest.mark.parametrize(
        "name", ["ada", "ada.toml~", "\u00e4.toml", "a" * 44 + ".toml"]
    )
    def test_have_names_that_fit_a_message(
        self, listener: Listener, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / name).touch()
        assert self.hand_over(listener) == {}

    def test_that_are_fifos_are_not_waited_for(
        self, listener: Listener, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "ada.toml")
        (tmp_path / "bob.toml").write_text("bob")
        assert self.hand_over(listener) == {"ada.toml": b"", "bob.toml": b"bob"}

    def test_that_cannot_be_opened_are_announced_without_a_descriptor(
        self,
        listener: Listener,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """So the listener knows that they are there, and that it cannot read them."""
        (tmp_path / "ada.toml").symlink_to("ada.toml")
        (tmp_path / "bob.toml").write_text("bob")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "cat.toml"))
        files = self.hand_over(listener)
        assert files == {"ada.toml": None, "bob.toml": b"bob", "cat.toml": None}
        assert "ada.toml: Too many levels of symbolic links" in capsys.readouterr().err

    @needs_root
    def test_that_root_without_its_powers_may_not_open_do_not_stop_it(
        self, listener: Listener, tmp_path: Path
    ) -> None:
        (tmp_path / "ada.toml").write_text("ada")
        (tmp_path / "ada.toml").chmod(0o600)
        os.chown(tmp_path / "ada.toml", NOBODY, NOBODY)
        (tmp_path / "bob.toml").write_text("bob")

        def work() -> dict[str, bytes | None]:
            keep_capabilities(frozenset())
            return self.hand_over(listener)

        assert in_child(work) == {"ada.toml": None, "bob.toml": b"bob"}

    def test_are_handed_over_in_a_bounded_number(
        self,
        listener: Listener,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(granter_module, "MAX_USER_FILES", 2)
        for name in "cab":
            (tmp_path / f"{name}.toml").touch()
        assert list(self.hand_over(listener)) == ["a.toml", "b.toml"]
        assert "only the first 2 files are read" in capsys.readouterr().err

    def test_leave_no_descriptor_open(self, listener: Listener, tmp_path: Path) -> None:
        (tmp_path / "ada.toml").touch()
        before = os.listdir("/proc/self/fd")
        self.hand_over(listener)
        assert len(before) == len(os.listdir("/proc/self/fd"))


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
    def run(path: Path, *wanted: bytes) -> tuple[int, list[int], str, int]:
        """Return its status, the kinds of its answers, its log and capabilities."""

        def work() -> tuple[int, list[int], str, int]:
            firewall = RecordingFirewall()
            stderr = io.StringIO()
            vars(granter_module)["choose"] = lambda *_: (firewall, "testing")
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
            return granter_module.main([str(configuration), str(theirs.detach())])

        assert in_child(work) == 0


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
