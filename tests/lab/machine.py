"""A host that systemd has booted: a copy of this one, without its services.

Its files are an overlay over ours, or over those of another system, in a mount
namespace that goes away with it.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .network import Host, LabError, run, wait_for
from .programs import REPOSITORY, Spasshd
from .syscalls import children, fields, is_there
from .unit import SERVER

# The filter of systemd-nspawn itself lets none of these through.
_CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self bpf"

_TARGET = """\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
After=systemd-journald.service
"""

# Called as DIRECTORY NAME BELOW PROGRAM...
_APART = """
name=$1; below=$2; shift 2
own=upperdir=$0/files,workdir=$0/work
mount -t overlay overlay -o "lowerdir=$below,$own" "$0/root" &&
for top in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e "$top/cgroup.procs" ]; then
        mkdir -p "$top/$name" && echo $$ >"$top/$name/cgroup.procs" || exit 1
    fi
done &&
exec "$@"
"""

_PROGRAM = """\
#!/usr/bin/python3
import sys
from spassh_server.cli import main
sys.exit(main())
"""


class Machine:
    """Prepare one with `write`, and then boot it into the network of `host`."""

    target = "lab.target"
    """What systemd starts: nothing, unless told to."""

    def __init__(self, host: Host, directory: str, below: str = "/") -> None:
        """Put the machine's own files, in a `directory`, over those `below`."""
        self.host = host
        self._directory = directory
        self._below = below
        self.files = os.path.join(directory, "files")
        for name in ("files", "work", "root"):
            os.makedirs(os.path.join(directory, name))
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        self.write("/etc/machine-id", os.urandom(16).hex() + "\n")
        self.write("/etc/systemd/system/lab.target", _TARGET)
        self._install()
        argv = [*self._nspawn(), "--pipe", "/bin/true"]
        probe = run(self._apart(argv), check=False)
        if probe.returncode:
            self.close()
            pytest.skip(f"systemd-nspawn makes no container here: {probe.stderr}")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Have a file in the machine: before it has booted."""
        place = Path(self.files + path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="ascii")
        place.chmod(mode)

    def _install(self) -> None:
        """Put in what a package does, with Debian's own libraries around it."""
        venv = Path(REPOSITORY, ".venv-debian")
        if not venv.exists():
            pytest.skip(f"no {venv}: scripts/test makes it")
        (packages,) = venv.glob("lib/python3*/site-packages")
        for name in ("spassh", "spassh_server"):
            target = f"{self.files}/usr/lib/python3/dist-packages/{name}"
            shutil.copytree(packages / name, target)
        self.write("/usr/local/sbin/spasshd", _PROGRAM, 0o755)
        for name in ("passwd", "group", "shadow", "gshadow"):
            shutil.copy2(f"/etc/{name}", f"{self.files}/etc/{name}")
        run(["systemd-sysusers", f"--root={self.files}", f"{SERVER}/spasshd.sysusers"])
        tmpfiles = (SERVER / "spasshd.tmpfiles").read_text(encoding="ascii")
        self.write("/usr/lib/tmpfiles.d/spasshd.conf", tmpfiles)

    def _apart(self, argv: list[str]) -> list[str]:
        """Run a program where the machine's root is mounted, and nowhere else.

        It is in control groups of its own: two of systemd in one would be no good.
        """
        words = [self._directory, self.host.name, self._below, *argv]
        return ["unshare", "-m", "sh", "-c", _APART, *words]

    def _nspawn(self) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
            f"--directory={self._directory}/root",
            f"--machine={self.host.name}",
            "--link-journal=no",
            f"--network-namespace-path=/run/netns/{self.host.name}",
            "--capability=CAP_NET_ADMIN,CAP_BPF",
            f"--system-call-filter={_CALLS}",
        ]

    def boot(self) -> None:
        """Start systemd, and wait until it takes orders."""
        argv = [*self._nspawn(), "--boot", f"systemd.unit={self.target}"]
        with open(os.path.join(self._directory, "console"), "wb") as console:
            self._process = subprocess.Popen(
                self._apart(argv),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        pid = self._process.pid

        def is_up() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise LabError(f"systemd-nspawn ended, see {self._directory}/console")
            for self.leader in children(pid):
                state = self.run("systemctl", "is-system-running", check=False).stdout
                if state.strip() in {"running", "degraded"}:
                    return True
            return False

        wait_for(is_up, f"systemd to start, see {self._directory}/console", 30, 0.1)

    def run(
        self, *argv: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside."""
        return run(self.entered(*argv), check=check, timeout=timeout)

    def entered(self, *argv: str) -> list[str]:
        """Return what runs a program inside."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-n", "--"]
        return [*enter, *argv]

    def close(self) -> None:
        """Take the power away."""
        if self._process is not None:
            if self.leader and is_there(self.leader):
                os.kill(self.leader, signal.SIGKILL)
            self._process.wait(30)
        for top in ("", "systemd", "unified"):
            ours = os.path.join("/sys/fs/cgroup", top, self.host.name)
            for group, _, _ in os.walk(ours, topdown=False):
                os.rmdir(group)


class Service(Spasshd):
    """spasshd as a package has it: where it belongs, and under the unit we ship."""

    def __init__(self, machine: Machine, *init: str) -> None:
        super().__init__(machine.host, f"{machine.files}/etc/spassh", *init)
        self.machine = machine
        self.edit('state_dir = "state"', 'state_dir = "/var/lib/spassh"')
        self.edit('run_dir = "run"', 'run_dir = "/run/spassh"')
        self.edit('gnupg_dir = "gnupg"', 'gnupg_dir = "/var/lib/spassh-gnupg"')
        with open(self.config, encoding="utf-8") as file:
            (user,) = (line for line in file if line.startswith("user = "))
        self.edit(user, 'user = "_spassh"\n')
        unit = (SERVER / "spasshd.service").read_text(encoding="ascii")
        machine.write("/etc/systemd/system/spasshd.service", unit)

    def drop_in(self, name: str, text: str) -> None:
        """Add to the unit, as its administrator does."""
        path = f"/etc/systemd/system/spasshd.service.d/{name}.conf"
        self.machine.write(path, text)

    def begin(self) -> None:
        """Have systemd start it, and wait until it is ready."""
        argv = ["systemctl", "start", "systemd-tmpfiles-setup.service", "spasshd"]
        if self.machine.run(*argv, check=False).returncode:
            raise LabError(f"spasshd.service does not start:\n{self.journal}")

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        shown = self.machine.run("systemctl", "show", "-P", name, "spasshd")
        return shown.stdout.strip()

    def programs(self) -> list[int]:
        """Return listener and granter, as they are numbered out here."""
        inside = self.show("MainPID")
        (listener,) = (
            pid
            for pid in children(self.machine.leader)
            if fields(pid)["NSpid"].split()[-1] == inside
        )
        return [listener, *children(listener)]

    @property
    def journal(self) -> str:
        argv = ("journalctl", "--unit=spasshd", "--output=cat", "--no-pager")
        return self.machine.run(*argv).stdout
