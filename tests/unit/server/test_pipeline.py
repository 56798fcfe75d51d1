import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from unit.server import frames
from unit.server.frames import LINKS, PORT, ethernet, ipv4, ipv6, udp
from unit.server.parties import (
    CLIENT_PSK,
    EVERY_WIDTH,
    HERE,
    HERE6,
    NOW,
    SERVER,
    SSH,
    STRANGER_SECRET,
    THERE,
    access,
    key,
    sealed,
    sealed_message,
    user,
)
from vectors.vector_file import NAMES, load

from spassh.protocol.errors import (
    NotOurs,
    PacketError,
    Replayed,
    Stale,
    Unauthentic,
)
from spassh.protocol.limits import WINDOW_MS
from spassh.protocol.request import Request
from spassh_server.commands import Command
from spassh_server.datagram import DLT_ETHERNET
from spassh_server.envelope import Envelope, Opened
from spassh_server.firewall import Grant, Width
from spassh_server.openers.native import NativeOpener
from spassh_server.pipeline import Decision, Pending, Rejected, World, consider
from spassh_server.policy import Approval, Order, Refusal
from spassh_server.quota import RequestQuota
from spassh_server.repeats import Repeats
from spassh_server.replay import IDENTITY_SIZE, Entry, ReplayMemory
from spassh_server.seen import SeenMessages
from spassh_server.store import ReplayStore
from spassh_server.users import User, UserKey, Users


