"""The programs of the lab: sshd and spasshd on the server, ssh on the client."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spassh_server import config
from spassh_server.clock import wall_clock
from spassh_server.firewall.select import choose
from spassh_server.verbs.status import state_of

from .inside import ask_kernel
from .network import SERVER_NAME, Host, LabError, run, wait_for

REPOSITORY = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)
EXAMPLE = os.path.join(REPOSITORY, "contrib", "ssh_config.example")


class Daemon:
    """A program that runs in a host, with its own log file."""

    def __init__(self, host: Host, argv: Sequence[str], log: str) -> None:
        self.log_path = log
        with open(log, "ab") as file:
            self.process = host.popen(argv, stdout=file, stderr=file)

    @property
    def log(self) -> str:
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, words: str, seconds: float = 60) -> None:
        """Wait until `words` stand in the log."""

        def seen() -> bool:
            if words in self.log:
                return True
            if self.process.poll() is not None:
                raise LabError(f"ended early, waiting for {words!r}:\n{self.log}")
            return False

        wait_for(seen, f"{words!r} in {self.log_path}:\n{self.log}", seconds)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the program, and wait for its end; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


class Sshd(Daemon):
    """OpenSSH's server with keys of its own, on port 22 of its host."""

    def __init__(self, host: Host, directory: str, user_key: str = "") -> None:
        """Start it; who has `user_key`, or else a new one, may log in as root."""
        os.makedirs(directory, mode=0o700)
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        host_key = os.path.join(directory, "host_key")
        self.user_key = user_key or os.path.join(directory, "user_key")
        for key in (host_key, *([] if user_key else [self.user_key])):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        config = os.path.join(directory, "sshd_config")
        # The user's shell must not read what this machine's root has in its profile:
        # that costs time, and may wait for locks.
        home = os.path.join(directory, "home")
        os.mkdir(home)
        with open(config, "w", encoding="ascii") as file:
            file.write(
                f"SetEnv HOME={home} PATH={host.environment['PATH']}\n"
                f"HostKey {host_key}\nAuthorizedKeysFile {self.user_key}.pub\n"
                "Port 22\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n"
                "PidFile none\nMaxStartups 100\nLoginGraceTime 600\nUseDNS no\n"
                "Subsystem sftp internal-sftp\nPrintMotd no\nPrintLastLog no\n"
            )
        super().__init__(
            host,
            ["/usr/sbin/sshd", "-D", "-e", "-f", config],
            os.path.join(directory, "sshd.log"),
        )
        self.wait_log("Server listening on :: port 22")


