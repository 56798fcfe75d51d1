"""The firewalls that most hosts have, themselves: ufw and firewalld.

They run in the server's namespace, with directories of their own.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from firewall.backends import ONCE_KINDS, SETTINGS, SSH, make, to
from firewall.inner import Inner
from firewall.network import (
    CLIENT,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
    wait_for,
)
from firewall.test_forwards import GATEWAY, SHELL, is_kept_out, shell

from spassh_server.firewall import Firewall, Width

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

each_kind = pytest.mark.parametrize(
    "kind", ["nftables", "iptables-nft with ipset", "iptables-nft"]
)


class Ufw:
    """ufw, which reads and writes a copy of its configuration."""

    def __init__(self, directory: Path) -> None:
        self._etc = directory / "ufw"
        shutil.copytree("/etc/ufw", self._etc)
        self.say("--force", "enable")

    def say(self, *words: str) -> None:
        """Run ufw."""
        script = 'mount --bind "$0" /etc/ufw && exec ufw "$@"'
        private = ["unshare", "--mount", "--propagation", "private"]
        sh(*private, "sh", "-c", script, str(self._etc), *words)


@pytest.fixture
def ufw(network: Network, tmp_path: Path) -> Ufw:
    assert shutil.which("ufw"), "apt install ufw"
    return Ufw(tmp_path)


@each_kind
def test_grants_get_through_ufw(kind: str, ufw: Ufw, network: Network) -> None:
    assert network.is_closed(*EVERYBODY)
    before = everything()
    firewall = make(kind)
    assert firewall.unavailable() is None
    firewall.prepare()
    _check_grants(kind, firewall, network)
    firewall.remove()
    assert everything() == before
    firewall.prepare()
    ufw.say("allow", "22/tcp")
    assert network.is_silent(*STRANGERS), "ours is the drop"
    ufw.say("reload")
    firewall.repair()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)
    assert firewall.repair() is False


@each_kind
def test_ufw_owns_the_drop_and_grants_get_through(
    kind: str, ufw: Ufw, network: Network
) -> None:
    firewall = make(kind, SETTINGS._replace(own_drop=False))
    firewall.prepare()
    _check_grants(kind, firewall, network)
    ufw.say("allow", "22/tcp")
    assert network.is_open(*STRANGERS)


@each_kind
def test_forwards_get_through_ufw(kind: str, ufw: Ufw, network: Network) -> None:
    with Inner(network) as inner:
        _check_forwards(make(kind, GATEWAY), inner)


UNPACKED = Path(__file__).parents[2] / ".firewalld"
"""Where scripts/test unpacks firewalld: installed, it would be enabled on this host."""

BUS = """<!DOCTYPE busconfig
    PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
    "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={0}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
</busconfig>
"""


class Firewalld:
    """firewalld, on a bus of its own, in the zone that drops everything."""

    def __init__(self, directory: Path) -> None:
        bus = directory / "bus"
        (directory / "bus.conf").write_text(BUS.format(bus))
        (directory / "etc").mkdir()
        settings = "DefaultZone=drop\nFirewallBackend=nftables\n"
        (directory / "etc" / "firewalld.conf").write_text(settings)
        self._environment = os.environ | {
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}",
            "PYTHONPATH": f"{UNPACKED}/usr/lib/python3/dist-packages",
        }
        self._directory = directory
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it, and wait until it has made its rules."""
        directory = self._directory
        self._start("dbus-daemon", f"--config-file={directory}/bus.conf", "--nofork")
        wait_for((directory / "bus").exists, "the bus")
        files = [
            f"--default-config={UNPACKED}/usr/lib/firewalld",
            f"--system-config={directory}/etc",
            f"--log-file={directory}/log",
        ]
        self._start(*_python("usr/sbin/firewalld"), "--nofork", "--nopid", *files)
        wait_for(lambda: self._ask("--state") == 0, "firewalld", 60)

    def stop(self) -> None:
        """End it and its bus."""
        for program in reversed(self._programs):
            program.terminate()
            program.wait(10)

    def reload(self) -> None:
        """Have it make its rules anew."""
        assert self._ask("--reload") == 0

    def _start(self, *argv: str) -> None:
        with open(self._directory / "output", "ab") as output:
            program = subprocess.Popen(
                argv, env=self._environment, stdout=output, stderr=output
            )
        self._programs.append(program)

    def _ask(self, word: str) -> int:
        done = subprocess.run(
            [*_python("usr/bin/firewall-cmd"), word],
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.returncode


def _python(program: str) -> list[str]:
    """Return how to run a program of firewalld, which takes modules of Debian."""
    return ["/usr/bin/python3", str(UNPACKED / program)]


@contextmanager
def running(directory: Path) -> Iterator[Firewalld]:
    assert UNPACKED.is_dir(), "scripts/test unpacks firewalld"
    assert shutil.which("dbus-daemon"), "apt install dbus-daemon"
    firewalld = Firewalld(directory)
    try:
        firewalld.start()
        yield firewalld
    finally:
        firewalld.stop()


@pytest.fixture
def firewalld(network: Network, tmp_path: Path) -> Iterator[Firewalld]:
    with running(tmp_path) as firewalld:
        yield firewalld


def test_grants_get_through_firewalld(firewalld: Firewalld, network: Network) -> None:
    assert network.is_closed(*EVERYBODY)
    before = everything()
    firewall = make("nftables")
    firewall.prepare()
    _check_grants("nftables", firewall, network)
    firewalld.reload()
    assert network.is_closed(*CLIENTS)
    assert firewall.repair() is True
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_closed(*STRANGERS)
    assert firewall.repair() is False
    assert firewall.warnings() == []
    firewall.remove()
    assert everything() == before


def test_forwards_get_through_firewalld(firewalld: Firewalld, network: Network) -> None:
    with Inner(network) as inner:
        _check_forwards(make("nftables", GATEWAY), inner)


def _check_grants(kind: str, firewall: Firewall, network: Network) -> None:
    assert network.is_closed(*EVERYBODY)
    sessions = []
    for source in CLIENTS:
        firewall.grant(to(source, SSH, Width.FLOW, 40001), 60)
        sessions.append(network.session(source, source_port=40001))
        assert network.is_closed(source)
        if kind in ONCE_KINDS:
            firewall.grant(to(source, SSH, Width.ONCE), 60)
            sessions.append(network.session(source))
            assert network.is_closed(source)
        firewall.grant(to(source), 60)
        assert network.is_open(source)
        assert network.is_closed(source, port=80)
    assert network.is_closed(*STRANGERS)
    for source in CLIENTS:
        firewall.revoke(to(source))
    assert network.is_closed(*EVERYBODY)
    assert all(session.lives() for session in sessions)


def _check_forwards(gateway: Firewall, inner: Inner) -> None:
    gateway.prepare()
    sessions = []
    for version in VERSIONS:
        assert is_kept_out(inner, CLIENT[version])
        gateway.grant(shell(CLIENT[version]), 60)
        sessions.append(inner.session(CLIENT[version], SHELL.number))
        assert is_kept_out(inner, STRANGER[version])
        gateway.revoke(shell(CLIENT[version]))
        assert is_kept_out(inner, CLIENT[version])
    assert all(session is not None and session.lives() for session in sessions)