class Watched(ReplayMemory):
    """A replay memory that tells how often it was asked."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, 0)
        self.asked: list[Entry] = []

    def admit(self, entry: Entry, source: bytes, now: int) -> None:
        self.asked.append(entry)
        super().admit(entry, source, now)


class Server:
    """A server with one user, and what it remembers."""

    def __init__(self, *who: User, burst: int = 100, capacity: int = 8) -> None:
        self.replay = Watched(capacity)
        self.opener = NativeOpener(SERVER, Users(list(who) or [user()]))
        quota = RequestQuota(burst, 1)
        self.world = World(
            PORT,
            Envelope([self.opener]),
            self.replay,
            Repeats(8),
            quota,
            EVERY_WIDTH,
            SeenMessages(),
        )

    def consider(
        self,
        payload: bytes,
        now: int = NOW,
        source: str = frames.SOURCE4,
        source_port: int = 40_000,
    ) -> Decision:
        wrap = ipv6 if ":" in source else ipv4
        inner = udp(payload, source_port=source_port)
        frame = ethernet(wrap(inner, source=source))
        return consider(frame, DLT_ETHERNET, now, self.world)


@pytest.fixture
def server() -> Server:
    return Server()


def test_a_good_packet_is_granted(server: Server) -> None:
    expected = Approval("ada", Grant(HERE, SSH), 15)
    assert expected == server.consider(sealed())
    assert len(server.replay) == 1


def test_a_good_packet_over_ipv6_is_granted(server: Server) -> None:
    expected = Approval("ada", Grant(HERE6, SSH), 15)
    assert expected == server.consider(sealed(), source=frames.SOURCE6)


@pytest.mark.parametrize("link", LINKS)
def test_a_good_packet_is_granted_from_every_link(server: Server, link: str) -> None:
    frame = LINKS[link].wrap(ipv4(udp(sealed())))
    decision = consider(frame, LINKS[link].number, NOW, server.world)
    assert isinstance(decision, Approval)


def test_the_same_packet_again_is_a_duplicate(server: Server) -> None:
    packet = sealed()
    server.consider(packet)
    decision = server.consider(packet)
    assert isinstance(decision, Rejected)
    assert decision.user == "ada"
    assert decision.source == HERE
    assert isinstance(decision.error, Replayed)
    assert decision.error.same_source


def test_the_same_packet_from_elsewhere_is_a_replay(server: Server) -> None:
    packet = sealed()
    server.consider(packet)
    decision = server.consider(packet, source="198.51.100.9")
    assert isinstance(decision, Rejected)
    assert decision.source == THERE
    assert isinstance(decision.error, Replayed)
    assert not decision.error.same_source


class Counting:
    """Counts how often a datagram is opened: each time is a key exchange."""

    def __init__(self, opener: NativeOpener) -> None:
        self.opener = opener
        self.opened = 0

    def open(self, payload: bytes) -> Opened:
        self.opened += 1
        return self.opener.open(payload)


@pytest.mark.parametrize("offset", [0, -WINDOW_MS - 1])
def test_a_recorded_packet_is_opened_for_the_first_replay_alone(
    server: Server, offset: int
) -> None:
    counting = Counting(server.opener)
    server.world = server.world._replace(envelope=Envelope([counting]))
    packet = sealed(access(time=NOW + offset))
    first = server.consider(packet, source="198.51.100.9")
    assert isinstance(first, Rejected) == bool(offset)
    once = [server.consider(packet) for _ in range(20)]
    assert counting.opened == (1 if offset else 2)
    assert all(isinstance(one, Rejected) and one.user == "ada" for one in once)
    assert len({str(one.error) for one in once if isinstance(one, Rejected)}) == 1


def test_what_was_too_early_is_accepted_in_its_time(server: Server) -> None:
    packet = sealed(access(time=NOW + 2 * WINDOW_MS))
    for _ in range(2):
        assert isinstance(server.consider(packet), Rejected)
    decision = server.consider(packet, now=NOW + 2 * WINDOW_MS)
    assert isinstance(decision, Approval)
    assert len(server.replay) == 1


def test_a_replay_from_elsewhere_is_told_from_a_duplicate(server: Server) -> None:
    packet = sealed()
    server.consider(packet)
    seen = [server.consider(packet, source=one) for one in ["198.51.100.9"] * 2]
    seen += [server.consider(packet) for _ in range(2)]
    errors = [one.error for one in seen if isinstance(one, Rejected)]
    assert [isinstance(error, Replayed) and error.same_source for error in errors] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("offset", [-WINDOW_MS - 1, WINDOW_MS + 1, -NOW])
def test_a_packet_outside_the_window_is_stale(server: Server, offset: int) -> None:
    decision = server.consider(sealed(access(time=NOW + offset)))
    assert isinstance(decision, Rejected)
    assert decision.user == "ada"
    assert isinstance(decision.error, Stale)
    assert len(server.replay) == 0


def test_a_packet_that_policy_refuses_is_refused_and_used_up(server: Server) -> None:
    packet = sealed(access(port=80))
    expected = Refusal("ada", HERE, "tcp/80 is not in the user's ports")
    assert expected == server.consider(packet)
    # PROTOCOL.md 6.3: else a change of the policy would arm it again.
    server.opener.users = Users([user(ports=frozenset({SSH._replace(number=80)}))])
    assert isinstance(server.consider(packet), Rejected)


def test_a_command_is_refused(server: Server) -> None:
    packet = sealed(Request(NOW, command=("reboot", "-f")))
    expected = Refusal("ada", HERE, "commands are not allowed")
    assert expected == server.consider(packet)


UPTIME = Command("uptime", ("/usr/bin/uptime",), (), "nobody", 30)


def test_a_command_of_the_user_is_ordered_once() -> None:
    server = Server(user(commands=(UPTIME,)))
    packet = sealed(Request(NOW, command=UPTIME.argv))
    assert server.consider(packet) == Order("ada", HERE, UPTIME, UPTIME.argv)
    assert isinstance(server.consider(packet), Rejected)


def test_a_flow_is_granted_if_the_packet_came_from_its_port(server: Server) -> None:
    flow = Approval("ada", Grant(HERE, SSH, Width.FLOW, 40_000), 15)
    request = access(source_port=40_000)
    assert server.consider(sealed(request)) == flow
    wide = Approval("ada", Grant(HERE, SSH), 15)
    assert server.consider(sealed(request), source_port=40_001) == wide


def test_the_packet_filter_has_the_last_word_about_widths(server: Server) -> None:
    """Before the granter has said what it can, it can nothing."""
    words = "the packet filter has none of the user's widths"
    server.world = server.world._replace(widths=frozenset())
    assert server.consider(sealed()) == Refusal("ada", HERE, words)


def test_a_key_that_has_ended_is_refused_and_the_other_is_not() -> None:
    ended = user().keys[0]._replace(expires=NOW)
    server = Server(user(keys=(ended, key(1))))
    refusal = Refusal("ada", HERE, "the user's key has expired")
    assert server.consider(sealed()) == refusal
    assert isinstance(server.consider(from_bob()), Approval)
    early = sealed(access(time=NOW - 1))
    assert isinstance(server.consider(early, NOW - 1), Approval)


def test_a_user_who_has_expired_is_refused() -> None:
    server = Server(user(expires=NOW))
    refusal = Refusal("ada", HERE, "the user has expired")
    assert server.consider(sealed()) == refusal


JUNK = {
    "empty": (b"", NotOurs),
    "short": (b"\0", NotOurs),
    "zeros": (bytes(192), NotOurs),
    "ones": (b"\xff" * 192, NotOurs),
    "large": (bytes(1200), NotOurs),
    "truncated": (sealed()[:-1], NotOurs),
    "extended": (sealed() + b"\0", NotOurs),
    "changed": (b"\0" * 8 + sealed()[8:], NotOurs),
    "for another server": (sealed(server=b"\x09" + bytes(31)), NotOurs),
    "from a stranger": (sealed(secret=STRANGER_SECRET), Unauthentic),
    "with another psk": (sealed(psk=CLIENT_PSK[::-1]), Unauthentic),
}


@pytest.mark.parametrize("kind", JUNK)
def test_junk_raises_and_never_reaches_the_memory(server: Server, kind: str) -> None:
    payload, error = JUNK[kind]
    for source in (frames.SOURCE4, frames.SOURCE6):
        with pytest.raises(error):
            server.consider(payload, source=source)
    assert server.replay.asked == []


def test_a_frame_that_is_none_raises_and_never_reaches_the_formats() -> None:
    class Never:
        def open(self, payload: bytes) -> object:
            raise AssertionError(payload)

    never: Any = Never()
    quota = RequestQuota(1, 1)
    envelope, repeats, seen = Envelope([never]), Repeats(8), SeenMessages()
    world = World(PORT, envelope, Watched(8), repeats, quota, EVERY_WIDTH, seen)
    for frame in (b"", ethernet(ipv4(udp(sealed(), port=PORT + 1))), os.urandom(300)):
        with pytest.raises(NotOurs):
            consider(frame, DLT_ETHERNET, NOW, world)


def test_the_memory_is_asked_for_the_identity_and_the_time(server: Server) -> None:
    packet = sealed(access(time=NOW + 5))
    server.consider(packet)
    opened = server.opener.open(packet)
    expected = Entry(opened.identity[:IDENTITY_SIZE], NOW + 5)
    assert server.replay.asked == [expected]


def test_an_error_of_the_program_is_not_taken_for_a_packets(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def admit(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.replay, "admit", admit)
    with pytest.raises(ZeroDivisionError):
        server.consider(sealed())


BOB_SECRET = bytes([0, 1]).ljust(32, b"\0")


def from_bob(request: Request | None = None) -> bytes:
    return sealed(request, secret=BOB_SECRET, psk=key(1).psk)


class TestTooManyRequests:
    """The memory is shared, so a user may put only so much into it."""

    OVER = Refusal("ada", HERE, "too many requests")

    def test_are_refused_and_not_remembered(self) -> None:
        server = Server(burst=2)
        for _ in range(2):
            assert isinstance(server.consider(sealed()), Approval)
        packet = sealed()
        assert server.consider(packet) == self.OVER
        assert len(server.replay) == 2
        # A second later it is as good as new.
        later = NOW + 1000
        assert isinstance(server.consider(packet, later), Approval)
        assert isinstance(server.consider(packet, later), Rejected)

    def test_are_reported_with_the_address_that_was_to_be_let_in(self) -> None:
        server = Server(burst=0)
        expected = self.OVER._replace(address=THERE)
        assert server.consider(sealed(access(address=THERE))) == expected

    def test_of_one_user_do_not_lock_another_out(self) -> None:
        """They would lift the floor, with their times that are ahead."""
        bob = user("bob", keys=(key(1),))
        server = Server(user(), bob, burst=4, capacity=8)
        ahead = access(time=NOW + WINDOW_MS - 1)
        decisions = [server.consider(sealed(ahead)) for _ in range(20)]
        assert decisions.count(self.OVER) == 16
        decision = server.consider(from_bob(), source="198.51.100.9")
        assert decision == Approval("bob", Grant(THERE, SSH), 15)

    def test_are_not_what_a_stranger_sends_again(self) -> None:
        """Neither what is known nor what is too old takes of the user's quota."""
        server = Server(burst=2)
        known, old = sealed(), sealed(access(time=NOW - WINDOW_MS - 1))
        server.consider(known)
        for _ in range(20):
            for packet in (known, old):
                decision = server.consider(packet, source="198.51.100.9")
                assert isinstance(decision, Rejected)
        assert isinstance(server.consider(sealed()), Approval)

    def test_are_counted_even_if_policy_refuses_them(self) -> None:
        server = Server(burst=1)
        server.consider(sealed(access(port=80)))
        assert server.consider(sealed()) == self.OVER


