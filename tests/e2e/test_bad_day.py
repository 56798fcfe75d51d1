"""A bad day: what goes wrong, and what the user is told, with real programs.

Each row has one cause. `spassh proxy` has to end within its documented time, with one
error, one hint and the exit code of spassh(1), and leave nothing behind.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from lab.network import wait_for
from lab.programs import RELAY, Client, Spasshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

V4 = "v4.server.test"
TIMEOUT = 3
"""Seconds that the profile says."""
PATIENCE = 45
"""Seconds after which a program that has not ended is a failure. What spassh(1) says is
shorter: 15 for a name, and the profile's."""

GRANT_PORTS = 'grant_ports = ["tcp/22", "tcp/2222", "tcp/2223"]'
"""The user may have the first and the last. The first alone is served, and the last is
not dropped."""

Trouble = Callable[["Scene"], None]


class Scene:
    """A client that is known, a server that is shut, and what happens to them."""

    def __init__(self, lab: Lab, spasshd: Spasshd, client: Client) -> None:
        self.lab = lab
        self.spasshd = spasshd
        self.client = client
        self.before: list[str] = []
        """What `spassh` is started through."""
        self.later = ExitStack()
        """What makes it all good again."""

    def patience(self, seconds: int) -> None:
        """Have the profile wait for so long."""
        with open(self.client.profile, encoding="utf-8") as file:
            text = file.read()
        with open(self.client.profile, "w", encoding="utf-8") as file:
            file.write(text.replace(f"timeout = {TIMEOUT}", f"timeout = {seconds}"))


class BadDay(NamedTuple):
    """One thing goes wrong."""

    trouble: Trouble
    code: int
    error: str
    hint: str
    host: str = V4
    port: str = "22"
    counted: str = ""
    """What the server counts."""


def deaf(scene: Scene) -> None:
    """Have the network drop knocks, and nothing else."""
    wire = scene.lab.network.wire
    rule = "type filter hook forward priority 0; udp dport 62201 drop;"
    wire.run(["nft", f"table bridge deaf {{ chain knocks {{ {rule} }}; }}"])
    scene.later.callback(wire.run, ["nft", "delete table bridge deaf"])


def unplugged(scene: Scene) -> None:
    host = scene.client.host
    host.run(["ip", "route", "flush", "dev", "eth0"])
    again = ["ip", "route", "add", "192.0.2.0/24", "dev", "eth0"]
    scene.later.callback(host.run, again)


def gone(scene: Scene) -> None:
    """Have the server be down: nobody answers for its address."""
    wire = scene.lab.network.wire
    # Linux looks for a neighbour for three seconds.
    scene.patience(8)
    wire.run(["ip", "link", "set", "pserver", "down"])
    scene.client.host.run(["ip", "neigh", "flush", "dev", "eth0"])
    scene.later.callback(wire.run, ["ip", "link", "set", "pserver", "up"])


def clock(shift: str) -> Trouble:
    def trouble(scene: Scene) -> None:
        scene.before = ["faketime", "-f", shift]

    return trouble


def revoked(scene: Scene) -> None:
    scene.spasshd.verb("user", "remove", "alice")


def daemon_is_gone(scene: Scene) -> None:
    scene.spasshd.running.stop(signal.SIGKILL)


def readable(scene: Scene) -> None:
    os.chmod(scene.client.profile, 0o644)


def damaged(scene: Scene) -> None:
    with open(scene.client.profile, "a", encoding="utf-8") as file:
        file.write("timeuot = 3\n")


def nothing(_: Scene) -> None:
    """Have nothing wrong with the machines: it is what was asked for."""


STAYS_SHUT = f"port 22 of {V4} stays shut: no answer within {TIMEOUT} s"

