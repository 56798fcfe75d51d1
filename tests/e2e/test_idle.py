"""A daemon with nothing to do does nothing: no program, and no wake-up.

But for those that a watchdog asks for, where there is one.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import udp
from lab.knocker import Knocker, noise
from lab.network import SERVER4, Network, wait_for
from lab.notify import ALIVE, READY, managed
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import children, state

from spassh_server.limits import REPAIR_SECONDS

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

WINDOW_SECONDS = 3
"""What is measured is that nothing happens: it takes a while to see."""

_LOOK = 12
"""How often one look at the packet filter waits for the kernel, at most."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


def switches(pid: int) -> list[int]:
    """Return how often a process began and was made to wait."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return [int(line.split()[1]) for line in file if "ctxt_switches" in line]


def settle(pids: list[int]) -> None:
    """Wait until no process has woken up for a while.

    Once after a change of the packet filter, the granter looks whether all is well.
    """
    since, seen = time.monotonic(), [[0]]

    def is_quiet() -> bool:
        nonlocal since, seen
        now = [switches(pid) for pid in pids]
        if now != seen:
            since, seen = time.monotonic(), now
        return time.monotonic() - since > REPAIR_SECONDS + 0.5

    wait_for(is_quiet, "the daemon to settle", 60, 0.1)


def timed_rules(network: Network) -> bool:
    return "datestop" in network.server.run(["iptables-save"]).stdout


@pytest.mark.parametrize(
    "lines",
    [
        ['backend = "nftables"'],
        ['backend = "iptables"'],
        ['backend = "iptables"', "ipset = false"],
    ],
    ids=["nftables", "ipset", "timed-rules"],
)
def test_an_idle_daemon_never_wakes_up(
    network: Network, tmp_path: Path, lines: list[str]
) -> None:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    spasshd.edit('backend = "auto"', "\n".join(lines))
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    daemon = spasshd.start()
    try:
        pids = [daemon.process.pid, *children(daemon.process.pid)]
        with udp(network.client) as sock:
            assert site.outcome(sock, alice.seal(lifetime=1)) == "granted"
        wait_for(lambda: not site.grants(), "the grant to end")
        if "ipset = false" in lines:
            wait_for(lambda: not timed_rules(network), "the rule to be swept")
        settle(pids)

        before = [switches(pid) for pid in pids]
        time.sleep(WINDOW_SECONDS)
        after = [switches(pid) for pid in pids]

        assert after == before
        assert [state(pid) for pid in pids] == ["S", "S"]
        assert [children(pid) for pid in pids] == [[pids[1]], []]
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")


def test_a_watchdog_wakes_both_programs_when_it_is_time_and_nothing_else_does(
    network: Network, tmp_path: Path
) -> None:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    # So that the look at the packet filter after the start comes before it is time.
    with managed(spasshd, watchdog=2 * (REPAIR_SECONDS + 1)) as manager:
        assert [manager.recv(64) for _ in range(2)] == [READY, ALIVE]
        listener = spasshd.running.process.pid
        pids = [listener, *children(listener)]

        def sleeps() -> list[int]:
            """Return how often each went to sleep by itself, once both have."""
            wait_for(lambda: [state(pid) for pid in pids] == ["S", "S"], "their sleep")
            return [switches(pid)[0] for pid in pids]

        before = sleeps()
        assert [manager.recv(64) for _ in range(2)] == [ALIVE] * 2

        slept = [now - then for now, then in zip(sleeps(), before, strict=True)]
        # The granter wakes up when it is asked, and looks at the packet filter, for
        # which it waits a few times. The listener asks, and may have gone to sleep
        # again before it is answered.
        assert 2 <= slept[1] <= 2 * _LOOK
        assert 2 <= slept[0] <= 4


def test_a_live_grant_wakes_nobody_up_where_the_kernel_ends_it(
    network: Network, tmp_path: Path
) -> None:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    spasshd.edit("max_lifetime = 300", "max_lifetime = 600")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice", "max_lifetime = 600")
    daemon = spasshd.start()
    try:
        pids = [daemon.process.pid, *children(daemon.process.pid)]
        with udp(network.client) as sock:
            assert site.outcome(sock, alice.seal(lifetime=600)) == "granted"
        settle(pids)

        before = [switches(pid) for pid in pids]
        time.sleep(WINDOW_SECONDS)

        assert [switches(pid) for pid in pids] == before
        assert site.grants()
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")


def test_what_has_not_the_tag_wakes_nobody_up(network: Network, tmp_path: Path) -> None:
    """The kernel computes it, and nothing of such a packet comes to any program."""
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    daemon = spasshd.start()
    right = noise(spasshd)
    try:
        pids = [daemon.process.pid, *children(daemon.process.pid)]
        settle(pids)
        before = [switches(pid) for pid in pids]
        with udp(network.stranger) as sock:
            for number in range(960):
                at, bit = divmod(number % 96, 8)
                wrong = right[:at] + bytes([right[at] ^ 1 << bit]) + right[at + 1 :]
                for junk in (wrong, os.urandom(192), os.urandom(1200)):
                    site.send(sock, junk)
        assert [switches(pid) for pid in pids] == before

        with udp(network.client) as sock:
            assert site.outcome(sock, alice.seal()) == "granted"
        # Each of them would have been counted before this one, had it come so far.
        assert site.counters() == {"frames": 1, "granted": 1}
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")


def test_a_kernel_that_cannot_check_the_tag_leaves_it_to_the_daemon(
    network: Network, tmp_path: Path
) -> None:
    """Same packets, same results; only that the daemon wakes up, and says so."""
    # It is the limit of this namespace, unless the kernel is too old for that.
    limit = "/proc/sys/net/core/optmem_max"
    usual = network.server.run(["cat", limit], check=False).stdout
    if not usual:
        pytest.skip("before Linux 6.7, namespaces share net.core.optmem_max")
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    network.server.run(["sh", "-c", f"echo 4096 > {limit}"])
    try:
        daemon = spasshd.start()
    finally:
        network.server.run(["sh", "-c", f"echo {usual.strip()} > {limit}"])
    try:
        text = "this kernel does not check the tag of packets: see spasshd(8)"
        assert f'warning text="{text}"' in daemon.log
        right = noise(spasshd)
        with udp(network.stranger) as sock:
            for junk in (
                os.urandom(192),
                right[:3] + bytes([right[3] ^ 1]) + right[4:],
            ):
                assert site.outcome(sock, junk) == "not-ours"
            site.send(sock, os.urandom(193))
        with udp(network.client) as sock:
            assert site.outcome(sock, alice.seal()) == "granted"
        assert site.counters() == {"frames": 3, "not-ours": 2, "granted": 1}
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")


def test_what_has_not_the_shape_of_a_knock_wakes_nobody_up(
    network: Network, tmp_path: Path
) -> None:
    """The kernel's filter keeps it out."""
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    alice = Knocker(spasshd, "alice")
    daemon = spasshd.start()
    try:
        with udp(network.stranger) as sock:
            for _ in range(100):
                for size in (0, 1, 191, 193, 1000, 1199, 1201, 1400):
                    site.send(sock, os.urandom(size))
                sock.sendto(os.urandom(192), (SERVER4, 53))
        with udp(network.client) as sock:
            assert site.outcome(sock, alice.seal()) == "granted"
        assert site.counters() == {"frames": 1, "granted": 1}
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")