class TestOnDisk:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Iterator[int]:
        fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        yield fd
        os.close(fd)

    def test_nothing_is_written_for_a_packet_that_is_not_admitted(
        self, server: Server, directory: int, tmp_path: Path
    ) -> None:
        store = ReplayStore(directory, NOW - WINDOW_MS, b"b" * 36)
        server.world = server.world._replace(replay=store)
        before = (tmp_path / "replay").read_bytes()
        for payload, _ in JUNK.values():
            with pytest.raises(PacketError):
                server.consider(payload)
        assert isinstance(server.consider(sealed(access(time=0))), Rejected)
        assert before == (tmp_path / "replay").read_bytes()
        assert isinstance(server.consider(sealed()), Approval)
        assert before != (tmp_path / "replay").read_bytes()
        store._close()

    def test_a_packet_is_on_disk_before_it_is_granted(
        self, server: Server, directory: int, tmp_path: Path
    ) -> None:
        store = ReplayStore(directory, NOW - WINDOW_MS, b"b" * 36)
        server.world = server.world._replace(replay=store)
        packet = sealed()
        assert isinstance(server.consider(packet), Approval)
        identity = server.opener.open(packet).identity[:IDENTITY_SIZE]
        assert identity in (tmp_path / "replay").read_bytes()
        store._close()


