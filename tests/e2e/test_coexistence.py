"""The drop among other people's rules, and while the daemon is not there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from lab.inside import port_answers
from lab.knocks import knock
from lab.network import (
    CLIENT4,
    SERVER4,
    SERVER6,
    STRANGER4,
    STRANGER6,
    LabError,
    wait_for,
)
from lab.programs import REPOSITORY

from .conftest import Lab

BOTH_WAYS = [("nftables", "iptables"), ("iptables", "nftables")]

pytestmark = [pytest.mark.login, pytest.mark.netns]

FOREIGN = """
table inet mine {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""

each_backend = pytest.mark.parametrize("backend", ["nftables", "iptables"])


def ruleset(lab: Lab) -> str:
    return lab.server.run(["nft", "list", "ruleset"]).stdout


@pytest.fixture
def foreign(lab: Lab) -> Iterator[None]:
    """Have the server drop by default, as its owner wrote it by hand."""
    lab.server.run(["nft", "-f", "-"], text=FOREIGN)
    yield
    lab.server.run(["nft", "delete", "table", "inet", "mine"])


@each_backend
def test_who_is_always_allowed_needs_no_grant(lab: Lab, backend: str) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", backend)
    networks = f'["{STRANGER4}/32", "{STRANGER6}/128"]'
    spasshd.edit("backend =", f"always_allow = {networks}\nbackend =")
    spasshd.start()
    try:
        for address in (SERVER4, SERVER6):
            assert port_answers(lab.stranger, address, 22)
            assert not port_answers(lab.client_host, address, 22, 0.3)
        assert spasshd.status()["grants"] == []
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


def test_accept_alone_gets_through_a_drop_of_somebody_else(
    lab: Lab, foreign: None
) -> None:
    before = ruleset(lab)
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", "nftables")
    spasshd.edit("backend =", 'manage = "accept"\nbackend =')
    spasshd.start()
    try:
        client = lab.client(spasshd)
        assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        assert client.ssh("v6.server.test", "echo", "in").stdout == "in\n"
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
        spasshd.flush()
        assert not port_answers(lab.client_host, SERVER4, 22, 0.3)

        # The drop is its owner's: without it, the port is open to everybody.
        lab.server.run(
            ["nft", "add", "chain", "inet", "mine", "input", "{ policy accept; }"]
        )
        assert port_answers(lab.stranger, SERVER4, 22)
        lab.server.run(
            ["nft", "add", "chain", "inet", "mine", "input", "{ policy drop; }"]
        )
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
    assert ruleset(lab) == before
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


@each_backend
def test_stop_open_leaves_what_was_there_before(
    lab: Lab, foreign: None, backend: str
) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", backend)
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    before = ruleset(lab)
    spasshd.start()
    knock(lab.client(spasshd), SERVER4)
    spasshd.wait_grants({"alice"})
    assert ruleset(lab) != before

    spasshd.running.stop()
    spasshd.verb("stop", "--open")

    left = [line for line in ruleset(lab).splitlines() if "spassh" in line]
    assert left == []
    assert "table inet mine" in ruleset(lab)
    assert lab.server.run(["ipset", "list", "-name"]).stdout == ""
    if backend == "nftables":
        assert ruleset(lab) == before


@contextmanager
def flood(lab: Lab, port: int = 22) -> Iterator[Callable[[], tuple[int, int]]]:
    """Try to connect all the time; yield what ends it and counts tries and answers."""
    script = os.path.join(REPOSITORY, "tests", "lab", "flood.py")
    process = lab.stranger.popen(
        [sys.executable, "-IS", script, SERVER4, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"

    def end() -> tuple[int, int]:
        begun, answered = process.communicate(timeout=30)[0].split()
        return int(begun), int(answered)

    try:
        yield end
    finally:
        process.kill()
        process.communicate()


@each_backend
def test_no_end_of_the_daemon_answers_a_stranger(lab: Lab, backend: str) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", backend)
    spasshd.start()
    try:
        with flood(lab) as end:
            spasshd.verb("stop")
            spasshd.running.process.wait(60)
            spasshd.start()
            spasshd.running.stop(signal.SIGKILL)
            spasshd.start()
            # An upgrade may come with another configuration.
            spasshd.running.stop()
            networks = f'["{CLIENT4}/32"]'
            spasshd.edit("backend =", f"always_allow = {networks}\nbackend =")
            spasshd.start()
            assert port_answers(lab.client_host, SERVER4, 22)
            begun, answered = end()
        assert begun > 100
        assert answered == 0
        # Where nothing is dropped, the flood does hear answers: that it is refused.
        with flood(lab, 23) as end:
            assert spasshd.running.stop() == 0
            assert end()[1] > 0
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


@pytest.mark.parametrize(("old", "new"), BOTH_WAYS)
def test_another_back_end_takes_over_without_a_gap_and_locks_nobody_out(
    lab: Lab, old: str, new: str
) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", old)
    client = lab.client(spasshd)
    spasshd.start()
    spasshd.running.stop()
    spasshd.edit(f'backend = "{old}"', f'backend = "{new}"')
    with flood(lab) as end:
        spasshd.start()
        tried, answered = end()
    try:
        assert tried
        assert not answered
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


OWNED = b"""\
add table inet owned { flags owner; }
add chain inet owned input { type filter hook input priority 10; policy accept; }
add rule inet owned input tcp dport 22 accept
add rule inet owned input tcp dport 23 reject
"""


@contextmanager
def owned(lab: Lab) -> Iterator[None]:
    """Have a table that nobody but its owner can change, as firewalld may have."""
    owner = lab.server.popen(["nft", "-i"], stdin=subprocess.PIPE)
    try:
        assert owner.stdin is not None
        owner.stdin.write(OWNED)
        owner.stdin.flush()
        wait_for(lambda: "tcp dport 23 reject" in ruleset(lab), "the table")
        yield
    finally:
        owner.communicate()
    wait_for(lambda: "table inet owned" not in ruleset(lab), "the end of the table")


def test_a_firewall_that_refuses_our_rule_is_told_and_locks_nobody_out(
    lab: Lab,
) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", "nftables")
    client = lab.client(spasshd)
    spasshd.start()
    try:
        with owned(lab):
            spasshd.running.stop(signal.SIGKILL)
            spasshd.start()
            assert "error: chain inet owned input: " in spasshd.running.log
            assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
            assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
            (warning,) = spasshd.status()["warnings"]
            assert "chain inet owned input" in warning
            assert f"warning: {warning}\n" in spasshd.verb("check").stdout
            # Who would drop for the first time is told before that.
            spasshd.running.stop()
            spasshd.verb("stop", "--open")
            with pytest.raises(LabError, match="chain inet owned input"):
                spasshd.start()
            assert port_answers(lab.stranger, SERVER4, 22)
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


def test_a_chain_that_iptables_cannot_list_locks_nobody_out(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", "iptables")
    client = lab.client(spasshd)
    spasshd.start()
    # A change of nftables has the granter look, and what it then finds is an error.
    lab.server.run(["nft", "add rule ip filter INPUT fib daddr type local"])
    try:
        spasshd.running.wait_log("error: iptables cannot list INPUT")
        spasshd.running.stop(signal.SIGKILL)
        spasshd.start()
        spasshd.running.wait_log("error: iptables cannot list INPUT")
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
        assert ruleset(lab).count("jump SPASSH") == 2
        status = spasshd.status()
        assert status["in_place"] is None
        assert any("cannot list INPUT" in one for one in status["warnings"])
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
    assert "SPASSH" not in ruleset(lab)
    assert port_answers(lab.stranger, SERVER4, 22)
    lab.server.run(["nft", "flush", "ruleset"])
