import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from unit.server.child import in_child, needs_root
from unit.server.parties import (
    CLIENT,
    CLIENT_PSK,
    NOW,
    STRANGER_SECRET,
    access,
    key_table,
    sealed,
)
from vectors.vector_file import load

from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh_server import limits
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    Answer,
    GrantMessage,
    ListUsers,
    encode_answer,
)

pytest.importorskip("scapy.libs.winpcapy")

from unit.server.rig import Rig

from spassh_server import listener as listener_module

ADA = "user=ada address=192.0.2.7"

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "now_ms", lambda: NOW)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def log(capsys: Capture) -> list[str]:
    return [
        line.removeprefix("spasshd: ") for line in capsys.readouterr().err.splitlines()
    ]


def test_a_good_packet_is_asked_for_and_then_reported(
    rig: Rig, capsys: Capture
) -> None:
    rig.frames(sealed())
    (wanted,) = rig.asked()
    assert isinstance(wanted, GrantMessage)
    assert wanted.seconds == 15
    assert log(capsys) == []
    rig.answer(message.GRANTED, wanted.number)
    assert log(capsys) == ["granted user=ada address=192.0.2.7 port=tcp/22 seconds=15"]
    assert rig.counters == {"frames": 1, "granted": 1}


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (
            message.REFUSED,
            f'refused {ADA} reason="tcp/22 is over the granter\'s limits"',
        ),
        (
            message.FAILED,
            f'failed {ADA} reason="the firewall refused"',
        ),
    ],
)
def test_a_grant_that_is_not_given_is_reported(
    rig: Rig, capsys: Capture, kind: int, line: str
) -> None:
    rig.frames(sealed())
    rig.answer(kind, 1)
    assert log(capsys) == [line]


def test_each_outcome_has_its_counter_and_strangers_have_no_line(
    rig: Rig, capsys: Capture
) -> None:
    rig.frames(b"", bytes(192), sealed(server=b"\x09" + bytes(31)))
    rig.frames(sealed(secret=STRANGER_SECRET), sealed(psk=bytes(32)))
    assert log(capsys) == []
    assert rig.counters == {"frames": 5, "not-ours": 3, "unauthentic": 2}


def test_what_an_authentic_packet_is_not_granted_for_is_reported(
    rig: Rig, capsys: Capture
) -> None:
    packet = sealed()
    rig.frames(packet, sealed(access(time=NOW - 61_000)), sealed(access(port=80)))
    rig.frames(packet, source="198.51.100.9")
    assert log(capsys) == [
        f'stale {ADA} reason="its clock is 61 s behind"',
        f'refused {ADA} reason="tcp/80 is not in the user\'s ports"',
        'replayed user=ada address=198.51.100.9 reason="accepted before"',
    ]
    expected = {"frames": 4, "stale": 1, "refused": 1, "replayed": 1}
    assert expected == rig.counters


def test_a_duplicate_of_the_network_is_counted_and_not_reported(
    rig: Rig, capsys: Capture
) -> None:
    packet = sealed()
    rig.frames(packet, packet, packet)
    assert log(capsys) == []
    assert rig.counters == {"frames": 3, "duplicate": 2}
    assert len(rig.asked()) == 1


def test_a_recording_sent_again_and_again_cannot_fill_the_log(
    rig: Rig, capsys: Capture
) -> None:
    packet = sealed()
    rig.frames(packet)
    for _ in range(10):
        rig.frames(*[packet] * 50, source="198.51.100.9")
    # The test may run across a few seconds.
    assert len(log(capsys)) <= 5 * limits.OTHER_LINES_PER_SECOND
    assert rig.counters["replayed"] == 500