class TestASignedRequest:
    """What becomes of one before gpg is asked."""

    SIGNS = user(gnupg=frozenset({"AB" * 20}))

    def test_is_for_gpg_if_its_user_has_to_sign(self) -> None:
        server = Server(self.SIGNS)
        pending = server.consider(sealed_message(b"openpgp"))
        assert isinstance(pending, Pending)
        assert (pending.user, pending.address, pending.arrived) == ("ada", HERE, NOW)
        assert pending.message == b"openpgp"
        assert len(server.replay) == 1

    def test_is_refused_if_its_user_has_no_key(self) -> None:
        decision = Server().consider(sealed_message())
        reason = "the request is signed, and the user has no OpenPGP key here"
        assert decision == Refusal("ada", HERE, reason)

    def test_is_the_only_one_of_a_user_who_has_to_sign(self) -> None:
        decision = Server(self.SIGNS).consider(sealed())
        reason = "the request is not signed, and the user's have to be"
        assert decision == Refusal("ada", HERE, reason)

    def test_that_comes_again_is_not_for_gpg(self) -> None:
        server = Server(self.SIGNS)
        packet = sealed_message()
        assert isinstance(server.consider(packet), Pending)
        assert isinstance(server.consider(packet, source="198.51.100.9"), Rejected)

    @pytest.mark.parametrize("late", [-WINDOW_MS - 1, WINDOW_MS + 1])
    def test_that_is_stale_is_not_for_gpg(self, late: int) -> None:
        server = Server(self.SIGNS)
        decision = server.consider(sealed_message(time=NOW + late))
        assert isinstance(decision, Rejected)

    def test_of_somebody_without_the_psk_is_not_for_gpg(self) -> None:
        with pytest.raises(Unauthentic):
            Server(self.SIGNS).consider(sealed_message(psk=bytes(32)))

    def test_over_the_quota_is_not_for_gpg(self) -> None:
        server = Server(self.SIGNS, burst=1)
        assert isinstance(server.consider(sealed_message()), Pending)
        decision = server.consider(sealed_message())
        assert decision == Refusal("ada", HERE, "too many requests")


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_has_the_outcome_that_it_expects(name: str) -> None:
    vector = load(name)
    key = UserKey(vector.hex("client key"), vector.hex("psk"))
    server = Server(user(keys=(key,)))
    server.replay.floor = vector.number("floor", -1)
    before = vector.headers.get("accepted from")
    if before is not None:
        opened = server.opener.open(vector.packet)
        entry = Entry(opened.identity[:IDENTITY_SIZE], opened.request.time)
        server.replay.admit(entry, ip_address(before).packed, opened.request.time)
        server.replay.asked.clear()
    now, source = vector.number("now"), vector.headers["source"]
    expected = vector.headers["expect"]
    if expected in {"not-ours", "unauthentic", "malformed"}:
        with pytest.raises(PacketError) as caught:
            server.consider(vector.packet, now, source)
        assert expected == caught.value.outcome
        assert server.replay.asked == []
    else:
        decision = server.consider(vector.packet, now, source)
        outcome = (
            decision.error.outcome if isinstance(decision, Rejected) else "success"
        )
        assert expected == outcome
