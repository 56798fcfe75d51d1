"""The daemon accepts no packet twice, however it dies and whatever its disk does."""

import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from lab.inside import udp
from lab.knocker import Knocker
from lab.network import SERVER4, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import children, end, is_there

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

LIVES = 14
NEW = 8
"""Packets that are new in each life: fewer than lines may be logged in a second."""
NETWORK = IPv4Address("198.18.0.0")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Iterator[Site]:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    yield Site(network.server, SERVER4, spasshd)
    if spasshd.daemon is not None:
        spasshd.running.stop()
    spasshd.verb("stop", "--open")


@pytest.fixture
def sock(network: Network) -> Iterator[socket.socket]:
    with udp(network.client) as made:
        yield made


def kill(site: Site, name: str) -> None:
    """Kill one of the programs; see that the other one leaves."""
    process = site.spasshd.running.process
    (granter,) = children(process.pid)
    end({"listener": process.pid, "granter": granter}[name])
    assert process.wait(60) != 0
    wait_for(lambda: not is_there(granter), "the granter to leave")


def granted(log: str) -> list[str]:
    """Return the addresses that the log says were granted."""
    lines = [line for line in log.splitlines() if line.startswith("spasshd: granted")]
    return [line.split(" address=")[1].split()[0] for line in lines]


def seen(site: Site) -> set[str]:
    """Return the addresses that the kernel lets in."""
    return {str(IPv4Address(one.grant.address)) for one in site.grants()}


def test_no_packet_is_granted_twice_however_often_the_daemon_is_killed(
    site: Site, sock: socket.socket
) -> None:
    """Each asks for an address of its own, so the kernel tells them apart."""
    chance = random.Random(3)
    alice = Knocker(site.spasshd, "alice", "any_address = true", "max_lifetime = 300")
    packets: list[bytes] = []
    done: set[str] = set()
    for _ in range(LIVES):
        daemon = site.spasshd.start()
        fresh = []
        for number in range(NEW):
            address = NETWORK + len(packets) + number + 1
            fresh.append(alice.seal(lifetime=300, address=address.packed))
        packets += fresh
        stream = packets + fresh
        chance.shuffle(stream)
        calm = chance.randrange(len(stream))
        for packet in stream[:calm]:
            site.send(sock, packet)
        wait_for(lambda: settled(site.counters(), calm), "some to be judged")  # noqa: B023
        for packet in stream[calm:]:
            site.send(sock, packet)
        # It has begun with these, or it has not.
        kill(site, chance.choice(["listener", "granter"]))
        now = granted(daemon.log)
        assert len(now) == len(set(now))
        assert done.isdisjoint(now)
        # With what was granted, and not logged any more.
        done |= seen(site)
        assert done >= set(now)

    site.spasshd.start()
    for packet in packets:
        site.send(sock, packet)
    wait_for(lambda: settled(site.counters(), len(packets)), "all to be judged")
    counters = site.counters()
    assert counters.get("granted", 0) == len(seen(site) - done)
    # Those that were accepted when the other program died are all that is missing.
    assert len(seen(site)) > len(packets) // 2


def settled(counters: dict[str, int], sent: int) -> bool:
    """Tell whether the daemon has judged so many packets, and they were all genuine."""
    judged = ("granted", "replayed", "duplicate", "refused", "stale")
    return sum(counters.get(name, 0) for name in judged) == sent


@contextmanager
def small_disk(path: str, size: str) -> Iterator[None]:
    """Have a file system of `size` bytes at `path`."""
    os.makedirs(path, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "spassh-test", path]
    subprocess.run(argv, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(path: str) -> None:
    """Write to the last byte of the disk."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def own(site: Site) -> None:
    """Give the disk to the listener, so that the daemon finds all as it should be."""
    uid = int(site.config.user)
    os.chown(site.config.state_dir, uid, uid)


def test_a_disk_that_fills_up_stops_no_grant_and_lets_no_replay_in(
    site: Site, sock: socket.socket
) -> None:
    users = [Knocker(site.spasshd, f"user{number}") for number in range(5)]
    with small_disk(site.config.state_dir, "64k"):
        own(site)
        daemon = site.spasshd.start()
        fillers = [os.path.join(site.config.state_dir, name) for name in "ab"]
        fill(fillers[0])
        # The page that the store's end is in has room for some more.
        packets = [user.seal() for user in users for _ in range(40)]
        for packet in packets:
            site.send(sock, packet)
        daemon.wait_log('store problem="replay store: ')
        wait_for(lambda: settled(site.counters(), len(packets)), "all to be judged")
        assert site.counters()["granted"] == len(packets)

        kill(site, "listener")
        # The store gave its page back.
        fill(fillers[1])
        daemon = site.spasshd.start()
        assert "error: replay store: No space left on device" in daemon.log
        assert "packets made before this start are not accepted" in daemon.log
        for packet in packets:
            site.send(sock, packet)
        wait_for(lambda: settled(site.counters(), len(packets)), "all to be judged")
        assert "granted" not in site.counters()
        packets.append(users[0].seal())
        assert site.outcome(sock, packets[-1]) == "granted"

        for filler in fillers:
            os.unlink(filler)

        def tell() -> bool:
            packets.append(users[1].seal())
            site.outcome(sock, packets[-1])
            return 'problem="none any more"' in daemon.log

        wait_for(tell, "the store to be written again", interval=0.2)
        kill(site, "granter")
        site.spasshd.start()
        assert site.outcome(sock, users[2].seal()) == "granted"
        for packet in packets:
            site.send(sock, packet)
        wait_for(lambda: settled(site.counters(), len(packets) + 1), "all to be judged")
        assert site.counters()["granted"] == 1
        site.spasshd.running.stop()


def test_a_disk_that_is_read_only_stops_no_grant_and_lets_no_replay_in(
    site: Site, sock: socket.socket
) -> None:
    alice = Knocker(site.spasshd, "alice")
    with small_disk(site.config.state_dir, "64k"):
        own(site)
        remount = ["mount", "-o", "remount,ro", site.config.state_dir]
        subprocess.run(remount, check=True)
        packets: list[bytes] = []
        for _ in range(2):
            daemon = site.spasshd.start()
            assert "error: replay store: Read-only file system" in daemon.log
            for old in packets:
                assert site.outcome(sock, old) in {"stale", "replayed"}
            packets.append(alice.seal())
            assert site.outcome(sock, packets[-1]) == "granted"
            assert site.outcome(sock, packets[-1]) == "duplicate"
            kill(site, "listener")


@pytest.mark.parametrize("how", ["damaged", "cut", "empty", "gone"])
def test_a_store_that_is_spoilt_lets_no_replay_in(
    site: Site, sock: socket.socket, how: str
) -> None:
    alice = Knocker(site.spasshd, "alice")
    site.spasshd.start()
    old = alice.seal()
    assert site.outcome(sock, old) == "granted"
    kill(site, "listener")
    path = os.path.join(site.config.state_dir, "replay")
    size = os.path.getsize(path)
    if how == "gone":
        os.unlink(path)
    elif how == "damaged":
        with open(path, "r+b") as file:
            file.seek(size - 1)
            byte = file.read(1)
            file.seek(size - 1)
            file.write(bytes([byte[0] ^ 1]))
    else:
        os.truncate(path, 0 if how == "empty" else size - 1)

    daemon = site.spasshd.start()

    assert ("error: replay store: damaged" in daemon.log) is (how != "gone")
    assert site.outcome(sock, old) == "stale"
    assert site.outcome(sock, alice.seal()) == "granted"
