"""Hooks hear of each grant, and delay none."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from lab.inside import port_answers, udp
from lab.knocker import Knocker
from lab.knocks import knock
from lab.network import CLIENT4, CLIENT6, SERVER4, SERVER6, wait_for
from lab.site import Site
from lab.syscalls import children
from lab.users import set_lines

from spassh_server.privsep.programs import _AT_ONCE, _WAITING

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

HOOKS = """
on_open = ["/bin/sh", "-c", '''
    told=$(cat); echo "$told" >>"$0/told"; id -un >>"$0/who"
    case $told in *%(slow)s*) exec sleep 300;; esac
    [ ! -e "$0/refuse" ]''', "DIRECTORY"]
on_close = ["/bin/sh", "-c", 'cat >>"$0/told"; echo >>"$0/told"', "DIRECTORY"]
hook_timeout = 300
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """Return a directory that every account can write to."""
    path = tempfile.mkdtemp()
    os.chmod(path, 0o777)  # noqa: S103 - accounts of commands and hooks write there
    yield path
    shutil.rmtree(path)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Hooked:
    """A daemon whose hooks write down what they hear; one for `slow` never ends."""

    def __init__(self, lab: Lab, shared: str, slow: str) -> None:
        self.directory = tempfile.mkdtemp(dir=shared)
        os.chmod(self.directory, 0o777)  # noqa: S103 - the hook's account writes there
        self.spasshd = lab.spasshd("--protect", "tcp/22")
        text = HOOKS % {"slow": slow}
        text = text.replace("DIRECTORY", self.directory)
        self.spasshd.edit("protect =", f"{text}protect =")
        self.spasshd.edit("lifetime = 15 ", "lifetime = 2 ")
        self.spasshd.start()

    def stop(self) -> None:
        self.spasshd.running.stop()
        self.spasshd.verb("stop", "--open", check=False)

    def told(self) -> list[dict[str, Any]]:
        """Return what the hooks have heard so far, the oldest first."""
        lines = read(os.path.join(self.directory, "told")).splitlines()
        return [json.loads(line) for line in lines if line]

    def wait_told(self, event: str, user: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many hooks have heard of the event, and return the last."""

        def found() -> list[dict[str, Any]]:
            told = [one for one in self.told() if one["event"] == event]
            told = [one for one in told if one["user"] == user]
            return told if len(told) >= count else []

        return wait_for(found, f"{event} of {user}")[-1]


@pytest.fixture
def hooked(lab: Lab, shared: str) -> Iterator[Hooked]:
    """Start one whose on_open for CLIENT6 hangs."""
    made = Hooked(lab, shared, CLIENT6)
    yield made
    made.stop()


def test_hooks_hear_of_the_beginning_and_the_end_of_a_grant(
    lab: Lab, hooked: Hooked
) -> None:
    client = lab.client(hooked.spasshd)
    # A client that names its source ports may need more than one of them.
    client.set_profile('width = "address"')
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"

    grant = {
        "user": "alice",
        "address": CLIENT4,
        "port": "tcp/22",
        "width": "address",
        "source_port": 0,
        "seconds": 2,
    }
    assert hooked.wait_told("open", "alice") == {"event": "open", **grant}
    assert hooked.wait_told("close", "alice") == {"event": "close", **grant}
    assert len(hooked.told()) == 2
    assert read(os.path.join(hooked.directory, "who")) == "nobody\n"
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_a_hook_that_hangs_delays_nobody(lab: Lab, hooked: Hooked) -> None:
    slow = lab.client(hooked.spasshd, "slow")
    slow.set_profile('width = "address"')
    others = lab.client(hooked.spasshd, "quick")
    knock(slow, SERVER6)
    hooked.wait_told("open", "slow")

    assert others.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    hooked.wait_told("open", "quick")
    hooked.wait_told("close", "quick")
    assert slow.ssh("v6.server.test", "echo", "in").stdout == "in\n"
    assert not [one for one in hooked.told() if one["user"] == "slow"][1:]


def test_hooks_that_all_hang_delay_no_grant(lab: Lab, shared: str) -> None:
    """More than run at once, and more than may wait."""
    hooked = Hooked(lab, shared, "address")
    site = Site(lab.server, SERVER4, hooked.spasshd)
    many = [
        Knocker(hooked.spasshd, f"user{number}", "any_address = true", "lifetime = 300")
        for number in range(_AT_ONCE + _WAITING + 8)
    ]
    try:
        hooked.spasshd.verb("reload")
        with udp(lab.client_host) as sock:
            for number, one in enumerate(many):
                site.send(sock, one.seal(address=bytes([198, 51, 100, 1 + number])))
        hooked.spasshd.running.wait_log('text="too many hooks wait"')
        wait_for(lambda: len(hooked.told()) == _AT_ONCE, "the hooks to hang")
        granter = children(hooked.spasshd.running.process.pid)[0]
        hanging = set(children(granter))
        assert len(hanging) == _AT_ONCE

        client = lab.client(hooked.spasshd)
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"

        # None of them has made room for another one meanwhile.
        assert set(children(granter)) == hanging
        assert len(hooked.told()) == _AT_ONCE
        users = {active.user for active in site.grants()}
        assert users >= {one.name for one in many}
    finally:
        hooked.stop()


def test_an_on_open_that_failed_runs_again_with_the_next_knock(
    lab: Lab, hooked: Hooked
) -> None:
    client = lab.client(hooked.spasshd)
    set_lines(hooked.spasshd, "alice", "lifetime = 300")
    hooked.spasshd.verb("reload")
    refuse = os.path.join(hooked.directory, "refuse")
    with open(refuse, "w", encoding="utf-8"):
        pass
    failed = "hook name=on_open status=1"
    knock(client, SERVER4)
    hooked.spasshd.running.wait_log(failed)
    knock(client, SERVER4)
    wait_for(lambda: hooked.spasshd.running.log.count(failed) == 2, failed)
    os.unlink(refuse)
    knock(client, SERVER4)
    hooked.wait_told("open", "alice", 3)
    knock(client, SERVER4)
    hooked.spasshd.verb("revoke", "alice")
    hooked.wait_told("close", "alice")
    assert [one["event"] for one in hooked.told()] == ["open"] * 3 + ["close"]


def test_a_grant_that_is_revoked_is_told_as_closed(lab: Lab, hooked: Hooked) -> None:
    client = lab.client(hooked.spasshd)
    # So that it does not end by itself first.
    set_lines(hooked.spasshd, "alice", "lifetime = 300")
    hooked.spasshd.verb("reload")
    knock(client, SERVER4)
    assert hooked.wait_told("open", "alice")["seconds"] == 300
    hooked.spasshd.verb("revoke", "alice")
    hooked.wait_told("close", "alice")


def test_on_close_runs_when_the_listener_is_killed(lab: Lab, hooked: Hooked) -> None:
    client = lab.client(hooked.spasshd)
    set_lines(hooked.spasshd, "alice", "lifetime = 300")
    hooked.spasshd.verb("reload")
    knock(client, SERVER4)
    hooked.wait_told("open", "alice")

    hooked.spasshd.running.stop(signal.SIGKILL)

    assert hooked.wait_told("close", "alice")["seconds"] == 300


def test_on_close_runs_after_a_daemon_that_was_killed(lab: Lab, hooked: Hooked) -> None:
    client = lab.client(hooked.spasshd)
    # So that it does not end before the daemon does, on a busy machine either.
    set_lines(hooked.spasshd, "alice", "lifetime = 8")
    hooked.spasshd.verb("reload")
    knock(client, SERVER4)
    hooked.wait_told("open", "alice")

    # Both programs: a granter that is left alone runs on_close before it follows.
    pid = hooked.spasshd.running.process.pid
    (granter,) = read(f"/proc/{pid}/task/{pid}/children").split()
    os.kill(int(granter), signal.SIGKILL)
    hooked.spasshd.running.stop(signal.SIGKILL)
    wait_for(
        lambda: not port_answers(lab.client_host, SERVER4, 22, 0.3), "the grant to end"
    )
    assert [one["event"] for one in hooked.told()] == ["open"]
    hooked.spasshd.start()

    hooked.wait_told("close", "alice")
    hooked.spasshd.running.stop()
    hooked.spasshd.start()
    knock(client, SERVER4)
    hooked.wait_told("open", "alice", 2)
    events = [one["event"] for one in hooked.told()]
    assert events == ["open", "close", "open"]
