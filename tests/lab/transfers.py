"""What programs do over ssh, each moving data there and back: see TRANSFERS."""

import filecmp
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .network import run
from .programs import EXAMPLE, Client
from .terminal import Terminal, terminal
from .tunnel import tunnel

MOSH_PORT = 60001

_LAB = os.path.dirname(__file__)

_THROUGH_SSHFS = """
mkdir mnt &&
sshfs -F "$0" -o reconnect "$1:$PWD/remote" mnt &&
cp -r "$2" mnt/there &&
cp -r mnt/there back
status=$?
fusermount3 -u mnt
exit $status
"""


class Transfer(NamedTuple):
    """What a program gets for its work."""

    client: Client
    config: str
    """The ssh_config with the example's lines in it."""
    host: str
    tree: str
    """The directory that is to be moved."""
    directory: str
    """One of its own, on both sides: they share their files."""
    seconds: float
    """After how long a program counts as hung."""
    mosh_port: int = MOSH_PORT
    """Whoever uses mosh at the same time needs another one."""
    knocks: int = 1
    """How many it takes until one has surely arrived: nothing says so."""

    @property
    def ssh(self) -> str:
        """Return the command for programs that start ssh."""
        return shlex.join(["ssh", "-F", self.config])

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def run(
        self, *argv: str, text: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the transfer's directory, with more in its environment."""
        return self.client.run(
            *("env", f"--chdir={self.directory}"),
            *(f"{name}={value}" for name, value in environment.items()),
            *argv,
            text=text,
            timeout=self.seconds,
        )

    def compare(self, *names: str) -> None:
        """See that these directories hold what the tree holds."""
        for name in names:
            run(["diff", "-r", self.tree, self.path(name)])


def ssh(transfer: Transfer) -> None:
    with open(f"{transfer.tree}/big", "rb") as file:
        text = file.read().hex()
    said = transfer.run("ssh", "-F", transfer.config, transfer.host, "cat", text=text)
    assert said.stdout == text


def scp(transfer: Transfer) -> None:
    _scp(transfer, "-s")


def scp_legacy(transfer: Transfer) -> None:
    _scp(transfer, "-O")


def _scp(transfer: Transfer, protocol: str) -> None:
    argv = ["scp", "-q", "-r", protocol, "-F", transfer.config]
    there = f"{transfer.host}:{transfer.path('there')}"
    transfer.run(*argv, transfer.tree, there)
    transfer.run(*argv, there, "back")
    transfer.compare("there", "back")


def sftp(transfer: Transfer) -> None:
    there = transfer.path("there")
    commands = f"put -r {transfer.tree} {there}\nget -r {there} back\n"
    argv = ["sftp", "-q", "-b", "-", "-F", transfer.config, transfer.host]
    transfer.run(*argv, text=commands)
    transfer.compare("there", "back")


def rsync(transfer: Transfer) -> None:
    argv = ["rsync", "-a", "-e", transfer.ssh]
    there = f"{transfer.host}:{transfer.path('there')}/"
    transfer.run(*argv, f"{transfer.tree}/", there)
    transfer.run(*argv, there, "back")
    transfer.compare("there", "back")


def git(transfer: Transfer) -> None:
    who = {"EMAIL": "a@example.org", "GIT_SSH_COMMAND": transfer.ssh}
    identity = ["-c", "user.name=a"]
    transfer.run("git", "init", "-q", "-b", "main", "made")
    run(["cp", "-r", transfer.tree, transfer.path("made/first")])
    transfer.run("git", "-C", "made", "add", "-A")
    transfer.run("git", "-C", "made", *identity, "commit", "-q", "-m", "first", **who)
    transfer.run("git", "clone", "-q", "--bare", "made", "origin.git")

    url = f"ssh://{transfer.host}{transfer.path('origin.git')}"
    transfer.run("git", "clone", "-q", url, "clone", **who)
    run(["cp", "-r", transfer.tree, transfer.path("clone/second")])
    transfer.run("git", "-C", "clone", "add", "-A")
    transfer.run("git", "-C", "clone", *identity, "commit", "-q", "-m", "more", **who)
    transfer.run("git", "-C", "clone", "push", "-q", **who)
    transfer.run("git", "clone", "-q", "origin.git", "pushed")
    transfer.compare("clone/first", "pushed/second")


def ansible(transfer: Transfer) -> None:
    """Two hosts at once, and then one login for all that is done at each of them."""
    hosts = ("v4.server.test", "v6.server.test")
    with open(transfer.path("inventory"), "w", encoding="ascii") as inventory:
        inventory.writelines(f"{host}\n" for host in hosts)
    common = {
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        "ANSIBLE_INTERPRETER_PYTHON": "/usr/bin/python3",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_SSH_COMMON_ARGS": f"-F {transfer.config}",
        "ANSIBLE_TIMEOUT": "120",
    }
    argv = ["ansible", "all", "-i", "inventory"]
    file = f"{transfer.tree}/big"
    there = transfer.path("there-{{ inventory_hostname }}")
    try:
        transfer.run(*argv, "-m", "copy", "-a", f"src={file} dest={there}", **common)
        for host in hosts:
            assert filecmp.cmp(file, transfer.path(f"there-{host}"), shallow=False)
        asked = ["-m", "command", "-a", f"sha256sum {file}"]
        said = transfer.run(*argv, *asked, **common).stdout
        assert said.count(run(["sha256sum", file]).stdout) == len(hosts)
    finally:
        _end_masters(transfer)


def _end_masters(transfer: Transfer) -> None:
    """End the connections that ansible keeps for a minute."""
    sockets = f"{transfer.client.directory}/.ansible/cp"
    for name in os.listdir(sockets) if os.path.isdir(sockets) else []:
        argv = ["ssh", "-F", "none", "-o", f"ControlPath={sockets}/{name}"]
        transfer.client.run(*argv, "-O", "exit", "any", check=False)


def sshfs(transfer: Transfer) -> None:
    """In one shell: a network namespace has its own mounts for each program."""
    os.mkdir(transfer.path("remote"))
    argv = [_THROUGH_SSHFS, transfer.config, transfer.host, transfer.tree]
    transfer.run("sh", "-c", *argv)
    transfer.compare("remote/there", "back")


def borg(transfer: Transfer) -> None:
    environment = {
        "BORG_REPO": f"ssh://{transfer.host}{transfer.path('repository')}",
        "BORG_RSH": transfer.ssh,
    }
    transfer.run("borg", "init", "--encryption=none", **environment)
    transfer.run("borg", "create", "::one", transfer.tree, **environment)
    transfer.run("borg", "extract", "::one", **environment)
    transfer.compare(transfer.tree.lstrip("/"))


def paramiko(transfer: Transfer) -> None:
    """It knows no Include, so it reads the example itself."""
    _library(transfer, "with_paramiko.py", EXAMPLE)


def asyncssh(transfer: Transfer) -> None:
    """It looks into the user's home by itself."""
    run(["install", "-D", transfer.config, f"{transfer.client.directory}/.ssh/config"])
    _library(transfer, "with_asyncssh.py")


def libssh(transfer: Transfer) -> None:
    _library(transfer, "with_libssh.py", transfer.config)


def _library(transfer: Transfer, script: str, *config: str) -> None:
    key = transfer.client.user_key
    file, there = f"{transfer.tree}/big", transfer.path("there")
    words = [transfer.host, key, file, there, "back", *config]
    transfer.run("python3", f"{_LAB}/{script}", *words)
    for copy in (there, transfer.path("back")):
        assert filecmp.cmp(file, copy, shallow=False)


def autossh(transfer: Transfer) -> None:
    with open(f"{transfer.tree}/big", "rb") as file:
        data = file.read()
    with tunnel(transfer.client, transfer.config, transfer.host) as through:
        assert through.echo(data, transfer.seconds) == data


def mosh(transfer: Transfer) -> None:
    access = f"udp/{transfer.mosh_port}"
    for _ in range(transfer.knocks):
        transfer.run("spassh", "knock", "--access", access, transfer.host)
    with mosh_session(transfer) as session:
        session.type("there and back")
        session.wait_for("seen: there and back", transfer.seconds)


@contextmanager
def mosh_session(transfer: Transfer) -> Iterator[Terminal]:
    """Log in as the manual page says; each line that is typed comes back."""
    argv = [
        *("mosh", f"--ssh={transfer.ssh}", "--experimental-remote-ip=remote"),
        *("-p", str(transfer.mosh_port), "--predict=never"),
        *(transfer.host, "--", "sed", "-u", "s/^/seen: /"),
    ]
    with terminal(transfer.client, *argv) as screen:
        yield screen


TRANSFERS: dict[str, Callable[[Transfer], None]] = {
    "ansible": ansible,
    "asyncssh": asyncssh,
    "autossh": autossh,
    "borg": borg,
    "git": git,
    "libssh": libssh,
    "mosh": mosh,
    "paramiko": paramiko,
    "rsync": rsync,
    "scp": scp,
    "scp -O": scp_legacy,
    "sftp": sftp,
    "ssh": ssh,
    "sshfs": sshfs,
}


def move(name: str, transfer: Transfer) -> None:
    """Let a program do what it does, in a directory made for it."""
    os.mkdir(transfer.directory)
    TRANSFERS[name](transfer)


def why_not(name: str) -> str:
    """Return why a program cannot run here, or nothing."""
    if name != "sshfs":
        return ""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"no sshfs here: {error}"
    return ""


def make_tree(path: str, size: int, files: int) -> str:
    """Make a file of `size` bytes and some small ones, and return `path`."""
    os.makedirs(f"{path}/sub")
    for number in range(files):
        with open(f"{path}/sub/{number}", "wb") as file:
            file.write(os.urandom(number * 100))
    with open(f"{path}/big", "wb") as file:
        file.write(os.urandom(size))
    return path
