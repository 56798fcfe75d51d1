"""What is said of a packet, and that it is what the daemon would do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from unit.server.frames import PORT, ethernet, ipv4, udp
from unit.server.fwknop_parties import (
    ACCESS,
    KEYS,
    UNAUTHENTICATED,
    fwknop_user,
    gnupg_packet,
    gnupg_user,
    packet,
)
from unit.server.parties import (
    CLIENT_PSK,
    CLIENT_SECRET,
    HERE,
    NOW,
    SERVER,
    SSH,
    STRANGER_SECRET,
    THERE,
    access,
    datagram,
    opened,
    sealed,
    sealed_message,
    user,
)

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import PacketError
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.limits import WINDOW_MS
from spassh.protocol.packet import Gate
from spassh.protocol.request import Request, encode
from spassh_server.commands import Command
from spassh_server.datagram import DLT_ETHERNET, Datagram
from spassh_server.envelope import Envelope
from spassh_server.explain import Scene, Step, explain, utc
from spassh_server.firewall import Width
from spassh_server.fwknop_keys import FwknopKey
from spassh_server.openers.native import NativeOpener
from spassh_server.pipeline import World, consider
from spassh_server.policy import Approval, Order, rules
from spassh_server.ports import Port
from spassh_server.quota import RequestQuota
from spassh_server.repeats import Repeats
from spassh_server.replay import ReplayMemory
from spassh_server.seen import SeenMessages
from spassh_server.users import Users

OTHER_SERVER = PrivateKey(bytes(32)).public
EVERY_WIDTH = frozenset(Width)
UPTIME = Command("uptime", ("/usr/bin/uptime", "-p"), (), "nobody", 10)


FAILS = "handshake does not authenticate"


def scene(problem: str = "", **changes: Any) -> Scene:
    users = Users([user(**changes)])
    return Scene(SERVER, users, ReplayMemory(9, 0), EVERY_WIDTH, "nftables", problem)


def steps(
    payload: bytes, place: Scene | None = None, now: int = NOW, source_port: int = 7
) -> list[Step]:
    came = Datagram(HERE, source_port, payload)
    return list(explain(came, now, place or scene()))


def last(
    payload: bytes, place: Scene | None = None, now: int = NOW
) -> tuple[str, bool, str]:
    """Return the last step; all that come before it are passed."""
    *before, end = steps(payload, place, now)
    assert all(step.passed for step in before)
    return end


def test_every_step_of_a_genuine_packet_is_told() -> None:
    request = access(time=NOW - 1500, lifetime=10, source_port=7)
    kept = list(rules(opened(request), datagram(HERE, 7), NOW))
    assert len(kept) > 5
    assert steps(sealed(request)) == [
        Step("datagram", True, "192 bytes from 192.0.2.7, source port 7"),
        Step("gate", True, "size, mac and tag are right: it is for this server"),
        Step("handshake", True, "made by ada, with key 1 of 1"),
        Step(
            "request",
            True,
            "open tcp/22 for where it comes from, for 10 s, from source port 7",
        ),
        Step("replay", True, "not accepted before"),
        Step("time", True, "made 2025-12-31 23:59:58.500 UTC, 1.500 s ago"),
        *(Step("policy", True, demand) for _, demand, _ in kept),
        Step(
            "grant",
            True,
            "192.0.2.7 may reach tcp/22 for 10 s, from source port 7 (width flow),"
            " by nftables",
        ),
    ]


def flipped(payload: bytes, at: int) -> bytes:
    return payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]


def with_right_mac(payload: bytes) -> bytes:
    return payload[:-16] + Gate(SERVER.public).mac(payload[:-16])


def with_wrong_tag() -> bytes:
    return with_right_mac(flipped(sealed(), 0))


@pytest.mark.parametrize(
    ("payload", "name", "text"),
    [
        (bytes(191), "gate", "wrong size: a packet of ours has 192 or 1200 bytes"),
        (
            sealed(server=OTHER_SERVER),
            "gate",
            "wrong mac: made for another server's key, or changed on the way",
        ),
        (
            with_wrong_tag(),
            "gate",
            "wrong tag: made for another server's key, or changed on the way",
        ),
        (sealed(secret=STRANGER_SECRET), "handshake", "unknown client key"),
        (
            with_right_mac(flipped(sealed(), 40)),
            "handshake",
            FAILS,
        ),
        (
            sealed(psk=bytes(32)),
            "handshake",
            f"{FAILS}: ada has another psk here, or it was changed",
        ),
    ],
    ids=["size", "mac", "tag", "stranger", "changed", "psk"],
)
def test_what_is_wrong_with_a_packet_is_told(
    payload: bytes, name: str, text: str
) -> None:
    assert last(payload) == (name, False, text)


def test_a_payload_that_breaks_a_rule_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from spassh.protocol import packet

    wrong = b"\x09" + encode(access())[1:]
    monkeypatch.setattr(packet, "encode", lambda _: wrong)
    assert last(sealed()) == (
        "request",
        False,
        "breaks a rule of the protocol: version",
    )


def test_a_packet_is_granted_once() -> None:
    place, payload = scene(), sealed()
    assert last(payload, place)[0] == "grant"
    assert last(payload, place) == ("replay", False, "accepted before")


def test_a_wrong_clock_is_told() -> None:
    late = NOW + WINDOW_MS + 1000
    assert last(sealed(), now=late) == (
        "time",
        False,
        "its clock is 61 s behind: made 2026-01-01 00:00:00.000 UTC",
    )
    ahead = steps(sealed(), now=NOW - 250)
    assert Step("time", True, f"made {utc(NOW)}, 0.250 s in the future") in ahead


@pytest.mark.parametrize(
    ("request_", "changes", "text"),
    [
        ({"port": 23}, {}, "tcp/23 is not in the user's ports"),
        ({}, {"expires": NOW}, "the user has expired"),
        (
            {},
            {"sources": ["198.51.100.0/24"]},
            "the packet's source is not in the user's sources",
        ),
        (
            {"address": THERE},
            {},
            "the address to allow is not the packet's source",
        ),
        (
            {"source_port": 8},
            {"widths": frozenset({Width.FLOW})},
            "a NAT rewrites ports: 8 became 7",
        ),
    ],
)
def test_the_rule_that_refuses_is_told(
    request_: dict[str, Any], changes: dict[str, Any], text: str
) -> None:
    assert last(sealed(access(**request_)), scene(**changes)) == ("policy", False, text)


@pytest.mark.parametrize(
    ("widths", "text"),
    [
        ({Width.ONCE}, "for 15 s, for one connection (width once), by nftables"),
        ({Width.ADDRESS}, "for 15 s (width address), by nftables"),
    ],
)
def test_what_would_be_granted_is_told(widths: set[Width], text: str) -> None:
    place = scene(widths=frozenset(widths))
    expected = f"192.0.2.7 may reach tcp/22 {text}"
    assert last(sealed(), place) == ("grant", True, expected)


def test_another_address_is_told() -> None:
    told = steps(sealed(access(address=THERE)), scene(any_address=True))
    assert told[3].text == "open tcp/22 for 198.51.100.9, for the usual time"
    assert told[-1].text.startswith("198.51.100.9 may reach tcp/22 for 15 s")


def test_a_command_is_told_so_that_it_does_nothing_to_a_terminal() -> None:
    request = Request(NOW, command=("/usr/bin/uptime", "-p"))
    told = steps(sealed(request), scene(commands=(UPTIME,)))
    assert told[3].text == "run '/usr/bin/uptime' '-p'"
    assert told[-1] == (
        "grant",
        True,
        "run uptime as nobody, for at most 10 s: '/usr/bin/uptime' '-p'",
    )
    evil = sealed(Request(NOW, command=("x", "\x1b[2J\nok  grant")))
    assert steps(evil)[3].text == r"run 'x' '\x1b[2J\nok  grant'"


def test_a_host_without_packet_filter_grants_nothing() -> None:
    place = scene(problem="no packet filter works here")
    assert last(sealed(), place) == ("firewall", False, "no packet filter works here")


def test_no_secret_is_told() -> None:
    payload = sealed()
    said = repr([steps(payload), steps(payload, scene(problem="none")), steps(b"")])
    for secret in (CLIENT_SECRET, CLIENT_PSK, PrivateKey(CLIENT_SECRET).public):
        assert secret.hex() not in said
        assert repr(secret) not in said


@pytest.mark.parametrize("moment", [0, NOW, NOW + 1, 1 << 45])
def test_a_time_is_told_exactly(moment: int) -> None:
    spelled = datetime.fromisoformat(utc(moment).removesuffix(" UTC") + "+00:00")
    first = datetime(1970, 1, 1, tzinfo=UTC)
    assert (spelled - first) // timedelta(milliseconds=1) == moment


def test_a_time_beyond_the_calendar_is_told_as_it_is() -> None:
    assert utc((1 << 63) - 1) == "9223372036854775807 ms after 1970"


PAYLOADS = [
    sealed(),
    sealed(access(port=23)),
    sealed(access(source_port=40_000)),
    sealed(access(address=THERE)),
    sealed(access(time=NOW - WINDOW_MS - 1)),
    sealed(access(time=NOW + WINDOW_MS)),
    sealed(Request(NOW, command=UPTIME.argv)),
    sealed(Request(NOW, command=("/bin/sh",))),
    sealed(secret=STRANGER_SECRET),
    sealed(psk=bytes(32)),
    sealed(server=OTHER_SERVER),
    with_wrong_tag(),
    bytes(192),
]
"""What is sent from port 40000."""


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"any_address": True, "commands": (UPTIME,)},
        {"sources": ["198.51.100.0/24"]},
        {"not_before": NOW + 1},
        {"widths": frozenset({Width.FLOW})},
    ],
)
def test_what_is_told_is_what_the_daemon_does(
    payload: bytes, changes: dict[str, Any]
) -> None:
    place = scene(**changes)
    world = World(
        PORT,
        Envelope([NativeOpener(SERVER, place.users)]),
        ReplayMemory(9, 0),
        Repeats(9),
        RequestQuota(9, 9),
        EVERY_WIDTH,
        SeenMessages(),
    )
    for _ in range(2):
        told = steps(payload, place, source_port=40_000)[-1]
        try:
            decision = consider(ethernet(ipv4(udp(payload))), DLT_ETHERNET, NOW, world)
        except PacketError:
            assert not told.passed
            continue
        assert (told.name == "grant") == isinstance(decision, Approval | Order)
        assert told.passed == (told.name == "grant")


def test_of_a_signed_request_the_signature_is_left_to_the_daemon() -> None:
    place = scene(gnupg=frozenset({"AB" * 20}))
    found = steps(sealed_message(b"openpgp"), place)
    assert Step("request", True, "an OpenPGP message of 7 bytes") in found
    text = "gpg is not asked here: see the log of spasshd"
    assert found[-1] == Step("signature", False, text)
    # It is remembered all the same, as the daemon does.
    assert last(sealed_message(b"x"), scene())[0] == "policy"


class TestAPacketOfFwknop:
    WEB = Port(6, 443)

    def place(self, *keys: FwknopKey, **changes: Any) -> Scene:
        keys = keys or (FwknopKey(KEYS),)
        users = Users([user("nat"), fwknop_user("ada", fwknop=keys, **changes)])
        return scene()._replace(users=users)

    def test_is_told_step_by_step(self) -> None:
        found = steps(
            packet(), self.place(FwknopKey(Keys(b"k", b"h")), FwknopKey(KEYS))
        )
        assert found[1:4] == [
            Step("gate", True, "it has the form of a packet of fwknop"),
            Step("handshake", True, "made by ada, with key 2 of 2"),
            Step(
                "request",
                True,
                "open tcp/22 for where it comes from, for the usual time",
            ),
        ]
        assert found[-1].name == "grant"

    def test_with_several_ports_has_a_step_for_each(self) -> None:
        message = ACCESS._replace(ports=((6, 22), (6, 443)))
        found = steps(packet(message), self.place(ports=frozenset({SSH, self.WEB})))
        assert [one.name for one in found].count("request") == 2
        assert [one.name for one in found[-2:]] == ["grant", "grant"]
        *_, refused = steps(packet(message), self.place())
        assert refused == ("policy", False, "tcp/443 is not in the user's ports")

    def test_of_a_stranger_fits_no_key(self) -> None:
        payload = packet(ACCESS, Keys(b"other", b"other"))
        what = "none of the 1 keys for packets of fwknop fits"
        assert last(payload, self.place()) == ("handshake", False, what)

    def test_with_another_encryption_key_is_told_from_that(self) -> None:
        payload = packet(ACCESS, KEYS._replace(encryption=b"other"))
        name, passed, text = last(payload, self.place())
        assert (name, passed) == ("handshake", False)
        assert text.endswith("its HMAC is right, and its encryption key is another")

    def test_that_breaks_a_rule_says_which(self) -> None:
        payload = packet(ACCESS._replace(type=0, ports=(), command="'"))
        what = "breaks a rule of fwknop's format: quotes of a command"
        assert last(payload, self.place()) == ("request", False, what)

    def test_by_gnupg_is_told_as_far_as_its_hmac(self) -> None:
        users = Users([gnupg_user(), fwknop_user("bob")])
        place = scene()._replace(users=users)
        found = steps(gnupg_packet(), place)
        assert found[1:] == [
            Step("gate", True, "it has the form of a packet of fwknop"),
            Step("handshake", True, "made by ada, with key 1 of 1"),
            Step("request", True, "an OpenPGP message of 604 bytes"),
            Step("signature", False, "gpg is not asked here: see the log of spasshd"),
        ]
        what = "none of the 2 keys for packets of fwknop fits"
        assert last(gnupg_packet(Hmac()), place) == ("handshake", False, what)

    def test_by_gnupg_without_an_hmac_is_anybodys(self) -> None:
        users = Users([gnupg_user(fwknop_gnupg=(UNAUTHENTICATED,))])
        found = steps(gnupg_packet(Hmac()), scene()._replace(users=users))
        what = "it has no HMAC that is known: only its signature can say whose it is"
        assert found[2] == Step("handshake", True, what)
        assert found[-1].name == "signature"

    def test_is_no_packet_where_nobody_has_a_key_for_it(self) -> None:
        assert last(packet())[0] == "gate"

    def test_that_came_by_another_way_says_so_and_is_never_native(self) -> None:
        place = self.place()
        for payload, passed in ((packet(), True), (sealed(), False), (b"GET /", False)):
            came = Datagram(HERE, 0, payload, "tcp/443")
            first, gate, *_ = explain(came, NOW, place)
            where = "from 192.0.2.7, source port 0, by tcp/443"
            assert first.text == f"{len(payload)} bytes {where}"
            form = "has the form" if passed else "has not the form"
            assert gate == Step("gate", passed, f"it {form} of a packet of fwknop")
