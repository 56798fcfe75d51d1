"""From a bare Debian to a guarded one, and back: all by Debian's own programs.

Server and client are minimal systems that debootstrap has made. Each boots its own
systemd, runs its own sshd or ssh, and installs our packages with apt from a local
repository, with what they depend on from Debian's archive.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab.debian import RELEASES, DebianMachine, base, root
from lab.inside import Silence, port_answers
from lab.network import SERVER4, SERVER_NAME, Host, Network
from lab.packages import rebuilt
from lab.sessions import Session
from lab.syscalls import children, fields

from .conftest import BIN_DIRS

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("systemd-nspawn") is None,
        reason="systemd-nspawn is missing: apt install systemd-container",
    ),
    # The first time, a Debian has to be fetched; and a busy machine is slow.
    pytest.mark.timeout(1800),
]

LOGIN = f"root@{SERVER_NAME}"
CONFIG = "/etc/spassh/spasshd.toml"
KEY = "/etc/spassh/server.key"
USER = "/etc/spassh/users.d/ada.toml"
PROGRAMS = {"spassh": "/usr/bin/spassh", "spassh-server": "/usr/sbin/spasshd"}


@pytest.fixture(scope="session", params=RELEASES, autouse=True)
def bare(request: pytest.FixtureRequest) -> str:
    """Return a release that there is a bare Debian of: before anybody wants packages.

    They are built meanwhile, if others want them.
    """
    release: str = request.param
    base(release)
    return release


@pytest.fixture
def higher(packages: Path) -> Path:
    return rebuilt(packages)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture
def files(bare: str, packages: Path) -> Path:
    return root(bare, packages)


@contextmanager
def booted(host: Host, directory: Path, files: Path) -> Iterator[DebianMachine]:
    machine = DebianMachine(host, str(directory), str(files))
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def server(
    network: Network, files: Path, packages: Path, tmp_path: Path
) -> Iterator[DebianMachine]:
    with booted(network.server, tmp_path / "server", files) as made:
        key = (tmp_path / "key.pub").read_text(encoding="ascii")
        made.write("/root/.ssh/authorized_keys", key)
        made.offer(packages)
        made.boot()
        yield made


@pytest.fixture(autouse=True)
def _key(tmp_path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(argv, check=True)


@pytest.fixture
def client(
    network: Network, files: Path, packages: Path, tmp_path: Path
) -> Iterator[DebianMachine]:
    with booted(network.client, tmp_path / "client", files) as made:
        key = (tmp_path / "key").read_text(encoding="ascii")
        made.write("/root/.ssh/id_ed25519", key, 0o600)
        made.write("/root/.ssh/config", "StrictHostKeyChecking accept-new\n", 0o600)
        made.offer(packages)
        made.boot()
        yield made


def by_user(machine: DebianMachine, *argv: str) -> list[str]:
    """Return what runs a program as root does who has logged in."""
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return machine.entered("env", "-i", "HOME=/root", "LC_ALL=C.UTF-8", path, *argv)


def call(machine: DebianMachine, *argv: str) -> str:
    """Run it to its end; return what it printed."""
    done = subprocess.run(
        by_user(machine, *argv),
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def session(machine: DebianMachine) -> Iterator[Session]:
    process = subprocess.Popen(
        by_user(machine, "ssh", LOGIN, "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        made = Session(process)
        assert made.lives()
        yield made
        process.kill()


def status(server: DebianMachine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call(server, "spasshd", "status", "--json"))
    return found


def show(server: DebianMachine, name: str) -> str:
    return call(server, "systemctl", "show", "-P", name, "spasshd").strip()


def kept(server: DebianMachine) -> dict[str, bytes]:
    """Return what an administrator would have to restore."""
    return {path: server.path(path).read_bytes() for path in (CONFIG, KEY, USER)}


def installed(machine: DebianMachine) -> dict[str, str]:
    """Return the version of each of our packages that is there."""
    words = ("--show", "--showformat", "${Package} ${Version} ${db:Status-Status}\n")
    lines = call(machine, "dpkg-query", *words).splitlines()
    found = (line.split() for line in lines if line.startswith("spassh"))
    return {name: version for name, version, state in found if state == "installed"}


def check_sandbox(server: DebianMachine) -> None:
    """See that both programs run as the unit says, by what the kernel knows."""
    inside = show(server, "MainPID")
    (listener,) = (
        pid
        for pid in children(server.leader)
        if fields(pid)["NSpid"].split()[-1] == inside
    )
    (granter,) = children(listener)
    lines = server.path("/etc/passwd").read_text(encoding="utf-8").splitlines()
    (account,) = (line.split(":") for line in lines if line.startswith("_spassh:"))
    for pid, uid, capabilities in (
        # CAP_NET_ADMIN and CAP_NET_RAW
        (granter, "0", 1 << 12 | 1 << 13),
        (listener, account[2], 0),
    ):
        seen = fields(pid)
        assert seen["Uid"].split() == [uid] * 4
        assert int(seen["CapEff"], 16) | capabilities == capabilities
        assert seen["NoNewPrivs"] == "1"
        assert seen["Seccomp"] == "2"


def check_untouched(server: DebianMachine, network: Network) -> None:
    """See what is true after an installation."""
    assert show(server, "ActiveState") == "active"
    # What it needs is found at once, though apt has brought it a moment before.
    assert show(server, "NRestarts") == "0"
    assert show(server, "UnitFileState") == "enabled"
    assert show(server, "Type") == "notify"
    found = status(server)
    assert (found["ready"], found["protect"], found["users"]) == (True, [], 0)
    assert port_answers(network.stranger, SERVER4, 22)
    key = server.path(KEY).stat()
    assert (key.st_uid, key.st_mode & 0o777) == (0, 0o600)
    # The port of the knocks answers nobody; whatever else there is stays as it was.
    rules = call(server, "nft", "list", "ruleset")
    assert [line.split()[:4] for line in rules.splitlines() if " drop " in line] == [
        ["udp", "dport", "62201", "drop"]
    ]


def upgrade(machine: DebianMachine, higher: Path) -> None:
    machine.offer(higher)
    machine.update()
    said = machine.apt("upgrade")
    assert "Setting up spassh (99." in said


def test_a_bare_debian_is_guarded_and_then_bare_again(
    network: Network,
    server: DebianMachine,
    client: DebianMachine,
    higher: Path,
) -> None:
    for machine, package in ((server, "spassh-server"), (client, "spassh")):
        assert installed(machine) == {}
        machine.update()
        machine.install(package)
    assert set(installed(server)) == {"spassh", "spassh-server"}
    assert set(installed(client)) == {"spassh"}
    check_untouched(server, network)

    call(client, "spassh", "enroll", "--yes", "--name", "ada", LOGIN)
    assert status(server)["users"] == 1
    assert server.path(USER).stat().st_mode & 0o777 == 0o600
    assert port_answers(network.stranger, SERVER4, 22)

    assert f"locked: {SERVER_NAME} drops tcp/22" in call(
        client, "spassh", "lock", LOGIN
    )
    before, firewall = kept(server), call(server, "nft", "list", "tables")
    assert "spassh" in firewall
    call(server, "spasshd", "flush")
    with Silence(network.stranger, [SERVER4]) as stranger:
        assert call(client, "ssh", LOGIN, "echo", "through") == "through\n"
        check_sandbox(server)
        assert status(server)["counters"]["granted"] >= 1

        with session(client) as running:
            upgrade(server, higher)
            assert running.lives()
        upgrade(client, higher)
        assert {version[:3] for version in installed(server).values()} == {"99."}
        assert call(server, "spasshd", "--version").startswith("spasshd 99.")
        assert kept(server) == before
        assert call(server, "nft", "list", "tables") == firewall
        check_sandbox(server)
        assert call(client, "ssh", LOGIN, "echo", "through") == "through\n"
    assert stranger.tries > 0
    assert stranger.answered == []

    with session(client) as running:
        server.apt("remove", "spassh-server")
        assert running.lives()
    assert port_answers(network.stranger, SERVER4, 22)
    assert call(server, "nft", "list", "ruleset") == ""
    assert not server.path(PROGRAMS["spassh-server"]).exists()
    assert kept(server) == before
    # A profile for a host that guards nothing is in nobody's way.
    assert call(client, "ssh", LOGIN, "echo", "through") == "through\n"

    server.apt("purge", "spassh-server", "spassh")
    for path in ("/etc/spassh", "/var/lib/spassh", "/run/spassh", PROGRAMS["spassh"]):
        assert not server.path(path).exists()
    names = call(server, "find", "/etc", "/usr", "/var/lib", "-name", "*spassh*")
    assert names == ""
    # Nobody else gets its number, and nothing of it is left.
    assert "_spassh:" in server.path("/etc/passwd").read_text(encoding="utf-8")
    assert call(server, "find", "/", "-xdev", "-user", "_spassh") == ""
    client.apt("purge", "spassh")
    assert installed(client) == installed(server) == {}
