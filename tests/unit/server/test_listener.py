import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from unit.server.child import in_child, needs_root
from unit.server.frames import (
    PORT,
    SOURCE_PORT,
    get,
    icmp,
    ipv4,
    pcap_header,
    pcap_record,
    tcp,
    udp,
)
from unit.server.fwknop_parties import (
    ACCESS,
    BY_GNUPG,
    KEYS,
    OTHER_SIGNER,
    SIGNER,
    TABLE,
    UNAUTHENTICATED,
    fwknop_user,
    gnupg_packet,
    gnupg_user,
    packet,
    signed_text,
)
from unit.server.parties import (
    CLIENT,
    CLIENT_PSK,
    HERE,
    NOW,
    SERVER,
    SSH,
    STRANGER_SECRET,
    access,
    key_table,
    sealed,
    sealed_message,
    user,
)
from vectors.vector_file import load

from spassh.protocol.fwknop import unpadded
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.openpgp import Hmac, enclose
from spassh.protocol.fwknop.packet import seal
from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh.protocol.limits import MAC_SIZE
from spassh.protocol.signed import encode_text
from spassh_server import limits, signatures
from spassh_server.commands import Command, parse_pattern
from spassh_server.firewall import Grant, Width
from spassh_server.fwknop_keys import FwknopKey
from spassh_server.openpgp import message as helper_message
from spassh_server.openpgp.message import (
    QUESTION_SIZE,
    REASONS,
    Question,
    Verdict,
    decode_question,
)
from spassh_server.ports import Port
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    Answer,
    GrantMessage,
    ListUsers,
    Ping,
    Revoke,
    RunMessage,
    encode_answer,
)
from spassh_server.transports import parse_transport

pytest.importorskip("scapy.libs.winpcapy")

from unit.server.rig import Rig

from spassh_server import listener as listener_module
from spassh_server.capture_file import CaptureFile
from spassh_server.datagram import DLT_RAW
from spassh_server.libpcap import CaptureError

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


def in_main(name: str, number: int) -> str:
    """Spell a key of the configuration file's user `name`."""
    return key_table(number).replace("[[key]]", f"[[users.{name}.key]]")


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
    assert wanted == GrantMessage(1, Grant(HERE, SSH), 15, "ada")
    assert log(capsys) == []
    rig.answer(message.GRANTED, wanted.number)
    assert log(capsys) == [f"granted {ADA} port=tcp/22 seconds=15 width=address"]
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
            f'failed {ADA} reason="the packet filter refused"',
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


def test_where_no_kernel_has_checked_the_tag_the_listener_does(rig: Rig) -> None:
    """Whoever has the server's public key can make the rest of the gate right."""
    made = sealed()
    wrong = bytes([made[0] ^ 1]) + made[1:-MAC_SIZE]
    rig.frames(wrong + SERVER.gate.mac(wrong))
    assert rig.counters == {"frames": 1, "not-ours": 1}


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


