"""The Debian packages in the hands of an administrator, on a host of real systemd.

dpkg, apt and the maintainer scripts are Debian's own and ours, and the packet filter is
the kernel's. Somebody outside tries all the time to get in.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.inside import Silence, door, port_answers
from lab.network import SERVER4, SERVER_NAME, LabError, Network, wait_for
from lab.packages import PackagedMachine, newer
from lab.programs import REPOSITORY, Client, Sshd
from lab.sessions import session

from .conftest import BIN_DIRS

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("systemd-nspawn") is None,
        reason="systemd-nspawn is missing: apt install systemd-container",
    ),
]

CONFIG = "/etc/spassh/spasshd.toml"
KEY = "/etc/spassh/server.key"
GNUPG = "/var/lib/spassh-gnupg"
HOST = f"v4.{SERVER_NAME}"


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture
def machine(
    network: Network, packages: Path, tmp_path: Path
) -> Iterator[PackagedMachine]:
    """Return a machine that has booted, with two versions of the packages in /srv."""
    higher = tmp_path / "higher"
    higher.mkdir()
    newer(packages, higher)
    made = PackagedMachine(network.server, str(tmp_path / "machine"))
    made.bring(packages, "first")
    made.bring(higher, "higher")
    shutil.copytree(f"{REPOSITORY}/debian/tests", f"{made.files}/srv/tests")
    try:
        made.boot()
        yield made
    finally:
        made.close()


def status(machine: PackagedMachine) -> dict[str, Any]:
    said = machine.run("spasshd", "status", "--json").stdout
    found: dict[str, Any] = json.loads(said)
    return found


def secrets(machine: PackagedMachine) -> dict[str, bytes]:
    """Return what an administrator would have to restore."""
    files = (CONFIG, KEY, "/etc/spassh/users.d/alice.toml")
    return {path: machine.path(path).read_bytes() for path in files}


def in_chroot(machine: PackagedMachine, *argv: str) -> str:
    """Run a program where the machine's files are, and its services are not."""
    script = (
        'mkdir -p /srv/root && mount --bind / /srv/root && trap "umount -R /srv/root" 0'
        ' && mount -t proc proc /srv/root/proc && chroot /srv/root "$@"'
    )
    return machine.run("sh", "-c", script, "sh", *argv).stdout


def alice(network: Network, machine: PackagedMachine, sshd: Sshd, home: Path) -> Client:
    """Enroll a user whose sessions go through the real sshd of the network."""
    add = ("spasshd", "user", "add", "alice", "--address", SERVER_NAME)
    client = Client(network.client, str(home), sshd.user_key)
    client.accept(machine.run(*add).stdout, "--host", HOST)
    return client


def test_the_packages_from_the_first_installation_to_the_purge(
    network: Network, machine: PackagedMachine, tmp_path: Path
) -> None:
    sshd = Sshd(network.server, str(tmp_path / "sshd"))
    machine.install("first")
    assert port_answers(network.stranger, SERVER4, 22)
    # The packages' own test, which says what else is true then.
    machine.run("/srv/tests/service", timeout=120)

    client = alice(network, machine, sshd, tmp_path / "home")
    machine.run("spasshd", "protect", "tcp/22", "--now")
    before, key = secrets(machine), status(machine)
    with (
        Silence(network.stranger, [SERVER4]) as stranger,
        session(client, HOST) as running,
    ):
        machine.install("higher")
        assert running.lives()
        after = status(machine)
        assert after["ready"]
        assert after["pid"] != key["pid"]
        assert machine.run("spasshd", "--version").stdout.startswith("spasshd 99.")
        assert client.ssh(HOST, "echo through").stdout == "through\n"
        in_chroot(machine, "/var/lib/dpkg/info/spassh-server.prerm", "remove")
    assert stranger.tries > 0
    assert stranger.answered == []
    assert secrets(machine) == before

    with session(client, HOST) as running:
        said = machine.apt("remove", "spassh-server")
        assert running.lives()
    # Nothing that was done for them is left to the administrator.
    assert "spasshd:" not in said
    assert port_answers(network.stranger, SERVER4, 22)
    assert machine.ruleset() == ""
    assert not machine.path("/usr/sbin/spasshd").exists()
    assert not machine.path("/usr/lib/python3/dist-packages/spassh_server").exists()
    assert secrets(machine) == before

    machine.install("higher")
    assert secrets(machine) == before
    assert not port_answers(network.stranger, SERVER4, 22, 0.3)
    assert client.ssh(HOST, "echo through").stdout == "through\n"

    # As the first user makes it who signs with OpenPGP: the server's key is in there.
    machine.run("install", "-d", "-m", "700", f"{GNUPG}/private-keys-v1.d")
    machine.apt("purge", "spassh-server", "spassh")
    assert port_answers(network.stranger, SERVER4, 22)
    assert machine.ruleset() == ""
    assert machine.left_over() == []
    assert not machine.path("/run/spassh").exists()
    # Nobody else gets its number, and nothing of it is left.
    assert "_spassh:" in machine.path("/etc/passwd").read_text(encoding="ascii")
    # Below are files of the host that runs the tests, where some come and go.
    search = ("find", "/", "-ignore_readdir_race", "-xdev", "-user", "_spassh")
    owned = machine.run(*search, timeout=300)
    assert owned.stdout == ""


