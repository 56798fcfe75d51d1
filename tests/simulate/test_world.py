"""Whole stories, from the client's seal to the server's firewall."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)
from simulate.world import Client, Packet, Server, World, world

from spassh_server import store
from spassh_server.firewall import Width
from spassh_server.limits import MAX_GRANTS_PER_USER
from spassh_server.ports import Port

HERE = "192.0.2.7"
ELSEWHERE = "198.51.100.9"


def restart_twice(server: Server) -> None:
    server.restart()
    server.restart()


RESTARTS: dict[str, Callable[[Server], None]] = {
    "nothing": lambda _: None,
    "restart": Server.restart,
    "two restarts": restart_twice,
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_a_knock_opens_the_port_for_its_source_and_for_a_while(here: World) -> None:
    assert not here.server.lets_in(HERE)
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    assert here.server.lets_in(HERE)
    assert not here.server.lets_in(ELSEWHERE)
    assert not here.server.lets_in(HERE, Port(6, 80))
    here.clock.wait(14.9)
    assert here.server.lets_in(HERE)
    here.clock.wait(0.2)
    assert not here.server.lets_in(HERE)


def test_a_knock_over_ipv6_opens_the_port_for_that_address(here: World) -> None:
    packet = here.client.knock(here.server, source="2001:db8::7")
    assert here.server.receive(packet) == "granted"
    assert here.server.lets_in("2001:db8::7")
    assert not here.server.lets_in(HERE)


def test_a_lost_packet_costs_nothing_but_another(here: World) -> None:
    here.client.knock(here.server)
    here.clock.wait(0.06)
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    assert here.server.lets_in(HERE)


def test_a_packet_that_was_lost_for_a_while_is_granted_late(here: World) -> None:
    first, second = (here.client.knock(here.server) for _ in range(2))
    assert here.server.receive(second) == "granted"
    here.clock.wait(30)
    assert not here.server.lets_in(HERE)
    assert here.server.receive(first) == "granted"


def test_a_duplicate_extends_nothing(here: World) -> None:
    packet = here.client.knock(here.server)
    here.server.receive(packet)
    here.clock.wait(10)
    assert here.server.receive(packet) == "duplicate"
    here.clock.wait(5.1)
    assert not here.server.lets_in(HERE)
    assert here.server.receive(packet) == "duplicate"
    assert not here.server.lets_in(HERE)


def test_another_knock_extends_the_grant(here: World) -> None:
    here.server.receive(here.client.knock(here.server))
    here.clock.wait(10)
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    here.clock.wait(10)
    assert here.server.lets_in(HERE)
    here.clock.wait(6)
    assert not here.server.lets_in(HERE)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_packets_may_arrive_in_any_order(here: World, order: tuple[int, ...]) -> None:
    packets = []
    for _ in range(4):
        packets.append(here.client.knock(here.server))
        here.clock.wait(0.02)
    for at in order:
        assert here.server.receive(packets[at]) == "granted"
    for at in order:
        assert here.server.receive(packets[at]) == "duplicate"


@pytest.mark.parametrize(
    ("skew", "outcome"),
    [
        (-3600.0, "stale"),
        (-61.0, "stale"),
        (-60.001, "stale"),
        (-60.0, "granted"),
        (-59.0, "granted"),
        (0.0, "granted"),
        (+59.0, "granted"),
        (+60.0, "granted"),
        (+60.001, "stale"),
        (+61.0, "stale"),
        (+3600.0, "stale"),
    ],
)
def test_a_clock_may_be_a_minute_wrong(here: World, skew: float, outcome: str) -> None:
    here.client.skew = skew
    packet = here.client.knock(here.server)
    assert outcome == here.server.receive(packet)
    assert here.server.lets_in(HERE) is (outcome == "granted")


@pytest.mark.parametrize("skew", [-59.0, 0.0, 59.0])
@pytest.mark.parametrize("delay", [0.0, 1.0, 30.0, 59.0, 61.0, 120.0, 121.0, 3600.0])
def test_a_recorded_packet_opens_nothing_ever_again(
    here: World, skew: float, delay: float
) -> None:
    here.client.skew = skew
    packet = here.client.knock(here.server)
    assert here.server.receive(packet) == "granted"
    here.clock.wait(delay)
    assert here.server.receive(packet, source=ELSEWHERE) == "replayed"
    assert not here.server.lets_in(ELSEWHERE)


@pytest.mark.parametrize(
    ("delay", "outcome"),
    [(59.0, "granted"), (60.0, "granted"), (60.001, "stale"), (3600.0, "stale")],
)
def test_a_packet_that_was_held_back_is_good_for_a_minute(
    here: World, delay: float, outcome: str
) -> None:
    packet = here.client.knock(here.server)
    here.clock.wait(delay)
    assert outcome == here.server.receive(packet)


def test_a_packet_that_names_its_address_is_of_no_use_from_elsewhere(
    here: World,
) -> None:
    """Somebody on the way keeps the packet and sends it from another address."""
    packet = here.client.knock(here.server, address=HERE)
    assert here.server.receive(packet, source=ELSEWHERE) == "refused"
    assert not here.server.lets_in(ELSEWHERE)
    assert not here.server.lets_in(HERE)
    # It is used up by that; the client's next one is not.
    assert here.server.receive(packet) == "replayed"
    fresh = here.client.knock(here.server, address=HERE)
    assert here.server.receive(fresh) == "granted"


def test_a_packet_that_names_an_address_never_opens_another(here: World) -> None:
    bob = Client("bob", here.clock)
    here.server.enroll(bob, any_address=True)
    packet = bob.knock(here.server, address=HERE)
    assert here.server.receive(packet, source=ELSEWHERE) == "granted"
    assert here.server.lets_in(HERE)
    assert not here.server.lets_in(ELSEWHERE)


def test_a_packet_for_one_server_is_noise_to_another(here: World) -> None:
    other = here.another_server("other")
    other.enroll(here.client)
    here.clock.wait(1)
    packet = here.client.knock(here.server)
    assert other.receive(packet) == "not-ours"
    assert here.server.receive(packet) == "granted"
    assert other.receive(packet) == "not-ours"
    assert not other.lets_in(HERE)
    assert other.receive(here.client.knock(other)) == "granted"


def test_two_clients_are_told_apart(here: World) -> None:
    bob = Client("bob", here.clock)
    here.server.enroll(bob, ports=frozenset({Port(6, 80)}))
    assert here.server.receive(bob.knock(here.server)) == "refused"
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    web = bob.knock(here.server, port=Port(6, 80))
    assert here.server.receive(web) == "granted"


def test_a_client_that_was_never_enrolled_is_nobody(here: World) -> None:
    eve = Client("eve", here.clock)
    assert here.server.receive(eve.knock(here.server)) == "unauthentic"
    assert not here.server.lets_in(HERE)


def test_a_user_may_be_tied_to_a_network(here: World) -> None:
    bob = Client("bob", here.clock)
    here.server.enroll(bob, sources=(ip_network("198.51.100.0/24"),))
    assert here.server.receive(bob.knock(here.server)) == "refused"
    assert here.server.receive(bob.knock(here.server, source=ELSEWHERE)) == "granted"


def test_a_flow_lets_nobody_else_behind_the_same_address_in(here: World) -> None:
    packet = here.client.knock(here.server, source_port=40_000)
    assert here.server.receive(packet, source_port=40_000) == "granted"
    assert here.server.lets_in(HERE, source_port=40_000)
    assert not here.server.lets_in(HERE, source_port=40_001)
    assert not here.server.lets_in(ELSEWHERE, source_port=40_000)


def test_a_nat_that_rewrites_ports_makes_it_the_address(here: World) -> None:
    """The connection would come from a port that nobody knows."""
    packet = here.client.knock(here.server, source_port=40_000)
    assert here.server.receive(packet, source_port=1024) == "granted"
    assert here.server.lets_in(HERE, source_port=1025)


def test_who_may_have_flows_only_is_refused_behind_such_a_nat(here: World) -> None:
    bob = Client("bob", here.clock)
    here.server.enroll(bob, widths=frozenset({Width.FLOW}))
    packet = bob.knock(here.server, source_port=40_000)
    assert here.server.receive(packet, source_port=1024) == "refused"
    assert here.server.receive(bob.knock(here.server)) == "refused"
    assert not here.server.lets_in(HERE)


def test_a_user_who_expires_is_let_in_until_then(here: World) -> None:
    bob = Client("bob", here.clock)
    here.server.enroll(bob, expires=here.clock.ms + 1000)
    assert here.server.receive(bob.knock(here.server)) == "granted"
    assert here.server.lets_in(HERE)
    here.clock.wait(1)
    assert here.server.receive(bob.knock(here.server)) == "refused"
    # What was granted before does not outlive the user.
    assert not here.server.lets_in(HERE)


def story(here: World) -> Iterator[str]:
    """Tell what becomes of a day's packets, one at a time."""
    early = here.client.knock(here.server)
    first = here.client.knock(here.server)
    yield here.server.receive(first)
    here.clock.wait(5)
    yield here.server.receive(first, source=ELSEWHERE)
    here.client.skew = 50
    ahead = here.client.knock(here.server)
    yield here.server.receive(ahead)
    yield here.server.receive(early)
    here.client.skew = 0
    here.clock.wait(20)
    yield here.server.receive(ahead, source=ELSEWHERE)
    yield here.server.receive(here.client.knock(here.server, port=Port(6, 80)))
    here.clock.wait(50)
    yield here.server.receive(early, source=ELSEWHERE)
    yield here.server.receive(here.client.knock(here.server))
    yield here.server.receive(ahead, source=ELSEWHERE)
    here.clock.wait(16)
    yield "open" if here.server.lets_in(HERE) else "closed"