def test_a_bug_does_not_end_the_guard(
    rig: Rig, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def consider(*_: object) -> None:
        raise ZeroDivisionError("here")

    with monkeypatch.context() as patch:
        patch.setattr(listener_module, "consider", consider)
        rig.frames(sealed())
    assert log(capsys) == ["bug error=ZeroDivisionError text=here"]
    rig.frames(sealed())
    assert len(rig.asked()) == 1
    assert rig.counters == {"frames": 2, "bug": 1}


def test_a_busy_granter_is_not_sent_more_than_it_can_take(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 8
    monkeypatch.setattr(listener_module, "MAX_OUTSTANDING_GRANTS", most)
    rig.frames(*(sealed() for _ in range(most + 5)))
    numbers = [wanted.number for wanted in rig.asked()]
    assert numbers == list(range(1, most + 1))
    rig.answer(message.GRANTED, 3)
    rig.answer(message.GRANTED, 1)
    assert [wanted.number for wanted in rig.asked()] == [most + 1, most + 2]


def test_more_grants_than_can_wait_are_dropped_and_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "MAX_OUTSTANDING_GRANTS", 2)
    monkeypatch.setattr(listener_module, "MAX_WAITING_GRANTS", 3)
    rig.frames(*(sealed() for _ in range(9)))
    assert rig.counters["busy"] == 4
    assert len(rig.asked()) == 2


class TestTheGrantsOfOneUser:
    """From one address after the other, as who owns an IPv6 network can."""

    @pytest.fixture(autouse=True)
    def seconds(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Return a list with the monotonic time in it."""
        now = [1000.0]
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(listener_module, "time", clock)
        return now

    @staticmethod
    def knock(rig: Rig, number: int) -> int:
        rig.frames(sealed(), source=f"192.0.2.{number}")
        return len(rig.asked())

    def test_are_refused_beyond_the_most(self, rig: Rig, capsys: Capture) -> None:
        most = limits.MAX_GRANTS_PER_USER
        assert [self.knock(rig, n) for n in range(1, most + 3)] == [1] * most + [0, 0]
        line = 'refused user=ada address=192.0.2.33 reason="too many live grants"'
        assert log(capsys)[0] == line
        assert rig.counters["refused"] == 2

    def test_can_be_extended_all_the_same(self, rig: Rig) -> None:
        for number in range(1, limits.MAX_GRANTS_PER_USER + 2):
            self.knock(rig, number)
        assert self.knock(rig, 1) == 1

    def test_make_room_when_they_end(self, rig: Rig, seconds: list[float]) -> None:
        for number in range(1, limits.MAX_GRANTS_PER_USER + 1):
            self.knock(rig, number)
        seconds[0] += 14.9
        assert self.knock(rig, 99) == 0
        seconds[0] += 0.1
        assert self.knock(rig, 99) == 1

    def test_begin_when_they_are_given(self, rig: Rig, seconds: list[float]) -> None:
        for number in range(1, limits.MAX_GRANTS_PER_USER + 1):
            self.knock(rig, number)
        seconds[0] += 10
        for number in range(1, limits.MAX_GRANTS_PER_USER + 1):
            rig.answer(message.GRANTED, number)
        seconds[0] += 10
        assert self.knock(rig, 99) == 0
        seconds[0] += 5
        assert self.knock(rig, 99) == 1


def test_requests_beyond_the_quota_are_reported(rig: Rig, capsys: Capture) -> None:
    rig.frames(*(sealed() for _ in range(limits.REQUEST_BURST + 1)))
    assert log(capsys) == [f'refused {ADA} reason="too many requests"']
    assert rig.counters["refused"] == 1


@pytest.mark.parametrize("kind", [message.GRANTED, message.REFUSED, message.FAILED])
def test_an_answer_to_nothing_is_of_no_account(
    rig: Rig, capsys: Capture, kind: int
) -> None:
    rig.answer(kind, 77)
    assert log(capsys) == []
    assert rig.counters == {}


def test_it_leaves_when_the_granter_does(rig: Rig) -> None:
    rig.granter.close()
    with pytest.raises(listener_module.GranterGoneError):
        rig.listener._read_granter()
    with pytest.raises(listener_module.GranterGoneError):
        rig.frames(sealed())


def test_it_leaves_when_the_granter_breaks_the_rules(rig: Rig) -> None:
    rig.granter.send(b"nonsense")
    with pytest.raises(message.MessageError):
        rig.listener._read_granter()


def test_descriptors_that_nobody_asked_for_are_closed(rig: Rig) -> None:
    before = os.listdir("/proc/self/fd")
    fd = os.open("/dev/null", os.O_RDONLY)
    data = encode_answer(Answer(message.GRANTED, 7))
    socket.send_fds(rig.granter, [data], [fd])
    os.close(fd)
    rig.listener._read_granter()
    assert len(before) == len(os.listdir("/proc/self/fd"))


class TestUsers:
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path, ready=False)
        yield made
        made.close()

    def test_are_asked_for_at_the_start_and_then_the_daemon_is_ready(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.write("ada.toml", key_table(1))
        rig.begin()
        rig.answer(message.READY, 0)
        assert rig.ask("status")["ready"] is False
        (wanted,) = rig.asked()
        rig.hand_over(wanted.number)
        assert log(capsys) == [
            "ready users=1 knock_port=udp/62201 interfaces=any protect=nothing"
        ]
        assert rig.ask("status")["ready"] is True
        assert rig.ask("status")["users"] == 1

    def test_are_nobody_until_then(self, rig: Rig) -> None:
        rig.frames(sealed())
        assert rig.counters == {"frames": 1, "unauthentic": 1}
        assert rig.asked() == []

    def test_are_taken_over_anew_at_a_signal(self, rig: Rig, capsys: Capture) -> None:
        rig.begin()
        rig.answer(message.READY, 0)
        rig.hand_over(1)
        rig.asked()
        rig.listener._read_signals(bytes([signal.SIGHUP]))
        (wanted,) = rig.asked()
        rig.write("ada.toml", key_table(1))
        rig.hand_over(wanted.number)
        assert log(capsys)[-1] == "reloaded users=1"

    def test_are_taken_over_anew_at_the_verb_which_is_told_the_errors(
        self, rig: Rig
    ) -> None:
        rig.write("ada.toml", "nonsense")
        assert rig.ask("reload") is None
        (wanted,) = rig.asked()
        rig.hand_over(wanted.number)
        (reply,) = rig.control.answers
        assert reply["errors"][0].startswith(f"{rig.users_dir}/ada.toml:1: not valid")


def test_the_state_is_told(rig: Rig) -> None:
    rig.frames(sealed())
    assert rig.ask("status") == {
        "ready": False,
        "pid": os.getpid(),
        "users": 1,
        "counters": {"frames": 1},
        "remembered": 1,
        "store_problem": "",
        "capture_drops": 3,
    }


def test_an_unknown_request_is_answered(rig: Rig) -> None:
    assert rig.ask("sing") == {"errors": ["unknown request"]}


class TestTheLoop:
    """In a child, because it takes the signals over."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_at_a_signal(self, rig: Rig, number: int) -> None:
        def work() -> bool:
            def frames() -> Iterator[bytes]:
                os.kill(os.getpid(), number)
                return iter(())

            rig.capture.frames = frames  # type: ignore[method-assign]
            rig.capture.put()
            rig.listener.serve()
            return True

        assert in_child(work)

    def test_grants_and_ends_when_the_granter_leaves(self, rig: Rig) -> None:
        def work() -> list[type]:
            rig.capture.put(sealed())
            rig.granter.send(encode_answer(Answer(message.GRANTED, 77)))
            rig.granter.shutdown(socket.SHUT_WR)
            with pytest.raises(listener_module.GranterGoneError):
                rig.listener.serve()
            return [type(wanted) for wanted in rig.asked()]

        # The users first: until it hears that, the granter does not touch the firewall.
        assert in_child(work) == [ListUsers, GrantMessage]

    def test_syncs_what_it_accepted(self, rig: Rig) -> None:
        def work() -> bool:
            rig.capture.put(sealed())
            rig.listener._stopping = False

            def sync() -> None:
                rig.listener._stopping = True

            rig.store.sync = sync  # type: ignore[method-assign]
            rig.listener.serve()
            return len(rig.asked()) == 2

        assert in_child(work)


@needs_root
def test_it_imports_nothing_once_it_has_become_nobody(tmp_path: Path) -> None:
    """Its own Python may be out of reach then, under /root for example."""
    good = (
        f'[[key]]\npublic = "{encode_key(PUBLIC, CLIENT)}"\n'
        f'psk = "{encode_key(PSK, CLIENT_PSK)}"\n'
    )
    files = {
        "ada.toml": f"sources = ['192.0.2.0/24', '2001:db8::/32']\n{good}",
        "bob.toml": "prots = []\n",
        "cat.toml": "nonsense \x07 ä",
        "dan.toml": good,
        "eve.toml": "ports = ['x']",
    }
    (tmp_path / "users.d").mkdir()
    for name, text in files.items():
        (tmp_path / "users.d" / name).write_text(text)
        (tmp_path / "users.d" / name).chmod(0o600)
    packets = [
        sealed(),
        b"",
        bytes(192),
        sealed(secret=STRANGER_SECRET),
        sealed(psk=bytes(32)),
        sealed(access(time=0)),
        sealed(access(port=80)),
        load("port_zero").packet,
    ]
    argv = [sys.executable, "-m", "unit.server.unprivileged", str(tmp_path)]
    done = subprocess.run(
        argv,
        input="\n".join(packet.hex() for packet in packets),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["imported"] == []
    assert result["users"] == 2
    assert result["counters"] == {
        "frames": 9,
        "granted": 1,
        "malformed": 1,
        "not-ours": 2,
        "refused": 1,
        "replayed": 1,
        "stale": 1,
        "unauthentic": 2,
    }


def test_a_clock_that_was_ahead_at_the_start_is_reported_once(
    rig: Rig, capsys: Capture
) -> None:
    rig.store._memory.start = NOW + 3_600_000
    packet = sealed(access(time=NOW + 1))
    for _ in range(2):
        rig.frames(packet)
        rig.listener._say_set_back()
    assert log(capsys) == ["clock set_back=3600"]
    assert len(rig.asked()) == 1


def test_a_store_that_cannot_be_written_is_reported_once_and_so_is_its_end(
    rig: Rig, capsys: Capture
) -> None:
    for problem in ("", "replay store: disk full", "replay store: disk full", "", ""):
        rig.store.problem = problem
        rig.listener._say_store_problem()
    assert log(capsys) == [
        'store problem="replay store: disk full"',
        'store problem="none any more"',
    ]


def test_the_store_is_synced_when_it_is_quiet_and_after_a_second_in_any_case(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(listener_module, "time", clock)
    synced = []
    monkeypatch.setattr(rig.store, "sync", lambda: synced.append(now[0]))
    rig.listener._sync(quiet=True)
    assert synced == []
    rig.store.unsynced = True
    for seconds, quiet in ((0.5, False), (0.9, True), (1.8, False), (2.0, False)):
        now[0] = 1000 + seconds
        rig.listener._sync(quiet=quiet)
    assert synced == [1000.9, 1002.0]
