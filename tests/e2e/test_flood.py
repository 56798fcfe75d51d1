"""A flood that the kernel can tell from knocks takes no room from a genuine one."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from lab.inside import inside, udp
from lab.knocker import Knocker, noise, noises
from lab.network import SERVER4, Host, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import state
from unit.server.bpf_machine import need_maps

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

FLOOD = 30_000
"""Packets: several times more than the capture has room for."""
ANOTHER_PORT = 4711


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a program take nothing off its capture meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: state(pid) == "T", "the program to stop")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def arrivals(host: Host) -> Iterator[socket.socket]:
    def bind() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", ANOTHER_PORT))
        return sock

    with inside(host, bind) as sock:
        sock.settimeout(0.2)
        yield sock


def wait_for_the_wire(sender: socket.socket, receiver: socket.socket) -> None:
    """Wait until what was sent before has arrived, or was lost."""

    def has_come() -> bool:
        sender.sendto(b"the end", (SERVER4, ANOTHER_PORT))
        try:
            return receiver.recv(64) == b"the end"
        except TimeoutError:
            return False

    wait_for(has_come, "a packet to come through")


def test_a_flood_of_what_has_not_the_tag_takes_no_room_from_a_knock(
    network: Network, tmp_path: Path
) -> None:
    """All of it comes while the daemon cannot take anything off the capture."""
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    daemon = spasshd.start()

    def is_granted() -> bool:
        site.send(hers, alice.seal())
        return site.counters()["granted"] > 1

    right = noise(spasshd)
    wrong = bytes([right[0] ^ 1]) + right[1:]
    try:
        with (
            udp(network.stranger) as theirs,
            udp(network.client) as hers,
            arrivals(network.server) as others,
        ):
            with stopped(daemon.process.pid):
                for _ in range(FLOOD):
                    site.send(theirs, wrong)
                wait_for_the_wire(theirs, others)
                site.send(hers, alice.seal())
                wait_for_the_wire(hers, others)
            wait_for(lambda: "granted" in site.counters(), "the knock to be granted")
            assert site.counters() == {"frames": 1, "granted": 1}
            assert spasshd.status()["capture_drops"] == 0

            # So many would have been too many, had the kernel let them through.
            with stopped(daemon.process.pid):
                for one in islice(noises(spasshd), FLOOD):
                    site.send(theirs, one)
                wait_for_the_wire(theirs, others)
            wait_for(lambda: spasshd.status()["capture_drops"], "some to be dropped")
            # And when it is over, the next knock is let in.
            wait_for(is_granted, "a knock after the flood to be granted")
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")


def test_a_flood_of_copies_takes_no_room_from_a_knock(
    network: Network, tmp_path: Path
) -> None:
    """Recorded packets, and what begins like one and goes on as noise."""
    need_maps()
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    daemon = spasshd.start()
    assert "does not count copies" not in daemon.log
    recorded = [alice.seal() for _ in range(10)]
    try:
        with (
            udp(network.stranger) as theirs,
            udp(network.client) as hers,
            arrivals(network.server) as others,
        ):
            for one in recorded:
                assert site.outcome(hers, one) == "granted"
            before = site.counters()
            with stopped(daemon.process.pid):
                for number in range(FLOOD):
                    one = recorded[number % len(recorded)]
                    forged = one[:12] + os.urandom(len(one) - 12)
                    site.send(theirs, (one, forged)[number // 10 % 2])
                wait_for_the_wire(theirs, others)
                site.send(hers, alice.seal())
                wait_for_the_wire(hers, others)
            granted = before["granted"] + 1
            wait_for(lambda: site.counters()["granted"] == granted, "the grant")
            # Of each of them 7 more, and then the knock.
            assert site.counters()["frames"] == before["frames"] + 71
            assert spasshd.status()["capture_drops"] == 0
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")