STORY = [
    "granted",
    "replayed",
    "granted",
    "granted",
    "replayed",
    "refused",
    "replayed",
    "granted",
    "replayed",
    "closed",
]


@pytest.mark.parametrize("kind", RESTARTS)
@pytest.mark.parametrize("at", range(len(STORY)))
def test_a_restart_between_any_two_steps_changes_nothing(
    here: World, at: int, kind: str
) -> None:
    told = []
    for number, outcome in enumerate(story(here)):
        told.append(outcome)
        if number == at:
            RESTARTS[kind](here.server)
    assert told == STORY


@pytest.mark.parametrize("at", range(len(STORY)))
def test_a_reboot_between_any_two_steps_grants_nothing_more(
    here: World, at: int
) -> None:
    """It may refuse what was made before it, and then it says stale."""
    for number, outcome in enumerate(story(here)):
        assert outcome in {STORY[number], "stale"}
        if number == at:
            here.server.reboot()
            here.clock.wait(0.001)
    assert not here.server.lets_in(ELSEWHERE)


def test_a_restart_keeps_the_grants_that_live(here: World) -> None:
    here.server.receive(here.client.knock(here.server))
    here.server.restart()
    assert here.server.lets_in(HERE)


def test_a_clock_set_back_opens_nothing_again(here: World) -> None:
    packets = []
    for _ in range(3):
        packets.append(here.client.knock(here.server))
        assert here.server.receive(packets[-1]) == "granted"
        here.clock.wait(100)
    here.clock.wait(-300)
    for packet in packets:
        assert here.server.receive(packet, source=ELSEWHERE) == "replayed"
        here.clock.wait(100)
    here.clock.wait(-300)
    here.server.restart()
    for packet in packets:
        assert here.server.receive(packet, source=ELSEWHERE) == "replayed"
        here.clock.wait(100)