class Spasshd:
    """The daemon under test, with its configuration in a directory of its own."""

    def __init__(self, host: Host, directory: str, *init: str) -> None:
        self.host = host
        self.directory = directory
        self.config = os.path.join(directory, "spasshd.toml")
        self.daemon: Daemon | None = None
        self.verb("init", *init)

    def verb(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb of spasshd; --config goes to its end."""
        argv = ["spasshd", *words, "--config", self.config]
        return self.host.run(argv, check=check)

    def edit(self, old: str, new: str) -> None:
        """Change the configuration as an editor would."""
        with open(self.config, encoding="utf-8") as file:
            text = file.read()
        if old not in text:
            raise LabError(f"{old!r} is not in {self.config}")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new))

    @property
    def firewall_name(self) -> str:
        """Return what its tables, chains and sets are called."""
        with open(self.config, encoding="utf-8") as file:
            return file.read().split('firewall_name = "')[1].split('"')[0]

    def start(self, words: str = "spasshd: ready") -> Daemon:
        """Start the daemon, and wait until it says `words`."""
        log = os.path.join(self.directory, "spasshd.log")
        argv = ["spasshd", "run", "--config", self.config]
        with open(log, "ab") as file:
            file.truncate(0)
        self.daemon = Daemon(self.host, argv, log)
        self.daemon.wait_log(words)
        return self.daemon

    @property
    def running(self) -> Daemon:
        if self.daemon is None:
            raise LabError("spasshd was not started")
        return self.daemon

    def invite(self, name: str, *words: str) -> str:
        """Add a user and return the invite."""
        added = self.verb("user", "add", name, "--address", SERVER_NAME, *words)
        return added.stdout.strip()

    def status(self) -> dict[str, Any]:
        """Return what `spasshd status --json` prints, without starting it."""
        settings = config.load(self.config)
        return ask_kernel(self.host, lambda: state_of(settings))

    def flush(self) -> None:
        """Take every live grant back, so that the next test begins with none."""
        settings = config.load(self.config)

        def revoke_all() -> None:
            firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
            for active in firewall.grants():
                firewall.revoke(active.grant)

        ask_kernel(self.host, revoke_all)

    def wait_grants(self, users: set[str]) -> None:
        """Wait until these users, and nobody else, have grants."""

        def names() -> set[str]:
            return {one["user"] for one in self.status()["grants"]}

        wait_for(lambda: names() == users, f"grants of {users}", interval=0.05)

    def wait_closed(self) -> None:
        """Wait until the kernel holds no grant."""
        wait_for(
            lambda: not self.status()["grants"], "the grants to end", interval=0.05
        )


class Client:
    """A user's home on a host: profiles, ssh configuration, known hosts."""

    def __init__(self, host: Host, directory: str, user_key: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.host = host
        self.directory = directory
        self.user_key = user_key
        self.environment = host.environment | {
            "HOME": directory,
            "SPASSH_CONFIG_HOME": os.path.join(directory, "spassh"),
        }
        self.ssh_options = [
            *("-F", EXAMPLE),
            *("-o", "BatchMode=yes"),
            *("-o", f"IdentityFile={user_key}"),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={directory}/known_hosts"),
            *("-o", "StrictHostKeyChecking=no"),
            *("-o", "User=root"),
        ]

    def run(
        self, *argv: str, check: bool = True, text: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return self.host.run(
            argv, check=check, timeout=timeout, env=self.environment, text=text
        )

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        return self.host.popen(argv, env=self.environment, **options)

    def accept(self, invite: str, *words: str) -> None:
        """Import an invite."""
        self.run("spassh", "import", *words, text=invite + "\n")

    @property
    def profile(self) -> str:
        """Return the path of the one profile that there is."""
        directory = os.path.join(self.directory, "spassh", "profiles")
        (name,) = os.listdir(directory)
        return os.path.join(directory, name)

    def set_profile(self, *lines: str) -> None:
        """Add lines to the profile."""
        with open(self.profile, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def set_hosts(self, *hosts: str) -> None:
        """Make the profile one for these hosts alone."""
        with open(self.profile, encoding="utf-8") as file:
            text = file.read()
        found = ", ".join(f'"{host}"' for host in hosts)
        text = re.sub(r"^hosts = .*$", f"hosts = [{found}]", text, flags=re.MULTILINE)
        with open(self.profile, "w", encoding="utf-8") as file:
            file.write(text)

    def write_config(self, *lines: str, name: str = "config") -> str:
        """Write an ssh_config, the example's after `lines`, and return its path.

        It is for what starts ssh by itself, and gives it no options of ours.
        """
        path = os.path.join(self.directory, name)
        options = [word for word in self.ssh_options if "=" in word]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.write("Host *\n")
            file.writelines(
                f"    {option.replace('=', ' ', 1)}\n" for option in options
            )
            file.write(f"Include {EXAMPLE}\n")
        return path

    def ssh(
        self, *words: str, check: bool = True, text: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        argv = ["ssh", *self.ssh_options, *words]
        return self.run(*argv, check=check, text=text, timeout=timeout)


RELAY = ("-o", "ProxyUseFdpass=no", "-o", "ProxyCommand=spassh proxy %h %p")
"""Options for ssh that turn the example's descriptor passing into a relay."""
RELAY_LINES = ("Host *", "ProxyUseFdpass no", "ProxyCommand spassh proxy -- %h %p")
"""The same as lines of an ssh_config."""


@contextmanager
def recording(host: Host, path: str, *words: str) -> Iterator[None]:
    """Record what passes every device of `host` into a pcap file, while inside."""
    argv = ["tcpdump", "-i", "any", "-U", "-w", path, "--immediate-mode", *words]
    process = host.popen(argv, stderr=subprocess.PIPE)
    try:
        if process.stderr is None:
            raise LabError("tcpdump has no stderr")
        for line in process.stderr:
            if b"listening on" in line:
                break
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
