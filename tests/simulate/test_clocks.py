"""A server whose clock is wrong by hours for a while, and is started meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simulate.world import Packet, Server, World, world

HOUR = 3600.0
ELSEWHERE = "198.51.100.9"

EVENTS: dict[str, Callable[[Server], None]] = {
    "nothing": lambda _: None,
    "restart": Server.restart,
    "reboot": Server.reboot,
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def knock(here: World, skew: float) -> Packet:
    here.client.skew = skew
    return here.client.knock(here.server)


def expect_no_replay(here: World, packets: list[Packet]) -> None:
    for packet in packets:
        outcome = here.server.receive(packet, source=ELSEWHERE)
        assert outcome in {"replayed", "stale"}
    assert not here.server.lets_in(ELSEWHERE)


@pytest.mark.parametrize("after", EVENTS)
@pytest.mark.parametrize("while_wrong", EVENTS)
@pytest.mark.parametrize("hours", [-30, -5, -1, 1, 5, 30])
def test_a_clock_that_is_wrong_for_a_while_lets_no_replay_in_and_locks_nobody_out(
    here: World, hours: int, while_wrong: str, after: str
) -> None:
    packets = [knock(here, skew) for skew in (0.0, 59.0, -59.0)]
    for packet in packets:
        assert here.server.receive(packet) == "granted"

    here.clock.wait(hours * HOUR)
    EVENTS[while_wrong](here.server)
    here.clock.wait(1)
    expect_no_replay(here, packets)
    # The client's clock is right, so they are hours apart.
    right = knock(here, -hours * HOUR)
    assert here.server.receive(right) == "stale"
    here.clock.wait(0.1)
    # Somebody else's is as wrong as the server's, and gets in.
    packets.append(knock(here, 0.0))
    assert here.server.receive(packets[-1]) == "granted"

    here.clock.wait(-hours * HOUR)
    EVENTS[after](here.server)
    for seconds in (0.1, 15, 15, 15, 15):
        expect_no_replay(here, packets)
        here.clock.wait(seconds)
    # A minute after it is right again, at the latest, all is well: after 60.1 s here.
    assert here.server.receive(knock(here, 0.0)) == "granted"
    expect_no_replay(here, packets)
    here.clock.wait(15)
    expect_no_replay(here, packets)
