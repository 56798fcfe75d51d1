"""Ten thousand genuine packets from a thousand users, on the real daemon."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from lab.inside import udp
from lab.knocker import Knocker, now_ms
from lab.network import SERVER4, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import children

from spassh_server.limits import (
    GRANTED_LINES_PER_SECOND,
    OTHER_LINES_PER_SECOND,
    REPLAY_CAPACITY,
)
from spassh_server.replay import IDENTITY_SIZE, Entry
from spassh_server.store import MAX_BYTES, ReplayStore, boot_id

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

USERS = 1_000
ROUNDS = 10
AT_ONCE = 250
"""Packets under way: no more than the daemon lets wait, or it would drop some."""
NETWORK = IPv4Address("198.18.0.0")
GROWTH = 512 * 1024
"""Bytes that either program may grow by in the second half of the packets: what the
allocator leaves between, and 1 % of it. 5,000 packets that leave 128 bytes each would
show."""


def resident(pid: int) -> int:
    """Return how many bytes of memory a process has."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        (line,) = (line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def fill_replay_memory(site: Site) -> None:
    """Have the daemon remember as much as it can: from then on it must not grow."""
    state = site.config.state_dir
    os.makedirs(state, mode=0o700)
    fd = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        then = now_ms() - 3_600_000
        store = ReplayStore(fd, then - 1, boot_id())
        for _ in range(REPLAY_CAPACITY):
            store.admit(Entry(os.urandom(IDENTITY_SIZE), then), bytes(4), then)
        store._close()
    finally:
        os.close(fd)
    uid = int(site.config.user)
    for name in ("", *os.listdir(state)):
        os.chown(os.path.join(state, name), uid, uid)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


def test_memory_stays_flat_over_ten_thousand_packets_of_a_thousand_users(
    network: Network, tmp_path: Path
) -> None:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    fill_replay_memory(site)
    # All of these addresses are the client's own.
    network.client.run(["ip", "route", "add", "local", f"{NETWORK}/15", "dev", "lo"])
    users = [Knocker(spasshd, f"user{number}") for number in range(USERS)]
    addresses = [str(NETWORK + 1 + number) for number in range(USERS)]
    daemon = spasshd.start()
    assert "error" not in daemon.log
    pids = [daemon.process.pid, *children(daemon.process.pid)]
    began = time.monotonic()
    with ExitStack() as stack:
        socks = [
            stack.enter_context(udp(network.client, address)) for address in addresses
        ]
        sent: list[tuple[socket.socket, bytes]] = []
        memory: list[list[int]] = []
        opened: list[list[int]] = []

        def settle(event: str, number: int) -> None:
            wait_for(
                lambda: site.counters().get(event, 0) >= number,
                f"{number} packets to be {event}: {site.counters()}",
                60,
                0.05,
            )

        for _ in range(ROUNDS):
            for at in range(0, USERS, AT_ONCE):
                numbers = range(at, at + AT_ONCE)
                packets = [users[number].seal(lifetime=2) for number in numbers]
                # Sealed while the daemon was busy with those before.
                settle("granted", len(sent))
                sent += zip(socks[at : at + AT_ONCE], packets, strict=True)
                for one in sent[-AT_ONCE:]:
                    site.send(*one)
            settle("granted", len(sent))
            memory.append([resident(pid) for pid in pids])
            opened.append([descriptors(pid) for pid in pids])

        again = sent[::ROUNDS]
        for sock, packet in again:
            site.send(sock, packet)
        settle("duplicate", len(again))
    seconds = time.monotonic() - began

    counters = site.counters()
    del counters["frames"]
    assert counters == {"granted": USERS * ROUNDS, "duplicate": len(again)}
    half = memory[len(memory) // 2 - 1]
    growth = [now - then for now, then in zip(memory[-1], half, strict=True)]
    assert max(growth) < GROWTH
    # One for the connection that asks for the counters, if it is still there.
    assert all(now <= then + 1 for now, then in zip(opened[-1], opened[0], strict=True))
    assert os.path.getsize(os.path.join(site.config.state_dir, "replay")) <= MAX_BYTES
    lines = daemon.log.count("\n")
    assert lines <= (GRANTED_LINES_PER_SECOND + OTHER_LINES_PER_SECOND) * (seconds + 2)
    wait_for(lambda: not site.grants(), "the last grants to end")
    assert daemon.stop() == 0