def test_what_an_administrator_has_deleted_stays_so(machine: PackagedMachine) -> None:
    machine.install("first")
    machine.run("mv", KEY, "/srv/key")
    machine.run("rm", CONFIG)

    machine.install("higher")

    assert not machine.path(CONFIG).exists()
    assert not machine.path(KEY).exists()
    # That is no failure, and systemd goes on without it.
    shown = machine.run("systemctl", "show", "-P", "Result", "spasshd").stdout
    assert shown == "success\n"

    # Neither does a first installation make a new key where there is one.
    machine.run("mv", "/srv/key", KEY)
    script = "/var/lib/dpkg/info/spassh-server.postinst"
    said = machine.run(script, "configure", "").stderr
    assert f"there is {KEY}, and no {CONFIG}" in said
    assert not machine.path(CONFIG).exists()


def test_a_broken_configuration_shuts_nobody_out_for_good(
    network: Network, machine: PackagedMachine, tmp_path: Path
) -> None:
    """An upgrade leaves the drop and says what is wrong; the removal opens."""
    sshd = Sshd(network.server, str(tmp_path / "sshd"))
    machine.install("first")
    client = alice(network, machine, sshd, tmp_path / "home")
    machine.run("spasshd", "protect", "tcp/22", "--now")
    with (
        Silence(network.stranger, [SERVER4]) as stranger,
        session(client, HOST) as running,
    ):
        machine.run("sed", "-i", "s/^lifetime/lifetme/", CONFIG)
        said = machine.install("higher")
        assert "spasshd does not start, and what it protects stays shut" in said
        assert running.lives()

        machine.run("sed", "-i", "s/^lifetme/lifetime/", CONFIG)
        ready = ("systemctl", "is-active", "spasshd")
        wait_for(
            lambda: not machine.run(*ready, check=False).returncode, "the restart", 30
        )
        assert client.ssh(HOST, "echo through").stdout == "through\n"
        machine.run("sed", "-i", "s/^lifetime/lifetme/", CONFIG)
    assert stranger.answered == []

    machine.apt("remove", "spassh-server")
    assert machine.ruleset() == ""
    assert port_answers(network.stranger, SERVER4, 22)


def test_the_package_stays_if_its_rules_do(
    network: Network, machine: PackagedMachine
) -> None:
    """Without it, nothing there could open the port any more."""
    machine.install("first")
    machine.run("spasshd", "user", "add", "alice", "--address", SERVER_NAME)
    machine.run("spasshd", "protect", "tcp/22", "--now")
    # A chain of ours that the kernel keeps, because somebody's rule leads to it.
    for words in ("-N SPASSH", "-N SOMEBODY", "-A SOMEBODY -j SPASSH"):
        machine.run("iptables", *words.split())

    with pytest.raises(LabError, match="rules of it are left in the packet filter"):
        machine.apt("remove", "spassh-server")

    with door(network.server):
        machine.run("systemctl", "is-active", "spasshd")
        assert not port_answers(network.stranger, SERVER4, 22, 0.3)
        machine.run("iptables", "-F", "SOMEBODY")
        machine.apt("remove", "spassh-server")
        assert port_answers(network.stranger, SERVER4, 22)


def test_the_packages_do_their_job_in_a_network_of_their_own(
    machine: PackagedMachine,
) -> None:
    machine.install("first")
    machine.run("/srv/tests/ssh", timeout=120)
