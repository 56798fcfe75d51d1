"""The programs are killed in a loop while packets rain, and it does no harm.

Seen from outside, no hole is open for longer than its lifetime, no packet is accepted
twice, and a genuine client is let in whenever the daemon is up.
"""

import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from lab.inside import Silence, door, port_answers, udp
from lab.knocker import Knocker, noise
from lab.network import SERVER4, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import children, end, is_there

from .conftest import BIN_DIRS
from .test_replays import granted

pytestmark = [pytest.mark.login, pytest.mark.netns, pytest.mark.timeout(600)]

LIVES = 10
NEW = 6
"""Packets that are new in each life."""
LIFETIME = 1
"""Seconds."""
SLACK = 2
"""Seconds; what waits for the packet filter of a busy machine."""
NETWORK = IPv4Address("198.18.0.0")


@contextmanager
def rain(host_socket: socket.socket, site: Site, kinds: list[bytes]) -> Iterator[None]:
    """Send these again and again, in bursts that leave the machine some time."""
    done = threading.Event()

    def send() -> None:
        while not done.wait(0.01):
            for one in kinds * 10:
                site.send(host_socket, one)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("seed", [7])
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_killed_again_and_again_under_load_it_keeps_every_promise(
    tmp_path: Path, backend: str, seed: int
) -> None:
    chance = random.Random(seed)
    network = Network(BIN_DIRS["pypi"])
    try:
        spasshd = Spasshd(network.server, str(tmp_path / "d"), "--protect", "tcp/22")
        spasshd.edit('backend = "auto"', f'backend = "{backend}"')
        site = Site(network.server, SERVER4, spasshd)
        alice = Knocker(spasshd, "alice")
        bob = Knocker(spasshd, "bob", "any_address = true")
        junk = [noise(spasshd), os.urandom(192), os.urandom(1200)]
        spasshd.start().stop()
        with (
            door(network.server),
            udp(network.client) as sock,
            udp(network.stranger) as theirs,
            Silence(network.stranger, [SERVER4]) as silence,
            rain(theirs, site, junk),
        ):
            _lives(network, site, (alice, bob), sock, chance)
        assert silence.tries
        assert silence.answered == []
        spasshd.verb("stop", "--open")
    finally:
        network.close()


def bobs(log: str) -> list[str]:
    """Return the addresses that were granted to Bob."""
    return [one for one in granted(log) if one.startswith("198.18.")]


def _lives(
    network: Network,
    site: Site,
    users: tuple[Knocker, Knocker],
    sock: socket.socket,
    chance: random.Random,
) -> None:
    """Alice logs in; Bob asks for addresses that the kernel tells apart, and again."""
    alice, bob = users
    packets: list[bytes] = []
    accepted: Counter[str] = Counter()
    for _ in range(LIVES):
        daemon = site.spasshd.start()

        def is_let_in() -> bool:
            # As the client does it: once more, as long as nothing has come of it.
            site.send(sock, alice.seal(lifetime=LIFETIME))
            return port_answers(network.client, SERVER4, 22, 0.3)

        wait_for(is_let_in, "a genuine client to be let in by a daemon that is up")

        for _ in range(NEW):
            address = NETWORK + len(packets) + 1
            packets.append(bob.seal(lifetime=LIFETIME, address=address.packed))
        stream = packets + packets[-NEW:]
        chance.shuffle(stream)
        enough = chance.randrange(1, NEW)

        def are_granted() -> bool:
            # Some of them may find no room in the capture.
            for packet in stream:  # noqa: B023
                site.send(sock, packet)
            return len(bobs(daemon.log)) >= enough  # noqa: B023

        wait_for(are_granted, "some of them to be granted")
        process = daemon.process
        (granter,) = children(process.pid)
        end(chance.choice([process.pid, granter]))
        assert process.wait(60) != 0
        wait_for(lambda: not is_there(granter), "the granter to leave")  # noqa: B023

        wait_for(
            lambda: (
                not site.grants() and not port_answers(network.client, SERVER4, 22, 0.3)
            ),
            "the holes to close",
            LIFETIME + SLACK,
            0.1,
        )
        accepted.update(bobs(daemon.log))
        assert max(accepted.values(), default=0) <= 1
    assert len(accepted) > LIVES
