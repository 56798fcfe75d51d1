"""`spasshd protect`: a port on trial, with whoever may die killed.

What confirms it is a login that came through the drop, and nothing else is.
"""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, wait_for
from lab.programs import Client, Spasshd
from lab.syscalls import children

from spassh_server import config

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

BACKENDS = {
    "nftables": ("nftables", True),
    "iptables with ipset": ("iptables", True),
    "iptables without ipset": ("iptables", False),
}


class Site(Spasshd):
    """A daemon that protects nothing yet, and a client that it knows."""

    def __init__(self, lab: Lab, backend: str, *, ipset: bool = True) -> None:
        super().__init__(lab.server, lab.path("spasshd"), "--backend", backend)
        if not ipset:
            self.edit("backend =", "ipset = false\nbackend =")
        self.lab = lab
        self.start()
        self.client: Client = lab.client(self)
        self.client.set_profile('width = "address"')

    @property
    def protected(self) -> list[str]:
        return [str(port) for port in config.load(self.config).protect]

    def is_open(self) -> bool:
        return port_answers(self.lab.stranger, SERVER4, 22, 0.3)

    def login(self, *words: str, check: bool = True) -> str:
        """Log in through spassh, and run a verb of spasshd there."""
        done = self.client.ssh(
            "v4.server.test", "spasshd", *words, "--config", self.config, check=check
        )
        return done.stdout + done.stderr

    def end(self) -> None:
        if self.running.process.poll() is None:
            self.running.stop()
        self.verb("stop", "--open")


@pytest.fixture(params=BACKENDS)
def any_site(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Site]:
    backend, ipset = BACKENDS[request.param]
    made = Site(lab, backend, ipset=ipset)
    yield made
    made.end()


@pytest.fixture
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab, "nftables")
    yield made
    made.end()


def test_a_fresh_login_confirms_and_a_restart_keeps_it(any_site: Site) -> None:
    assert any_site.is_open()
    any_site.verb("protect", "tcp/22")
    assert not any_site.is_open()
    assert any_site.status()["in_place"]
    assert any_site.status()["trial"]["ports"] == ["tcp/22"]
    assert any_site.protected == []
    assert "protected: tcp/22" in any_site.login("confirm")
    assert any_site.protected == ["tcp/22"]
    assert any_site.status()["trial"] is None
    assert any_site.status()["in_place"]
    assert not any_site.is_open()
    any_site.running.stop()
    any_site.start()
    assert not any_site.is_open()


def test_killed_all_of_it_the_kernel_opens_the_port_in_time(any_site: Site) -> None:
    any_site.verb("protect", "tcp/22", "--confirm-within", "10s")
    assert not any_site.is_open()
    listener = any_site.running.process.pid
    for pid in children(listener):
        os.kill(pid, signal.SIGKILL)
    any_site.running.stop(signal.SIGKILL)
    assert not any_site.is_open(), "that would be too early to show anything"
    wait_for(any_site.is_open, "the kernel to end the trial")
    assert any_site.protected == []


def test_a_daemon_that_is_stopped_in_mid_trial_ends_it(any_site: Site) -> None:
    any_site.verb("protect", "tcp/22")
    assert not any_site.is_open()
    any_site.running.stop()
    assert any_site.is_open()


def test_in_time_it_is_rolled_back_and_said(site: Site) -> None:
    site.verb("protect", "tcp/22", "--confirm-within", "10s")
    site.running.wait_log("spasshd: rollback ports=tcp/22")
    assert site.is_open()
    assert site.status()["trial"] is None
    assert site.status()["in_place"]
    assert "nothing is on trial" in site.login("confirm", check=False)
    assert site.protected == []


def test_a_daemon_that_is_started_anew_goes_on_with_it(site: Site) -> None:
    site.verb("protect", "tcp/22")
    site.running.stop(signal.SIGKILL)
    site.start()
    assert not site.is_open()
    # Who was let in before that has to knock again: it was forgotten.
    assert "protected: tcp/22" in site.login("confirm")


def test_after_a_boot_there_is_no_trial(site: Site) -> None:
    site.verb("protect", "tcp/22")
    path = os.path.join(config.load(site.config).run_dir, "trial")
    with open(path, encoding="ascii") as file:
        lines = file.read().splitlines(keepends=True)
    with open(path, "w", encoding="ascii") as file:
        file.writelines(
            "booted = 1767225600000\n" if line.startswith("booted =") else line
            for line in lines
        )
    site.running.stop(signal.SIGKILL)
    site.start()
    assert site.is_open()