def test_a_clock_that_was_ahead_at_the_start_locks_nobody_out(here: World) -> None:
    here.clock.wait(3600)
    here.server.reboot()
    here.clock.wait(-3600)
    assert here.server.receive(here.client.knock(here.server)) == "stale"
    here.clock.wait(0.1)
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    here.server.restart()
    assert here.server.receive(here.client.knock(here.server)) == "granted"
    here.server.reboot()
    here.clock.wait(0.1)
    assert here.server.receive(here.client.knock(here.server)) == "granted"


def test_a_user_with_a_thousand_addresses_locks_nobody_else_out(here: World) -> None:
    """The slots of max_grants are for all; eve's grants last for long."""
    eve, bob = Client("eve", here.clock), Client("bob", here.clock)
    here.server.enroll(eve, lifetime=300, max_lifetime=300)
    here.server.enroll(bob)
    for number in range(1100):
        here.clock.wait(0.2)
        source = f"2001:db8::{number + 1:x}"
        here.server.receive(eve.knock(here.server, source=source))
    assert len(here.server.firewall.grants()) == MAX_GRANTS_PER_USER
    assert here.server.receive(bob.knock(here.server)) == "granted"


def test_a_user_who_never_stops_locks_nobody_else_out(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times ahead of the clock would lift the floor when the memory overflows."""
    monkeypatch.setattr(store, "REPLAY_CAPACITY", 150)
    here.server.restart()
    bob = Client("bob", here.clock)
    here.server.enroll(bob)
    here.client.skew = 59
    for _ in range(300):
        here.server.receive(here.client.knock(here.server))
    assert here.server.receive(bob.knock(here.server)) == "granted"
    assert Counter(here.server.outcomes) == {"granted": 101, "refused": 200}


class AnyStory(RuleBasedStateMachine):
    """A client that knocks and a network that does to the packets what it likes."""

    packets: Bundle[Packet] = Bundle("packets")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self._directory.name))
        self.granted: Counter[bytes] = Counter()

    def teardown(self) -> None:
        self.world.close()
        self._directory.cleanup()

    @rule(
        target=packets,
        skew=st.sampled_from([0.0, -59.0, 59.0, -61.0, 61.0]),
        port=st.sampled_from([22, 22, 80]),
    )
    def knock(self, skew: float, port: int) -> Packet:
        self.world.client.skew = skew
        return self.world.client.knock(self.world.server, port=Port(6, port))

    @rule(packet=consumes(packets))
    def lose(self, packet: Packet) -> None:
        pass

    @rule(packet=packets, source=st.sampled_from([HERE, ELSEWHERE]))
    def deliver(self, packet: Packet, source: str) -> None:
        if self.world.server.receive(packet, source=source) == "granted":
            self.granted[packet.payload] += 1

    @rule(
        packet=packets,
        at=st.integers(0, 191),
        change=st.integers(1, 255),
    )
    def damage(self, packet: Packet, at: int, change: int) -> None:
        payload = bytearray(packet.payload)
        payload[at] ^= change
        damaged = packet._replace(payload=bytes(payload))
        outcome = self.world.server.receive(damaged)
        assert outcome in {"not-ours", "unauthentic"}

    @rule(seconds=st.sampled_from([0.001, 1.0, 14.0, 15.0, 60.0, 61.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.wait(seconds)

    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0]))
    def set_the_clock_back(self, seconds: float) -> None:
        self.world.clock.wait(-seconds)

    @rule()
    def restart(self) -> None:
        self.world.server.restart()

    @rule()
    def reboot(self) -> None:
        self.world.server.reboot()

    @invariant()
    def no_packet_was_granted_twice(self) -> None:
        assert max(self.granted.values(), default=0) <= 1

    @invariant()
    def only_ssh_is_ever_open(self) -> None:
        assert {grant.port for grant in self.world.server.firewall.history} <= {
            Port(6, 22)
        }


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(deadline=None, max_examples=40)