BAD_DAYS = {
    "the network drops UDP": BadDay(deaf, 6, STAYS_SHUT, "spassh doctor"),
    "the clock is behind": BadDay(
        clock("-3m"), 6, STAYS_SHUT, "clock", counted="stale"
    ),
    "the clock is ahead": BadDay(clock("+3m"), 6, STAYS_SHUT, "clock", counted="stale"),
    "the user was removed": BadDay(
        revoked, 6, STAYS_SHUT, "spassh doctor", counted="unauthentic"
    ),
    "spasshd is dead": BadDay(daemon_is_gone, 6, STAYS_SHUT, "spassh doctor"),
    "the port is not the user's": BadDay(
        nothing,
        6,
        f"port 2222 of {V4} stays shut: no answer within {TIMEOUT} s",
        "spassh doctor",
        port="2222",
        counted="refused",
    ),
    "nobody serves the port": BadDay(
        nothing,
        7,
        f"{V4} refuses connections to port 2223",
        "see that sshd runs there",
        port="2223",
    ),
    "there is no way out": BadDay(
        unplugged, 5, f"cannot reach {V4}: network is unreachable", "the network is up"
    ),
    "the server is down": BadDay(
        gone, 5, f"cannot reach {V4}: no route to host", "the network is up"
    ),
    "the name is unknown": BadDay(
        nothing, 4, "cannot resolve nowhere.test: ", "", host="nowhere.test"
    ),
    "others can read the profile": BadDay(
        readable, 3, "other users can read or change it", "chmod 600 "
    ),
    "the profile has a typing error": BadDay(
        damaged, 3, "unknown key 'timeuot'", "timeout"
    ),
    "the port is no port": BadDay(
        nothing, 2, "not a port: ssh", "a port is a number", port="ssh"
    ),
}


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--protect", "tcp/2222")
    spasshd.edit('grant_ports = ["tcp/22", "tcp/2222"]', GRANT_PORTS)
    spasshd.start()
    client = Client(lab.client_host, lab.path("home"), lab.sshd.user_key)
    ports = ("--port", "tcp/22", "--port", "tcp/2223")
    client.accept(spasshd.invite("alice", *ports), "--host", V4)
    client.set_profile(f"timeout = {TIMEOUT}")
    made = Scene(lab, spasshd, client)
    with made.later:
        yield made
    if spasshd.running.process.poll() is None:
        spasshd.running.stop()
    spasshd.verb("stop", "--open")


@pytest.mark.parametrize("name", BAD_DAYS)
def test_it_is_told_in_time_with_a_hint_and_an_exit_code(
    scene: Scene, name: str
) -> None:
    day = BAD_DAYS[name]
    day.trouble(scene)
    done = scene.client.run(
        *scene.before,
        *("spassh", "proxy", day.host, day.port),
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == day.code, done.stderr
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error.startswith("spassh: error: ")
    assert day.error in error
    assert hint.startswith("spassh: hint: ")
    assert day.hint in hint
    if day.counted:
        wait_for(
            lambda: scene.spasshd.status()["counters"].get(day.counted, 0),
            f"the server to count {day.counted}",
        )


def test_ssh_itself_says_it_and_ends(scene: Scene) -> None:
    revoked(scene)
    for options in ((), RELAY):
        done = scene.client.ssh(*options, V4, "true", check=False, timeout=PATIENCE)
        assert done.returncode == 255
        assert f"spassh: error: {STAYS_SHUT}\n" in done.stderr
        assert "spassh: hint: " in done.stderr


@pytest.mark.parametrize("options", [(), RELAY], ids=["fdpass", "relay"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_who_does_not_wait_leaves_nothing_running(
    scene: Scene, options: tuple[str, ...], number: int
) -> None:
    revoked(scene)
    scene.patience(60)
    argv = ["ssh", *scene.client.ssh_options, *options, V4, "true"]
    process = scene.client.popen(*argv, stderr=subprocess.PIPE, start_new_session=True)

    def ours() -> list[int]:
        return scene.client.host.running("spassh proxy")

    wait_for(lambda: bool(ours()), "spassh to be started")
    # As a terminal does: everybody in the foreground gets it.
    os.killpg(os.getpgid(ours()[0]), number)
    process.communicate(timeout=PATIENCE)
    wait_for(lambda: not ours(), "spassh to be gone")