def test_a_login_from_before_confirms_nothing(site: Site) -> None:
    then = f"echo in; read word; spasshd confirm --config {site.config}"
    session = site.client.popen(
        *("ssh", *site.client.ssh_options, "v4.server.test", then),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert session.stdout is not None
    assert session.stdout.readline() == b"in\n"
    site.verb("protect", "tcp/22")
    # It knocks meanwhile, and so another login is in; but this one is the old one.
    site.login("status")
    said = session.communicate(b"now\n", timeout=60)[1]
    assert b"error: no knock has let this login from" in said
    assert session.returncode == 1
    assert site.protected == []


def test_a_console_confirms_nothing(site: Site) -> None:
    site.verb("protect", "tcp/22")
    done = site.verb("confirm", check=False)
    assert done.returncode == 1
    assert "this is no login through tcp/22" in done.stderr


def test_who_gets_in_without_a_knock_confirms_nothing(site: Site) -> None:
    site.edit("grant_ports =", f'always_allow = ["{CLIENT4}"]\ngrant_ports =')
    site.running.stop()
    site.start()
    site.verb("protect", "tcp/22")
    plainly = ("-o", "ProxyCommand=none", SERVER4)
    words = ("spasshd", "confirm", "--config", site.config)
    said = site.client.ssh(*plainly, *words, check=False).stderr
    assert f"no knock has let this login from {CLIENT4} in" in said
    assert site.protected == []
    assert "protected: tcp/22" in site.login("confirm")


def test_when_somebody_flushes_all_rules_the_trial_goes_on(site: Site) -> None:
    site.verb("protect", "tcp/22")
    site.host.run(["nft", "flush", "ruleset"])
    site.running.wait_log("spasshd: repaired")
    wait_for(lambda: not site.is_open(), "the drop to be back")
    assert "protected: tcp/22" in site.login("confirm")


def plainly(site: Site, *words: str) -> subprocess.Popen[bytes]:
    """Begin a login without a knock."""
    options = ("-o", "ProxyCommand=none", SERVER4)
    argv = ["ssh", *site.client.ssh_options, *options, *words]
    return site.client.popen(
        *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_login_in_the_gap_of_a_restart_confirms_nothing(site: Site) -> None:
    site.verb("protect", "tcp/22")
    site.running.stop()
    then = f"echo in; read word; spasshd confirm --config {site.config}"
    session = plainly(site, then)
    assert session.stdout is not None
    assert session.stdout.readline() == b"in\n"
    site.start()
    assert not site.is_open()
    site.login("status")
    said = session.communicate(b"now\n", timeout=60)[1]
    assert b"error: no knock has let this login from" in said
    assert site.protected == []


def test_a_connection_that_sshd_accepts_late_confirms_nothing(site: Site) -> None:
    """It was begun before the drop, and its process is younger than that."""
    sshd = site.lab.sshd.process
    sshd.send_signal(signal.SIGSTOP)
    try:
        session = plainly(site, "spasshd", "confirm", "--config", site.config)
        wait_for(
            lambda: "ESTAB" in site.host.run(["ss", "-Htn", "sport = :22"]).stdout,
            "the connection to begin",
        )
        site.verb("protect", "tcp/22")
        site.client.run("spassh", "knock", "v4.server.test")
        site.running.wait_log("granted user=alice")
    finally:
        sshd.send_signal(signal.SIGCONT)
    said = session.communicate(timeout=60)[1]
    assert b"error: no knock has let this login from" in said
    assert site.protected == []


def test_a_grant_of_before_lets_nobody_through_the_trial(site: Site) -> None:
    site.client.run("spassh", "knock", "--for", "5m", "v4.server.test")
    site.running.wait_log("granted user=alice")
    site.verb("protect", "tcp/22")
    assert site.status()["grants"] == []
    assert not port_answers(site.client.host, SERVER4, 22, 0.3)


def test_stop_open_leaves_no_trial_behind(site: Site) -> None:
    site.verb("protect", "tcp/22")
    site.verb("stop", "--open")
    assert site.is_open()
    site.start()
    assert site.is_open()
