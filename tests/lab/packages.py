"""The Debian packages: built once for all tests, and a machine to install them on."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from .machine import Machine
from .network import LabError, run
from .programs import REPOSITORY

NAMES: Final = ("spassh", "spassh-server")
"""What is built; the second depends on the first."""

_NEXT = "99"
"""The major version of the packages that an upgrade is tried with."""

_BUILD_SECONDS = 400

_APT = """\
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "/srv/none";
"""
"""Everything is there already: to read what the world has would take seconds."""


def built(directory: Path) -> Path:
    """Build the packages into `directory`, if no other process of the tests has.

    Its path is returned.
    """
    if shutil.which("dh") is None:
        pytest.skip("debhelper is missing: scripts/test installs it")
    script = f"{REPOSITORY}/scripts/package"
    return _once(
        directory / "packages",
        lambda into: run([script, "--without-rpm", str(into)], timeout=_BUILD_SECONDS),
    )


def rebuilt(packages: Path) -> Path:
    """Build packages of a higher version from their source, if nobody has."""
    return _once(packages.with_name("rebuilt"), lambda into: _rebuild(packages, into))


def _once(target: Path, make: Callable[[Path], object]) -> Path:
    """Have a directory made by whoever comes first; others wait. Return its path."""
    target.parent.mkdir(exist_ok=True)
    with open(target.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            os.rename(unfinished, target)
    return target


def deb(directory: Path, name: str) -> Path:
    """Return the package of that name."""
    (found,) = directory.glob(f"{name}_*_all.deb")
    return found


def field(package: Path, name: str) -> str:
    """Return a field of the package's control file."""
    argv = ["dpkg-deb", "--field", str(package), name]
    return run(argv).stdout.strip()


def _rebuild(directory: Path, into: Path) -> None:
    version = field(deb(directory, "spassh"), "Version")
    (source,) = directory.glob("spassh_*.dsc")
    tree = into / "source"
    run(["dpkg-source", "--no-check", "--extract", str(source), str(tree)])
    _replace(tree / "debian" / "changelog", f"({version})", f"({_NEXT}.{version})")
    program = tree / "spassh" / "__init__.py"
    _replace(program, '__version__ = "', f'__version__ = "{_NEXT}.')
    words = ["--build=binary", "--unsigned-changes"]
    argv = ["env", f"--chdir={tree}", "DEB_BUILD_OPTIONS=nocheck", "PATH=/usr/bin:/bin"]
    run([*argv, "dpkg-buildpackage", *words], timeout=_BUILD_SECONDS)


def newer(directory: Path, into: Path) -> None:
    """Make packages of a higher version, the same but for that."""
    version = field(deb(directory, "spassh"), "Version")
    for name in NAMES:
        tree = into / name
        run(["dpkg-deb", "--raw-extract", str(deb(directory, name)), str(tree)])
        _replace(tree / "DEBIAN" / "control", version, f"{_NEXT}.{version}")
    (program,) = into.glob("spassh/usr/lib/python3/dist-packages/spassh/__init__.py")
    _replace(program, '__version__ = "', f'__version__ = "{_NEXT}.')
    for name in NAMES:
        tree = into / name
        run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(into)])
        shutil.rmtree(tree)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise LabError(f"{old!r} is not in {path}")
    path.write_text(text.replace(old, new), encoding="utf-8")


class PackagedMachine(Machine):
    """A machine whose administrator has the packages in /srv, and installs them."""

    def _install(self) -> None:
        if shutil.which("apt-get") is None:
            pytest.skip("apt-get is missing: this is no Debian")
        # Services are started here, whatever the host has in that place.
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)
        self.write("/etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\n")
        self.write("/etc/apt/apt.conf.d/99lab", _APT)

    def boot(self) -> None:
        """Start systemd, and have no manual page of the host indexed anew."""
        super().boot()
        self.run("rm", "-f", "/var/lib/man-db/auto-update")

    def bring(self, directory: Path, name: str) -> None:
        """Have the packages of a directory in /srv/NAME."""
        for package in NAMES:
            place = Path(f"{self.files}/srv/{name}")
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(deb(directory, package), place)

    def apt(self, verb: str, *words: str) -> str:
        """Install, remove or purge as an administrator does; return what was said."""
        argv = ["apt-get", verb, "--yes", "--no-install-recommends", *words]
        argv = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", *argv]
        done = self.run(*argv, timeout=120)
        return done.stdout + done.stderr

    def install(self, name: str) -> str:
        """Install the packages in /srv/NAME."""
        found = self.run("sh", "-c", f"echo /srv/{name}/*.deb").stdout.split()
        return self.apt("install", *found)

    def path(self, path: str) -> Path:
        """Return where a file of the running machine is, seen from out here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def left_over(self) -> list[str]:
        """Return every file in the machine that is called something with spassh."""
        return sorted(
            os.path.join(top, name).removeprefix(self.files)
            for top, directories, files in os.walk(self.files)
            for name in directories + files
            if "spassh" in name and not top.startswith(f"{self.files}/srv")
        )

    def ruleset(self) -> str:
        """Return everything in the packet filter."""
        return self.run("nft", "list", "ruleset").stdout