class TestWidths:
    def test_are_unknown_until_the_granter_tells_them_and_nothing_is_granted(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        rig = Rig(tmp_path, ready=False)
        rig.users(user())
        rig.frames(sealed())
        reason = "the packet filter has none of the user's widths"
        assert log(capsys) == [f'refused {ADA} reason="{reason}"']
        assert rig.asked() == []
        assert rig.ask("status")["widths"] == []
        rig.widths(Width.ADDRESS, Width.FLOW)
        rig.frames(sealed())
        assert len(rig.asked()) == 1
        assert rig.ask("status")["widths"] == ["flow", "address"]
        rig.close()

    @pytest.mark.parametrize(
        ("widths", "named", "came_from", "grant"),
        [
            ({Width.FLOW, Width.ADDRESS}, 1234, 1234, (Width.FLOW, 1234)),
            ({Width.FLOW, Width.ADDRESS}, 1234, 4321, (Width.ADDRESS, 0)),
            ({Width.FLOW, Width.ADDRESS}, 0, 1234, (Width.ADDRESS, 0)),
            ({Width.ADDRESS}, 1234, 1234, (Width.ADDRESS, 0)),
            ({Width.ONCE, Width.ADDRESS}, 1234, 1234, (Width.ADDRESS, 0)),
        ],
    )
    def test_are_the_narrowest_that_the_packet_filter_and_the_packet_allow(
        self,
        rig: Rig,
        widths: set[Width],
        named: int,
        came_from: int,
        grant: tuple[Width, int],
    ) -> None:
        rig.widths(*widths)
        rig.frames(sealed(access(source_port=named)), source_port=came_from)
        assert rig.asked() == [GrantMessage(1, Grant(HERE, SSH, *grant), 15, "ada")]

    def test_of_a_flow_are_reported_with_its_port(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.frames(sealed(access(source_port=SOURCE_PORT)))
        rig.answer(message.GRANTED, 1)
        assert log(capsys) == [
            f"granted {ADA} port=tcp/22 seconds=15 width=flow source_port=40000"
        ]

    def test_of_one_connection_are_asked_for_and_reported(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.users(user(widths=frozenset({Width.ONCE})))
        rig.frames(sealed())
        wanted = GrantMessage(1, Grant(HERE, SSH, Width.ONCE), 15, "ada")
        assert rig.asked() == [wanted]
        rig.answer(message.GRANTED, 1)
        assert log(capsys) == [f"granted {ADA} port=tcp/22 seconds=15 width=once"]


class TestCommands:
    RESTART = Command(
        "restart",
        ("/usr/bin/systemctl", "restart", "{unit}"),
        (("unit", parse_pattern("nginx|php-fpm")),),
        "root",
        30,
    )
    ARGV = ("/usr/bin/systemctl", "restart", "nginx")

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path)
        made.users(user(commands=(self.RESTART,)))
        yield made
        made.close()

    def knock(self, rig: Rig, argv: tuple[str, ...] = ARGV) -> None:
        request = access(protocol=0, port=0, command=argv)
        rig.frames(sealed(request))

    def test_are_asked_for_by_name_and_then_reported(
        self, rig: Rig, capsys: Capture
    ) -> None:
        self.knock(rig)
        assert rig.asked() == [RunMessage(1, "ada", HERE, self.ARGV, "restart")]
        assert log(capsys) == []
        rig.answer(message.GRANTED, 1)
        assert log(capsys) == [f"ordered {ADA} command=restart"]
        assert rig.counters == {"frames": 1, "ordered": 1}

    @pytest.mark.parametrize(
        ("kind", "event", "reason"),
        [
            (message.REFUSED, "refused", "is over the granter's limits"),
            (message.FAILED, "failed", "cannot run"),
        ],
    )
    def test_that_do_not_run_are_reported(
        self, rig: Rig, capsys: Capture, kind: int, event: str, reason: str
    ) -> None:
        self.knock(rig)
        rig.answer(kind, 1)
        assert log(capsys) == [f'{event} {ADA} reason="command restart {reason}"']
        assert rig.counters == {"frames": 1, event: 1}

    def test_that_the_user_does_not_have_never_reach_the_granter(
        self, rig: Rig, capsys: Capture
    ) -> None:
        self.knock(rig, (*self.ARGV[:2], "sshd"))
        rig.users(user())
        self.knock(rig)
        assert rig.asked() == []
        assert log(capsys) == [
            f'refused {ADA} reason="the command is none of the user\'s commands"',
            f'refused {ADA} reason="commands are not allowed"',
        ]


class TestRevoking:
    @pytest.mark.parametrize(
        ("request_", "wanted"),
        [
            ("revoke ada", Revoke(1, user="ada")),
            ("revoke 192.0.2.7", Revoke(1, address=HERE)),
            ("revoke", Revoke(1)),
            ("kill ada", Revoke(1, user="ada", sessions=True)),
        ],
    )
    def test_is_asked_of_the_granter_and_the_answer_told(
        self, rig: Rig, request_: str, wanted: Revoke
    ) -> None:
        assert rig.ask(request_) is None
        assert rig.asked() == [wanted]
        rig.answer(message.REVOKED, 1, grants=3, sessions=2)
        assert rig.control.answers == [{"grants": 3, "sessions": 2, "forgotten": False}]

    def test_that_fails_is_told(self, rig: Rig) -> None:
        rig.ask("revoke ada")
        rig.answer(message.FAILED, 1)
        assert rig.control.answers == [
            {"error": "the packet filter refused: see the log"}
        ]

    @pytest.mark.parametrize(
        "request_", ["sing", "revoke ../x", "revoke 224.0.0.1", "revoke a b", "kil x"]
    )
    def test_of_nonsense_is_not_asked_of_the_granter(
        self, rig: Rig, request_: str
    ) -> None:
        """Who would take it for a break of the rules, and leave."""
        assert rig.ask(request_) == {"error": "unknown request"}
        assert rig.asked() == []

    def test_waits_for_its_own_answer_among_those_of_grants(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.frames(sealed())
        rig.ask("revoke ada")
        rig.frames(sealed())
        assert [wanted.number for wanted in rig.asked()] == [1, 2, 3]
        rig.answer(message.GRANTED, 3)
        assert rig.control.answers == []
        rig.answer(message.REVOKED, 2, grants=1)
        rig.answer(message.GRANTED, 1)
        assert rig.control.answers == [{"grants": 1, "sessions": 0, "forgotten": False}]
        said = [line.split()[0] for line in log(capsys)]
        assert said == ["granted", "revoked", "granted"]


class TestPacketsOfFwknop:
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path, fwknop=True)
        made.users(user(), fwknop_user("fay"))
        yield made
        made.close()

    def test_are_asked_for_like_any_others(self, rig: Rig) -> None:
        rig.frames(packet(), sealed())
        assert rig.asked() == [
            GrantMessage(1, Grant(HERE, SSH), 15, "fay"),
            GrantMessage(2, Grant(HERE, SSH), 15, "ada"),
        ]

    def test_are_not_tried_where_nobody_wrote_so(self, tmp_path: Path) -> None:
        plain = Rig(tmp_path)
        plain.users(fwknop_user())
        plain.frames(packet())
        assert plain.asked() == []
        assert plain.counters == {"frames": 1, "not-ours": 1}
        plain.close()

    def test_with_several_ports_are_several_grants(self, rig: Rig) -> None:
        web = Port(6, 443)
        rig.users(fwknop_user("fay", ports=frozenset({SSH, web})))
        rig.frames(packet(ACCESS._replace(ports=((6, 22), (6, 443)))))
        assert rig.asked() == [
            GrantMessage(1, Grant(HERE, SSH), 15, "fay"),
            GrantMessage(2, Grant(HERE, web), 15, "fay"),
        ]

    def test_open_nothing_twice_in_whatever_spelling(
        self, rig: Rig, capsys: Capture
    ) -> None:
        """The security claim of ADR 0026, also without an HMAC."""
        bare = KEYS._replace(hmac=b"")
        rig.users(fwknop_user("fay", fwknop=(FwknopKey(bare), FwknopKey(KEYS))))
        message = ACCESS._replace(rand="7" * 16)
        first = seal(message, bare, bytes(8))
        assert len(first) % 4 != 2
        rig.frames(first)
        assert len(rig.asked()) == 1
        again = [first, first + b"=", first + b"==", b"U2FsdGVkX1" + first]
        again += [first[:-1] + bytes([first[-1] + 1]), first + b"\n", first + b"=AAA"]
        again += [seal(message, bare, b"other " + b"st"), seal(message, KEYS, bytes(8))]
        for payload in again:
            rig.frames(payload, source="198.51.100.9")
        assert rig.asked() == []
        assert rig.counters == {"frames": 10, "not-ours": 6, "replayed": 3}
        assert len(log(capsys)) == 3

    def test_that_are_late_are_stale(self, rig: Rig) -> None:
        for seconds in (-61, 61):
            rig.frames(packet(ACCESS._replace(time=NOW // 1000 + seconds)))
        rig.frames(packet(ACCESS._replace(time=NOW // 1000 - 60 + 1)))
        assert len(rig.asked()) == 1
        assert rig.counters["stale"] == 2

    def test_without_an_hmac_are_warned_of_at_each_start(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        rig = Rig(tmp_path, ready=False, fwknop=True)
        table = '[[key]]\nformat = "fwknop"\nkey = "k"\n'
        rig.write("fay.toml", table + "allow_unauthenticated = true\n")
        rig.write("gus.toml", TABLE)
        rig.begin()
        rig.hand_over(1)
        warning, ready = log(capsys)
        text = "a key of fay takes packets of fwknop without an HMAC"
        assert warning == f'warning text="{text}"'
        assert ready.startswith("ready users=2 ")
        rig.close()


class TestPacketsOfFwknopByOtherWays:
    WAYS = tuple(map(parse_transport, ("udp/any", "tcp/443", "http/80", "icmp")))

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path, fwknop=True, transports=self.WAYS)
        made.users(user(), fwknop_user("fay"))
        yield made
        made.close()

    def carried(self, *payloads: bytes) -> list[bytes]:
        """Return each of these payloads in one way, and the ways in turn."""
        ways: list[tuple[Callable[[bytes], bytes], int]] = [
            (lambda one: udp(one, port=53), 17),
            (lambda one: tcp(one, 443), 6),
            (lambda one: tcp(get(one)), 6),
            (icmp, 1),
        ]
        return [
            ipv4(way(one), protocol=protocol)
            for one, (way, protocol) in zip(payloads, cycle(ways), strict=False)
        ]

    def test_are_asked_for_like_those_to_the_knock_port(self, rig: Rig) -> None:
        rig.packets(*self.carried(*(packet() for _ in range(4))))
        assert rig.asked() == [
            GrantMessage(number, Grant(HERE, SSH), 15, "fay") for number in range(1, 5)
        ]
        rig.frames(packet(), sealed())
        assert len(rig.asked()) == 2

    def test_that_nobody_asked_for_open_nothing(self, tmp_path: Path) -> None:
        plain = Rig(tmp_path, fwknop=True)
        plain.users(fwknop_user())
        plain.packets(*self.carried(*(packet() for _ in range(4))))
        assert plain.asked() == []
        assert plain.counters == {"frames": 4, "not-ours": 4}
        plain.close()

    def test_native_datagrams_are_for_the_knock_port_alone(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.packets(*self.carried(*(sealed() for _ in range(4))))
        assert rig.asked() == []
        assert rig.counters == {"frames": 4, "not-ours": 4}
        assert log(capsys) == []

    def test_a_native_one_that_was_refused_is_none_there_either(
        self, rig: Rig, capsys: Capture
    ) -> None:
        one = sealed()
        rig.frames(one, one)
        rig.frames(one, source="198.51.100.9")
        told = log(capsys)
        counted = dict(rig.counters)
        rig.packets(*self.carried(*[one] * 4))
        assert log(capsys) == []
        assert rig.counters == {
            **counted,
            "frames": counted["frames"] + 4,
            "not-ours": counted.get("not-ours", 0) + 4,
        }
        assert told

    def test_the_same_packet_opens_once_by_whatever_way(
        self, rig: Rig, capsys: Capture
    ) -> None:
        one = packet()
        rig.packets(*self.carried(*[one] * 4))
        rig.frames(one, source="198.51.100.9")
        assert len(rig.asked()) == 1
        assert rig.counters == {"frames": 5, "duplicate": 3, "replayed": 1}
        assert len(log(capsys)) == 1

    def test_junk_there_is_counted_and_nothing_is_said(
        self, rig: Rig, capsys: Capture
    ) -> None:
        stranger = packet(ACCESS, KEYS._replace(hmac=b"other"))
        junk = [os.urandom(200), b"8" * 161, packet()[:-1], stranger]
        frames = [
            frame for one in junk for frame in self.carried(*[one] * len(self.WAYS))
        ]
        frames += [
            ipv4(tcp(one), protocol=6)
            for one in (
                packet(),
                b"",
                b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
                get(b"8" * 2000),
            )
        ]
        rig.packets(*frames)
        assert rig.asked() == []
        assert rig.counters == {"frames": 20, "not-ours": 20}
        assert log(capsys) == []


class TestTheWatchdog:
    @pytest.fixture
    def seconds(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Return a list with the monotonic time in it."""
        now = [1000.0]
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(listener_module, "time", clock)
        return now

    def test_hears_of_us_when_the_granter_has_answered(
        self, rig: Rig, seconds: list[float]
    ) -> None:
        rig.notifier.watchdog_seconds = 15.0
        rig.listener._pinged = seconds[0]
        seconds[0] += 14.9
        rig.listener._ping()
        assert rig.asked() == []
        seconds[0] += 0.1
        rig.listener._ping()
        rig.listener._ping()
        assert rig.asked() == [Ping(0)]
        assert rig.notifier.told == []
        rig.answer(message.PONG, 0)
        assert rig.notifier.told == ["WATCHDOG=1"]

    def test_hears_nothing_if_the_granter_hangs(
        self, rig: Rig, seconds: list[float]
    ) -> None:
        rig.notifier.watchdog_seconds = 15.0
        rig.listener._pinged = seconds[0]
        for _ in range(5):
            seconds[0] += 15
            rig.listener._ping()
        assert rig.asked() == [Ping(0)] * 5
        assert rig.notifier.told == []

    @pytest.mark.parametrize(
        ("unsynced", "every", "gone_by", "milliseconds"),
        [
            (False, None, 1e6, None),
            (True, None, 0, limits.SYNC_QUIET_MS),
            (False, 15.0, 0, 15_001),
            (False, 15.0, 14.999, 2),
            (False, 15.0, 99, 1),
            (True, 15.0, 0, limits.SYNC_QUIET_MS),
            (True, 15.0, 14.999, 2),
        ],
    )
    def test_and_the_store_are_all_that_a_sleep_ends_for(
        self,
        rig: Rig,
        seconds: list[float],
        unsynced: bool,
        every: float | None,
        gone_by: float,
        milliseconds: int | None,
    ) -> None:
        """Idle and without them, poll(2) has no timeout at all."""
        rig.store.unsynced = unsynced
        rig.notifier.watchdog_seconds = every
        rig.listener._pinged = seconds[0]
        seconds[0] += gone_by
        left = rig.listener._until_next()
        # A float is not exact.
        assert left in ({milliseconds, (milliseconds or 0) - 1} if left else {None})

    def test_that_nobody_waits_for_is_not_fed(
        self, rig: Rig, seconds: list[float]
    ) -> None:
        seconds[0] += 1e6
        rig.listener._ping()
        assert rig.asked() == []


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
        rig.widths(Width.ADDRESS)
        assert rig.ask("status")["ready"] is False
        (wanted,) = rig.asked()
        assert rig.notifier.told == []
        rig.hand_over(wanted.number)
        assert log(capsys) == [
            "ready users=1 knock_port=udp/62201 interfaces=any protect=nothing"
        ]
        assert rig.notifier.told == ["READY=1"]
        assert rig.ask("status")["ready"] is True
        assert rig.ask("status")["users"] == 1

    def test_are_there_before_a_frame_is_looked_at(self, rig: Rig) -> None:
        """Those of a file are there once: they must not be judged too early."""
        rig.begin()
        rig.widths(Width.ADDRESS)
        rig.answer(message.MAIN_FILE, 1)
        rig.capture.put(sealed())
        assert not rig.is_listening
        rig.answer(message.USERS_END, 1)
        assert rig.is_listening

    def test_of_the_configuration_file_are_taken_over_as_well(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.main_file.write_text("[users.eve]\n" + in_main("eve", 2))
        rig.main_file.chmod(0o600)
        rig.write("ada.toml", key_table(1))
        rig.begin()
        rig.hand_over(1)
        assert sorted(rig.listener._opener.users.by_name) == ["ada", "eve"]
        assert log(capsys)[-1].startswith("ready users=2")

    def test_are_nobody_until_then(self, rig: Rig) -> None:
        rig.frames(sealed())
        assert rig.counters == {"frames": 1, "unauthentic": 1}
        assert rig.asked() == []

    def test_are_taken_over_anew_at_a_signal(self, rig: Rig, capsys: Capture) -> None:
        rig.begin()
        rig.hand_over(1)
        rig.asked()
        rig.listener._read_signals(bytes([signal.SIGHUP]))
        (wanted,) = rig.asked()
        rig.write("ada.toml", key_table(1))
        rig.hand_over(wanted.number)
        assert log(capsys)[-1] == "reloaded users=1"
        assert rig.notifier.told == ["READY=1"]

    def test_who_is_gone_is_unknown_also_by_a_recorded_packet(self, rig: Rig) -> None:
        rig.begin()
        rig.users(user())
        recorded = sealed(access(time=0))
        rig.frames(recorded, recorded)
        assert rig.counters["stale"] == 2
        rig.listener._read_signals(bytes([signal.SIGHUP]))
        rig.hand_over(rig.asked()[-1].number)
        assert not rig.listener._opener.users.by_name
        rig.frames(recorded)
        assert rig.counters["stale"] == 2
        assert rig.counters["unauthentic"] == 1

    def test_are_taken_over_anew_at_the_verb_which_is_told_the_errors(
        self, rig: Rig
    ) -> None:
        rig.write("ada.toml", "nonsense")
        assert rig.ask("reload") is None
        (wanted,) = rig.asked()
        rig.hand_over(wanted.number)
        (reply,) = rig.control.answers
        (error,) = reply["errors"]
        assert error["error"].startswith(f"{rig.users_dir}/ada.toml:1: not valid")
        assert error["hint"]

    def test_stay_when_their_directory_is_gone_and_the_verb_is_told(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.write("ada.toml", key_table(1))
        rig.begin()
        rig.hand_over(1)
        assert rig.ask("reload") is None
        rig.answer(message.NO_USERS_DIR, 2)
        rig.answer(message.USERS_END, 2)
        (reply,) = rig.control.answers
        assert [one["error"] for one in reply["errors"]] == [
            f"{rig.users_dir}: cannot be opened"
        ]
        assert log(capsys)[-1] == "reloaded users=1"


def test_all_answers_that_may_be_on_their_way_are_read_in_one_turn(rig: Rig) -> None:
    """Else a burst of frames would keep the granter waiting. Frames come first then."""
    most = limits.MAX_OUTSTANDING_GRANTS
    count = most + 2
    rig.frames(*(sealed() for _ in range(count)))
    for number in range(1, count + 1):
        rig.granter.send(encode_answer(Answer(message.GRANTED, number)))
    rig.listener._read_granter()
    assert rig.counters["granted"] == most
    rig.listener._read_granter()
    assert rig.counters["granted"] == count


def test_the_state_is_told(rig: Rig) -> None:
    rig.frames(sealed())
    assert rig.ask("status") == {
        "ready": False,
        "pid": os.getpid(),
        "users": 1,
        "widths": ["flow", "once", "address"],
        "counters": {"frames": 1},
        "remembered": 1,
        "store_problem": "",
        "gpg": True,
        "capture_drops": 3,
    }


class TestTheLoop:
    """In a child, because it takes the signals over."""

    @staticmethod
    def make_ready(rig: Rig) -> None:
        """Have the granter's first answers wait for the listener."""
        for answer in (
            Answer(message.READY, 0, widths=frozenset({Width.ADDRESS})),
            Answer(message.USERS_END, 1),
        ):
            rig.granter.send(encode_answer(answer))
        # The users that are there stay: nobody has handed any file over.
        rig.listener._reload.end = lambda _, before: before  # type: ignore[assignment, method-assign]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_at_a_signal(self, rig: Rig, number: int) -> None:
        def work() -> list[str]:
            def frames() -> Iterator[bytes]:
                os.kill(os.getpid(), number)
                return iter(())

            self.make_ready(rig)
            rig.capture.frames = frames  # type: ignore[method-assign]
            rig.capture.put()
            assert not rig.listener.serve(), "it may be started again"
            return rig.notifier.told

        assert in_child(work) == ["READY=1", "STOPPING=1"]

    def test_a_second_signal_finds_no_socket_that_is_closed(self, rig: Rig) -> None:
        """It would be a traceback on standard error."""

        def work() -> int:
            def frames() -> Iterator[bytes]:
                os.kill(os.getpid(), signal.SIGTERM)
                return iter(())

            self.make_ready(rig)
            rig.capture.frames = frames  # type: ignore[method-assign]
            rig.capture.put()
            rig.listener.serve()
            return signal.set_wakeup_fd(-1)

        assert in_child(work) == -1

    def test_ends_at_the_verb(self, rig: Rig) -> None:
        def work() -> list[object]:
            def frames() -> Iterator[bytes]:
                rig.ask("stop")
                return iter(())

            self.make_ready(rig)
            rig.capture.frames = frames  # type: ignore[method-assign]
            rig.capture.put()
            rig.control.answers = Kept()
            assert rig.listener.serve(), "it is to stay away"
            return [*rig.control.answers]

        assert in_child(work) == [{}]

    def test_grants_and_ends_when_the_granter_leaves(self, rig: Rig) -> None:
        def work() -> list[type]:
            self.make_ready(rig)
            rig.capture.put(sealed())
            read = rig.listener._read_frames

            def leave_then_read(capture: CaptureFile) -> None:
                read(capture)
                rig.granter.shutdown(socket.SHUT_WR)

            rig.listener._read_frames = leave_then_read  # type: ignore[assignment, method-assign]
            with pytest.raises(listener_module.GranterGoneError):
                rig.listener.serve()
            return [type(wanted) for wanted in rig.asked()]

        # The users first: until it hears that, the granter does not touch the firewall.
        assert in_child(work) == [ListUsers, GrantMessage]

    def test_syncs_what_it_accepted(self, rig: Rig) -> None:
        def work() -> bool:
            self.make_ready(rig)
            rig.capture.put(sealed())

            def sync() -> None:
                rig.listener._stopping = True

            rig.store.sync = sync  # type: ignore[method-assign]
            rig.listener.serve()
            return len(rig.asked()) == 2

        assert in_child(work)

    def test_sleeps_without_an_end_when_there_is_nothing_to_do(self, rig: Rig) -> None:
        def work() -> list[int | None]:
            self.make_ready(rig)
            poll = RecordingPoll(rig.poll, rig.listener)
            rig.listener._poll = cast(select.poll, poll)
            rig.listener.serve()
            return poll.timeouts

        assert in_child(work) == [None, None]

    def test_waits_for_no_frame_before_there_are_users(self, rig: Rig) -> None:
        def work() -> tuple[int, bool]:
            self.make_ready(rig)
            poll = RecordingPoll(rig.poll, rig.listener)
            rig.listener._poll = cast(select.poll, poll)
            rig.listener.serve()
            return len(poll.early), rig.is_listening

        # Signals, the granter and the helper; the capture in the end.
        assert in_child(work) == (3, True)

    def test_wakes_up_for_the_watchdog_and_feeds_it_when_the_granter_answers(
        self, rig: Rig
    ) -> None:
        def work() -> tuple[list[str], list[type]]:
            def told(state: str) -> None:
                rig.notifier.told.append(state)
                if state == "WATCHDOG=1":
                    rig.listener._stopping = True

            def ping() -> None:
                ask()
                # The other end answers what it was asked.
                for wanted in rig.asked():
                    asked.append(type(wanted))
                    if isinstance(wanted, Ping):
                        answer = Answer(message.PONG, wanted.number)
                        rig.granter.send(encode_answer(answer))

            asked: list[type] = []
            self.make_ready(rig)
            rig.notifier.watchdog_seconds = 0.01
            rig.notifier.send = told  # type: ignore[method-assign]
            ask = rig.listener._ping
            rig.listener._ping = ping  # type: ignore[method-assign]
            rig.listener.serve()
            return rig.notifier.told, asked[:2]

        told, asked = in_child(work)
        assert told == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
        assert asked == [ListUsers, Ping]


class Kept(list[object]):
    """Answers of the daemon that are looked at later."""

    def pop(self, *_: object) -> object:
        return self[-1]


class RecordingPoll:
    """A poll that ends the loop where it would sleep for ever."""

    def __init__(self, poll: select.poll, loop: listener_module.Listener) -> None:
        self._poll = poll
        self._loop = loop
        self.timeouts: list[int | None] = []
        self.early: list[int] = []
        """What was waited for before there were users."""

    def poll(self, timeout: int | None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        ready = self._poll.poll(0)
        if not ready:
            self._loop._stopping = True
        return ready

    def register(self, fd: int, events: int) -> None:
        if not self._loop._ready:
            self.early.append(fd)
        self._poll.register(fd, events)


class TestAFileOfPackets:
    @staticmethod
    def give(rig: Rig, tmp_path: Path, *packets: bytes, cut: int = 0) -> None:
        """Have the listener read a file of these packets instead of the network."""
        path = tmp_path / "packets.pcap"
        frames = (ipv4(udp(packet)) for packet in packets)
        records = b"".join(pcap_record(frame, NOW) for frame in frames)
        # The number that a file has for it, see pcap-linktype(7).
        path.write_bytes((pcap_header(101) + records)[: -cut or None])
        capture = CaptureFile(str(path), PORT)
        assert capture.link in {*DLT_RAW, 101}
        rig.listener._captures = {capture.fileno(): capture}
        rig.listener._world = rig.listener._world._replace(knock_port=PORT)

    @staticmethod
    def turn(rig: Rig) -> bool:
        """Do what one turn of the loop does with captures; tell whether to go on."""
        for fd, _ in rig.poll.poll(0):
            rig.listener._read_frames(rig.listener._captures[fd])
        rig.listener._end_with_files()
        return not rig.listener._stopping

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path, ready=False)
        made.write(
            "ada.toml",
            f'[[key]]\npublic = "{encode_key(PUBLIC, CLIENT)}"\n'
            f'psk = "{encode_key(PSK, CLIENT_PSK)}"\n',
        )
        yield made
        made.close()

    def begin(self, rig: Rig) -> None:
        rig.begin()
        rig.widths(Width.ADDRESS)
        assert self.turn(rig)
        assert rig.asked() == [ListUsers(1)]
        rig.hand_over(1)

    def test_ends_the_daemon_when_every_answer_is_there(
        self, rig: Rig, tmp_path: Path, capsys: Capture
    ) -> None:
        self.give(rig, tmp_path, sealed(), sealed(access(port=80)), sealed())
        self.begin(rig)
        while rig.listener._captures:
            assert self.turn(rig)
        assert [wanted.number for wanted in rig.asked()] == [1, 2]
        rig.answer(message.GRANTED, 2)
        assert self.turn(rig)
        rig.answer(message.FAILED, 1)
        assert not self.turn(rig)
        events = [line.partition(" ")[0] for line in log(capsys)]
        assert events == ["ready", "refused", "granted", "failed"]

    def test_that_is_empty_ends_the_daemon_at_once_but_not_before_it_is_ready(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        self.give(rig, tmp_path)
        self.begin(rig)
        assert not self.turn(rig)

    def test_has_no_say_while_a_revocation_waits_for_its_answer(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        self.give(rig, tmp_path)
        self.begin(rig)
        rig.ask("revoke ada")
        assert self.turn(rig)
        rig.answer(message.REVOKED, 1)
        assert not self.turn(rig)

    def test_that_is_damaged_is_read_up_to_there_and_its_answers_are_awaited(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        self.give(rig, tmp_path, sealed(), sealed(), cut=10)
        self.begin(rig)
        while rig.listener._captures:
            assert self.turn(rig)
        assert [wanted.number for wanted in rig.asked()] == [1]
        assert self.turn(rig)
        rig.answer(message.GRANTED, 1)
        assert not self.turn(rig)

    def test_that_is_damaged_ends_the_daemon_with_an_error_when_all_is_done(
        self, tmp_path: Path
    ) -> None:
        rig = Rig(tmp_path)
        self.give(rig, tmp_path, sealed(), sealed(), cut=10)

        def work() -> list[str]:
            def read_then_answer(capture: CaptureFile) -> None:
                read(capture)
                rig.granter.send(encode_answer(Answer(message.GRANTED, 1)))

            read = rig.listener._read_frames
            rig.listener._read_frames = read_then_answer  # type: ignore[assignment, method-assign]
            TestTheLoop.make_ready(rig)
            with pytest.raises(CaptureError, match="truncated"):
                rig.listener.serve()
            return rig.notifier.told

        assert in_child(work) == ["READY=1", "STOPPING=1"]
        rig.close()

    def test_does_not_keep_the_loop_awake_once_it_is_read(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        self.give(rig, tmp_path, sealed())
        self.begin(rig)
        while rig.listener._captures:
            self.turn(rig)
        assert rig.poll.poll(0) == []

    def test_is_not_awaited_where_the_network_is_listened_to(self, rig: Rig) -> None:
        rig.listener._end_with_files()
        assert not rig.listener._stopping


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
    (tmp_path / "spasshd.toml").write_text("[users.fay]\n" + in_main("fay", 3))
    (tmp_path / "spasshd.toml").chmod(0o600)
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
        sealed(access(source_port=SOURCE_PORT)),
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
    assert result["users"] == 3
    assert result["counters"] == {
        "frames": 10,
        "granted": 2,
        "malformed": 1,
        "not-ours": 2,
        "refused": 1,
        "replayed": 1,
        "stale": 1,
        "unauthentic": 2,
    }


class TestSignedRequests:
    """The helper has its say before the granter hears of anything."""

    SIGNER = "AB" * 20

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path)
        made.users(user(gnupg=frozenset({self.SIGNER})))
        made.poll.register(made.listener._helper, select.POLLIN)
        yield made
        made.close()

    def question(self, rig: Rig) -> Question:
        return decode_question(rig.helper.recv(QUESTION_SIZE))

    def answer(self, rig: Rig, answer: helper_message.Answer) -> None:
        rig.helper.send(helper_message.encode_answer(answer))
        rig.listener._read(rig.listener._helper)

    def good(self, packet: bytes, number: int) -> helper_message.Answer:
        text = encode_text(access(), SERVER.public, packet[4:36])
        return helper_message.Answer(
            number, Verdict.GOOD, NOW // 1000, self.SIGNER, text
        )

    def test_are_granted_when_the_signature_is_good(
        self, rig: Rig, capsys: Capture
    ) -> None:
        packet = sealed_message(b"openpgp")
        rig.frames(packet)
        question = self.question(rig)
        assert question.message == b"openpgp"
        assert rig.asked() == []
        self.answer(rig, self.good(packet, question.number))
        (wanted,) = rig.asked()
        assert isinstance(wanted, GrantMessage)
        assert (wanted.user, wanted.grant.address) == ("ada", HERE)
        assert log(capsys) == []

    def test_are_refused_when_it_is_not(self, rig: Rig, capsys: Capture) -> None:
        rig.frames(sealed_message())
        number = self.question(rig).number
        self.answer(rig, helper_message.Answer(number, Verdict.UNSIGNED))
        assert rig.asked() == []
        assert log(capsys) == [
            f'refused user=ada address=192.0.2.7 reason="{REASONS[Verdict.UNSIGNED]}"'
        ]
        assert rig.counters["refused"] == 1

    @pytest.mark.parametrize("request_", ["revoke", "revoke ada", "revoke 192.0.2.7"])
    def test_that_were_revoked_are_not_granted_afterwards(
        self, rig: Rig, request_: str
    ) -> None:
        packet = sealed_message()
        rig.frames(packet)
        number = self.question(rig).number
        rig.ask(request_)
        self.answer(rig, self.good(packet, number))
        assert [type(one) for one in rig.asked()] == [Revoke]

    @pytest.mark.parametrize("request_", ["revoke bob", "revoke 192.0.2.8"])
    def test_that_others_revoke_are_granted(self, rig: Rig, request_: str) -> None:
        packet = sealed_message()
        rig.frames(packet)
        number = self.question(rig).number
        rig.ask(request_)
        self.answer(rig, self.good(packet, number))
        assert [type(one) for one in rig.asked()] == [Revoke, GrantMessage]

    def test_of_strangers_never_reach_the_helper(self, rig: Rig) -> None:
        """Whatever they know but a user's secret key and psk."""
        rig.frames(
            sealed_message()[:-1],
            sealed_message(psk=bytes(32)),
            os.urandom(1200),
            sealed(secret=STRANGER_SECRET),
        )
        packet = sealed_message()
        rig.frames(packet)
        self.question(rig)
        rig.frames(packet, packet)
        with pytest.raises(BlockingIOError):
            rig.helper.recv(1)

    def test_do_not_keep_others_waiting(self, rig: Rig) -> None:
        rig.users(user("bob"), user(keys=(), gnupg=frozenset({self.SIGNER})))
        rig.frames(sealed())
        (wanted,) = rig.asked()
        assert isinstance(wanted, GrantMessage)

    def test_are_refused_when_the_helper_has_gone(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.frames(sealed_message())
        rig.helper.close()
        rig.listener._read(rig.listener._helper)
        rig.frames(sealed_message())
        assert log(capsys) == [
            'refused user=ada address=192.0.2.7 reason="gpg does not work here"',
            "error: gnupg: the helper has ended: signed requests are refused",
            "hint: see above why, and restart spasshd",
            'refused user=ada address=192.0.2.7 reason="gpg does not run here"',
        ]
        # Nobody is woken up by it again.
        with pytest.raises(FileNotFoundError):
            rig.poll.modify(rig.listener._helper, select.POLLIN)

    def test_are_granted_by_a_helper_that_has_begun_anew(
        self, rig: Rig, capsys: Capture
    ) -> None:
        rig.frames(sealed_message())
        lost = helper_message.Answer(helper_message.LOST, Verdict.FAILED)
        self.answer(rig, lost)
        assert log(capsys) == [
            'refused user=ada address=192.0.2.7 reason="gpg does not work here"'
        ]
        self.question(rig)
        packet = sealed_message()
        rig.frames(packet)
        self.answer(rig, self.good(packet, self.question(rig).number))
        assert [type(one) for one in rig.asked()] == [GrantMessage]

    def test_over_the_users_share_are_refused(self, rig: Rig, capsys: Capture) -> None:
        for _ in range(limits.SIGNED_BURST + 1):
            rig.frames(sealed_message())
        assert log(capsys) == [
            'refused user=ada address=192.0.2.7 reason="too many signed requests"'
        ]

    def test_that_find_no_room_are_counted(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signatures, "MAX_WAITING_MESSAGES", 0)
        rig.frames(sealed_message())
        assert rig.counters["busy"] == 1


class TestPacketsOfFwknopByGnupg:
    """As signed requests, but nobody knows what is in them before gpg does."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        made = Rig(tmp_path, fwknop=True)
        lax = UNAUTHENTICATED._replace(signers=frozenset({OTHER_SIGNER}))
        made.users(gnupg_user(), gnupg_user("bob", fwknop_gnupg=(lax,)))
        made.poll.register(made.listener._helper, select.POLLIN)
        yield made
        made.close()

    def numbers(self, rig: Rig) -> list[int]:
        """Return the numbers of what the helper is asked."""
        found = []
        with suppress(BlockingIOError):
            while True:
                question = decode_question(rig.helper.recv(QUESTION_SIZE))
                assert question.message.startswith(b"\x85\x01\x0c\x03")
                found.append(question.number)
        return found

    def answer(self, rig: Rig, number: int, signed: bytes, signer: str) -> None:
        good = helper_message.Answer(number, Verdict.GOOD, NOW // 1000, signer, signed)
        rig.helper.send(helper_message.encode_answer(good))
        rig.listener._read(rig.listener._helper)

    def granted(self, rig: Rig) -> list[str]:
        return [one.user for one in rig.asked() if isinstance(one, GrantMessage)]

    def test_are_granted_when_the_signature_is_good(self, rig: Rig) -> None:
        for hmac, signer, name in (
            (BY_GNUPG.hmac, SIGNER, "ada"),
            (Hmac(), OTHER_SIGNER, "bob"),
        ):
            rig.frames(gnupg_packet(hmac))
            (number,) = self.numbers(rig)
            assert self.granted(rig) == []
            self.answer(rig, number, signed_text(), signer)
            assert self.granted(rig) == [name]

    def test_come_by_other_ways_where_they_are_wanted(self, tmp_path: Path) -> None:
        where = tmp_path / "others"
        where.mkdir()
        rig = Rig(where, fwknop=True, transports=(parse_transport("http/80"),))
        rig.users(gnupg_user())
        rig.packets(ipv4(tcp(get(gnupg_packet())), protocol=6))
        assert len(self.numbers(rig)) == 1
        rig.close()

    def test_of_strangers_never_reach_the_helper(self, rig: Rig) -> None:
        """The HMAC comes before gpg is started."""
        rig.users(gnupg_user())
        packet = gnupg_packet()
        for bit in range(0, 8 * len(packet), 41):
            changed = bytearray(packet)
            changed[bit // 8] ^= 1 << bit % 8
            rig.frames(bytes(changed))
        rig.frames(gnupg_packet(Hmac(b"other")), gnupg_packet(Hmac()))
        for size in range(0, len(packet), 97):
            rig.frames(packet[:size])
        assert self.numbers(rig) == []
        assert set(rig.counters) == {"frames", "not-ours"}

    def test_are_not_tried_where_nobody_has_such_keys(self, rig: Rig) -> None:
        rig.users(user(), fwknop_user())
        rig.frames(gnupg_packet(), gnupg_packet(Hmac()))
        assert self.numbers(rig) == []

    def test_that_are_sent_again_never_reach_the_helper(
        self, rig: Rig, capsys: Capture
    ) -> None:
        """Else whoever has recorded one could use up what its user may ask."""
        packet = gnupg_packet()
        rig.frames(packet)
        (number,) = self.numbers(rig)
        for _ in range(2 * limits.SIGNED_BURST):
            rig.frames(packet)
        rig.frames(packet, source="198.51.100.9")
        assert self.numbers(rig) == []
        assert log(capsys) == [
            'replayed user=ada address=198.51.100.9 reason="seen before"'
        ]
        assert rig.counters["duplicate"] == 2 * limits.SIGNED_BURST
        self.answer(rig, number, signed_text(), SIGNER)
        rig.frames(packet)
        assert self.granted(rig) == ["ada"]

    def test_that_others_were_faster_with_are_granted_all_the_same(
        self, rig: Rig
    ) -> None:
        """Who copies a message, and not its HMAC, must not use it up."""
        theirs = BY_GNUPG._replace(hmac=Hmac(b"eve's"))
        rig.users(
            gnupg_user(),
            gnupg_user("bob", fwknop_gnupg=(UNAUTHENTICATED,)),
            gnupg_user("eve", fwknop_gnupg=(theirs,)),
        )
        packet = gnupg_packet()
        bare = packet[: -len(DIGESTS["sha256"].hash(b""))]
        again = enclose(unpadded.decode(b"hQ" + bare), theirs.hmac)
        rig.frames(bare, again, source="198.51.100.9")
        rig.frames(packet)
        *_, number = self.numbers(rig)
        self.answer(rig, number, signed_text(), SIGNER)
        assert self.granted(rig) == ["ada"]

    def test_are_granted_once_in_whatever_message(
        self, rig: Rig, capsys: Capture
    ) -> None:
        signed = signed_text()
        for source in ("192.0.2.7", "198.51.100.9"):
            rig.frames(gnupg_packet(), source=source)
            (number,) = self.numbers(rig)
            self.answer(rig, number, signed, SIGNER)
        assert self.granted(rig) == ["ada"]
        assert log(capsys) == [
            'replayed user=ada address=198.51.100.9 reason="accepted before"'
        ]

    def test_without_an_hmac_share_what_one_user_may_ask(
        self, rig: Rig, capsys: Capture
    ) -> None:
        """However many users need none, strangers start gpg three times a second."""
        lax = UNAUTHENTICATED
        rig.users(gnupg_user(), gnupg_user("bob", fwknop_gnupg=(lax,)))
        for _ in range(limits.SIGNED_BURST + 1):
            rig.frames(gnupg_packet(Hmac()))
        assert log(capsys) == [
            'refused user=? address=192.0.2.7 reason="too many signed requests"'
        ]
        # Who has an HMAC does not wait behind them.
        rig.frames(gnupg_packet())
        asked = set(self.numbers(rig))
        for number in asked:
            rig.helper.send(
                helper_message.encode_answer(
                    helper_message.Answer(number, Verdict.MALFORMED)
                )
            )
            rig.listener._read(rig.listener._helper)
        assert rig.listener._signatures._waiting.waiting("ada") == 0

    def test_over_a_users_share_of_requests_are_refused(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        monkeypatch.setattr(rig.listener._world.quota, "take", lambda *_: False)
        rig.frames(gnupg_packet())
        assert self.numbers(rig) == []
        assert log(capsys) == [
            'refused user=ada address=192.0.2.7 reason="too many requests"'
        ]

    @pytest.mark.parametrize("request_", ["revoke", "revoke ada", "revoke 192.0.2.7"])
    def test_that_were_revoked_are_not_granted_afterwards(
        self, rig: Rig, request_: str
    ) -> None:
        rig.frames(gnupg_packet())
        (number,) = self.numbers(rig)
        rig.ask(request_)
        self.answer(rig, number, signed_text(), SIGNER)
        assert self.granted(rig) == []


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
