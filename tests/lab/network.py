"""Namespaces joined by a bridge.

        client            server           stranger
      192.0.2.2         192.0.2.1         192.0.2.66
    2001:db8::2       2001:db8::1       2001:db8::66
          |                 |                 |
        ==+=================+=================+==   bridge in the namespace `wire`

Everything has the lab's own prefix in its name and goes away with it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

SERVER4, CLIENT4, STRANGER4 = "192.0.2.1", "192.0.2.2", "192.0.2.66"
SERVER6, CLIENT6, STRANGER6 = "2001:db8::1", "2001:db8::2", "2001:db8::66"
SERVER_NAME = "server.test"

_T = TypeVar("_T")

_MUCH_LOSS = 20
"""Percent of the frames: of those of any connection, one is lost."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LabError(Exception):
    """Something that the lab relies on did not happen."""


def wait_for(
    condition: Callable[[], _T], what: str, seconds: float = 60, interval: float = 0.01
) -> _T:
    """Wait until `condition` returns something true, and return that.

    What counts is a look that began when the time was over: on a busy machine one look
    may take long, and what it saw is no news by then.
    """
    end = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() > end
        value = condition()
        if value:
            return value
        if is_last:
            raise LabError(f"waited {seconds} s in vain: {what}")
        time.sleep(interval)


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    timeout: float = 60,
    env: dict[str, str] | None = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with `text` on its standard input."""
    try:
        result = subprocess.run(
            argv,
            check=False,
            timeout=timeout,
            env=env,
            input=text,
            text=True,
            capture_output=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)}: not done after {timeout} s") from error
    if check and result.returncode:
        said = f"{result.stdout}{result.stderr}"
        raise LabError(f"{' '.join(argv)}: exit {result.returncode}\n{said}")
    return result


class Host:
    """One network namespace."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self.name = name
        self.environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []
        self._mounts: list[str] = []
        run(["ip", "netns", "add", name])
        self.run(["ip", "link", "set", "lo", "up"])

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return [*self._mounts, "ip", "netns", "exec", self.name, *argv]

    def own_etc(self, directory: str) -> None:
        """Give the host an /etc that no other has, for accounts and configurations.

        It begins as this machine's, and what is changed is gone when the host is. It
        needs a directory that is there, to mount something on.
        """
        script = (
            'mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" &&'
            " mount -t overlay none /etc"
            ' -o "lowerdir=/etc,upperdir=$0/upper,workdir=$0/work" &&'
            " echo ready && exec cat"
        )
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        keeper = self.popen([*argv, directory], **pipes)
        if keeper.stdout is None or keeper.stdout.readline() != b"ready\n":
            raise LabError("no /etc of its own for a host")
        self._mounts = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt"]

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60,
        env: dict[str, str] | None = None,
        text: str = "",
    ) -> subprocess.CompletedProcess[str]:
        return run(
            self._inside(argv),
            check=check,
            timeout=timeout,
            env=env or self.environment,
            text=text,
        )

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        options.setdefault("env", self.environment)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(self._inside(argv), **options)
        self._processes.append(process)
        return process

    def running(self, words: str = "") -> list[int]:
        """Return the processes in here with `words` in their command lines."""
        found = []
        for pid in run(["ip", "netns", "pids", self.name]).stdout.split():
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                    line = file.read().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            if words in line:
                found.append(int(pid))
        return found

    def delete(self) -> None:
        for pid in run(["ip", "netns", "pids", self.name], check=False).stdout.split():
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                continue
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        run(["ip", "netns", "delete", self.name], check=False)
        shutil.rmtree(f"/etc/netns/{self.name}", ignore_errors=True)


def _port_of(host: Host) -> str:
    """Return what the switch's port is called that leads to a host."""
    return "p" + host.name.rsplit("-", 1)[1]


class Network:
    """Client, server and stranger on one wire."""

    def __init__(self, bin_dir: str) -> None:
        """Make the namespaces; programs are looked up in `bin_dir` first."""
        self.prefix = f"spa{os.getpid()}{os.urandom(2).hex()}"
        self._environment = {"PATH": f"{bin_dir}:{_PATH}", "LC_ALL": "C.UTF-8"}
        self.hosts: list[Host] = []
        try:
            self.wire = self.host("wire")
            self.server = self.host("server")
            self.client = self.host("client")
            self.stranger = self.host("stranger")
            self.wire.run(["ip", "link", "add", "name", "switch", "type", "bridge"])
            self.wire.run(["ip", "link", "set", "switch", "up"])
            self._join(self.server, SERVER4, SERVER6)
            self._join(self.client, CLIENT4, CLIENT6)
            self._join(self.stranger, STRANGER4, STRANGER6)
            for member in (self.client, self.stranger):
                self.name_hosts(member)
        except BaseException:
            self.close()
            raise

    def host(self, role: str) -> Host:
        """Make a namespace that goes away with the network."""
        made = Host(f"{self.prefix}-{role}", self._environment)
        self.hosts.append(made)
        return made

    def _join(self, host: Host, v4: str, v6: str) -> None:
        port = _port_of(host)
        peer = ["peer", "name", "eth0", "netns", host.name]
        self.wire.run(["ip", "link", "add", port, "type", "veth", *peer])
        self.wire.run(["ip", "link", "set", port, "master", "switch", "up"])
        host.run(["ip", "address", "add", f"{v4}/24", "dev", "eth0"])
        host.run(["ip", "address", "add", f"{v6}/64", "dev", "eth0", "nodad"])
        host.run(["ip", "link", "set", "eth0", "up"])

    def name_hosts(self, host: Host) -> None:
        """Give the host its own /etc/hosts, and a name server that never answers."""
        directory = f"/etc/netns/{host.name}"
        os.makedirs(directory)
        with open(f"{directory}/hosts", "w", encoding="ascii") as file:
            file.write(
                f"127.0.0.1 localhost\n{SERVER4} {SERVER_NAME} v4.{SERVER_NAME}\n"
            )
            file.write(f"{SERVER6} {SERVER_NAME} v6.{SERVER_NAME}\n")
        with open(f"{directory}/resolv.conf", "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")

    @contextmanager
    def impaired(
        self, delay: float, loss: float, seed: int, host: Host | None = None
    ) -> Iterator[None]:
        """Put a bad link before a host.

        Args:
            delay: of each frame, in milliseconds.
            loss: in percent of the frames.
            seed: for the choice of these.
            host: which one, if not the server.
        """
        # The port that leads to the host leaves the switch for a pair of its own.
        port = _port_of(host or self.server)
        near, far = f"n{port}", f"f{port}"
        pair = ["link", "add", near, "type", "veth", "peer", "name", far]
        self.wire.run(["ip", *pair])
        self.wire.run(["ip", "link", "set", port, "nomaster"])
        self.wire.run(["ip", "link", "set", near, "master", "switch", "up"])
        self.wire.run(["ip", "link", "set", far, "up"])
        program = os.path.join(os.path.dirname(__file__), "impair.py")
        words = [program, far, port, str(delay), str(loss), str(seed)]
        link = self.wire.popen(
            [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            if link.stdout is None or link.stdout.readline() != b"ready\n":
                raise LabError("no bad link")
            yield
        finally:
            lost, _ = link.communicate()
            self.wire.run(["ip", "link", "delete", near])
            self.wire.run(["ip", "link", "set", port, "master", "switch"])
        if loss >= _MUCH_LOSS and not int(lost):
            raise LabError("the bad link has lost nothing")

    def close(self) -> None:
        for host in self.hosts:
            host.delete()
