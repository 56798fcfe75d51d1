"""The AppArmor profile against all that the service does, from its start to its end.

Installed as a package, and in the sandbox of its unit, it lives under strace.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.apparmor import SOURCE, Access, Deeds, Profile
from lab.network import SERVER_NAME, LabError, Network, wait_for
from lab.openpgp import KEYS, Home
from lab.packages import PackagedMachine
from lab.programs import Client, Sshd
from lab.sessions import session
from lab.unit import IPTABLES

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
HOST = f"v4.{SERVER_NAME}"
TRACES = "/srv/traces"

TRACED = f"""
[Service]
ExecStart=
ExecStart=!{{strace}} -o {TRACES}/trace /usr/sbin/spasshd run
SystemCallFilter=@debug
CapabilityBoundingSet=CAP_SYS_PTRACE
NotifyAccess=all
ReadWritePaths={TRACES}
"""

PROGRAM = "/usr/bin/true"
"""A hook and a command: what the administrator names, that file has to allow."""

BACKENDS = ("nftables", "iptables", "iptables-legacy", "iptables without ipset")


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture
def machine(
    network: Network, packages: Path, tmp_path: Path
) -> Iterator[PackagedMachine]:
    made = PackagedMachine(network.server, str(tmp_path / "machine"))
    made.bring(packages, "first")
    (Path(made.files) / TRACES[1:]).mkdir()
    strace = " ".join([str(shutil.which("strace")), *Deeds.STRACE])
    # What begins with "%" means something to systemd.
    strace = strace.replace("%", "%%")
    drop_ins = {"traced": TRACED.format(strace=strace), "iptables": IPTABLES}
    for name, text in drop_ins.items():
        made.write(f"/etc/systemd/system/spasshd.service.d/{name}.conf", text)
    try:
        made.boot()
        yield made
    finally:
        made.close()


def prefer(machine: PackagedMachine, backend: str) -> None:
    """Have the next start use that packet filter, and none of the others."""
    machine.run("spasshd", "stop", "--open")
    name = "nftables" if backend == "nftables" else "iptables"
    machine.run("sed", "-i", f's/^backend = .*/backend = "{name}"/', CONFIG)
    variant = "legacy" if backend.endswith("legacy") else "nft"
    for program in ("iptables", "ip6tables"):
        for end in ("", "-restore", "-save"):
            target = f"/usr/sbin/xtables-{variant}-multi"
            machine.run("ln", "-sf", target, f"/usr/sbin/{program}{end}")
    if backend.endswith("without ipset"):
        machine.run("rm", "/usr/sbin/ipset")


@pytest.fixture
def openpgp() -> Iterator[Home]:
    """Return the keyring of a user who signs her requests."""
    made = Home()
    made.gpg("--import", str(KEYS / "ed25519-ada.asc"))
    yield made
    made.close()


def signer(machine: PackagedMachine, openpgp: Home, client: Client) -> Client:
    """Enroll ada, who signs: gpg and its agent run in the profile as well."""
    key = openpgp.fingerprint("ada")
    machine.write("/srv/ada.asc", openpgp.gpg("--export", "--armor", key).decode())
    words = ("ada", "--address", SERVER_NAME, "--gnupg", "/srv/ada.asc")
    added = machine.run("spasshd", "user", "add", *words).stdout
    invite, armoured = added.split("\n", 1)
    openpgp.gpg("--import", data=armoured.encode())
    client.accept(invite, "--host", HOST)
    client.environment["GNUPGHOME"] = openpgp.path
    client.set_profile(
        'format = "gnupg"',
        f'gnupg_key = "{key}"',
        f'gnupg_server = "{openpgp.fingerprint("spasshd")}"',
        'width = "address"',
    )
    return client


def live(machine: PackagedMachine, client: Client, signer: Client) -> None:
    """Have the service do whatever it does."""
    if machine.run("systemctl", "restart", "spasshd", check=False).returncode:
        raise LabError(machine.run("journalctl", "-u", "spasshd", "-o", "cat").stdout)
    assert signer.ssh(HOST, "echo through").stdout == "through\n"
    machine.run("spasshd", "flush")
    with session(client, HOST) as hers:
        client.run("spassh", "run", HOST, "--", PROGRAM)
        machine.run("systemctl", "reload", "spasshd")
        machine.run("spasshd", "revoke", "--kill", "alice")
        hers.wait_ended()
    machine.run("spasshd", "unprotect", "tcp/22")
    machine.run("spasshd", "protect", "tcp/22", "--now")


def test_the_profile_forbids_nothing_that_the_service_does(
    network: Network, machine: PackagedMachine, openpgp: Home, tmp_path: Path
) -> None:
    sshd = Sshd(network.server, str(tmp_path / "sshd"))
    machine.install("first")
    hooks = f'on_open = ["{PROGRAM}"]\\non_close = ["{PROGRAM}"]\\nprotect ='
    machine.run("sed", "-i", f"s|^protect =|{hooks}|", CONFIG)
    command = f'[[command]]\nname = "true"\nargv = ["{PROGRAM}"]\n'
    with machine.path(CONFIG).open("a", encoding="ascii") as file:
        file.write(command)
    add = ("spasshd", "user", "add", "alice", "--address", SERVER_NAME)
    client = Client(network.client, str(tmp_path / "home"), sshd.user_key)
    client.accept(machine.run(*add).stdout, "--host", HOST)
    machine.run("sed", "-i", '1i commands = ["true"]', "/etc/spassh/users.d/alice.toml")
    ada = Client(network.client, str(tmp_path / "ada"), sshd.user_key)
    ada = signer(machine, openpgp, ada)
    machine.run("spasshd", "protect", "tcp/22", "--now")
    for backend in BACKENDS:
        prefer(machine, backend)
        live(machine, client, ada)
    machine.run("systemctl", "stop", "spasshd")
    wait_for(lambda: machine.ruleset() != "", "the drop to stay")

    deeds, profile = Deeds(machine.path(TRACES)), Profile(SOURCE)
    real = machine.run("realpath", *sorted(deeds.executed())).stdout.split()
    done = {one for one in deeds.accesses if one.letter != "x"}
    done |= {Access(path, "x") for path in real}

    # It has done what it is there for.
    assert {*real} >= {"/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"}
    assert {*real} >= {"/usr/bin/gpg", "/usr/bin/gpg-agent"}
    assert Access("/run/spassh/control.sock", "w") in done
    assert deeds.sockets >= {("packet", "dgram"), ("netlink", "raw"), ("inet", "raw")}

    # What the administrator has to name, and what systemd has started.
    denied = {one for one in done if not profile.allows(one)}
    assert denied == {Access(PROGRAM, "x"), Access("/usr/sbin/spasshd", "x")}
    others = {one for one in deeds.sockets if one[0] != "unix"}
    assert others - profile.networks == set()
