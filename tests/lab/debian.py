"""A minimal Debian that debootstrap makes, and hosts that systemd boots from it.

Nothing of this machine is in there. It is made once for each release, which takes a
minute, and kept in the checkout, with all that our packages want from the archive; from
then on no network is needed, until they want something else.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from .machine import Machine
from .network import SERVER4, SERVER6, SERVER_NAME, run
from .packages import NAMES, deb, field
from .programs import REPOSITORY

RELEASES: Final = ("bookworm", "trixie")
"""Debian 12 and 13."""

_CACHE = Path(REPOSITORY, ".debian")

_BASE = ("systemd-sysv", "openssh-server", "openssh-client")
"""What there is before we come: a host with SSH."""

_RECOMMENDED = ("ipset", "python3-nftables")
"""What our packages recommend beside SSH."""

_BARELY = ("--no-install-recommends",)
"""What Debian's scapy recommends is hundreds: a compiler, and much to draw with."""

_MAKE_SECONDS, _APT_SECONDS = 900, 600
"""They are there for what hangs: a busy machine is slow."""

_LOCAL = "/etc/apt/sources.list.d/local.list"

_ENVIRONMENT = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")


def base(release: str) -> Path:
    """Return the files of a host with that release, of which nothing is ours."""
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is missing: scripts/test installs it")
    target = _CACHE / release
    _once(release, "base", _BASE, lambda: _make(release, target))
    return target


def root(release: str, packages: Path) -> Path:
    """Return these files with what `packages` want from the archive, to be installed.

    Nobody may change them.
    """
    target = base(release)
    wants = [
        field(deb(packages, name), kind)
        for name in NAMES
        for kind in ("Depends", "Recommends")
    ]
    words = (*_BASE, *wants, *_RECOMMENDED)
    _once(release, "debs", words, lambda: _fetch(target, packages))
    return target


def _once(
    release: str, kind: str, words: Iterable[str], make: Callable[[], None]
) -> None:
    """Make what `words` ask for, unless somebody has; whoever comes second waits."""
    _CACHE.mkdir(exist_ok=True)
    stamp, text = _CACHE / f"{release}.{kind}", "\n".join(words)
    with open(_CACHE / f"{release}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != text:
            stamp.unlink(missing_ok=True)
            make()
            stamp.write_text(text, encoding="utf-8")


def _make(release: str, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    words = ["--variant=minbase", f"--include={','.join(_BASE)}", release]
    run(["debootstrap", *words, str(target), _mirror()], timeout=_MAKE_SECONDS)


def _fetch(target: Path, packages: Path) -> None:
    """Have apt fetch what our packages depend on and recommend.

    `_RECOMMENDED` is not installed unless a test does it.
    """
    ours = target / "srv"
    for name in NAMES:
        shutil.copy(deb(packages, name), ours)
    debs = [f"/srv/{deb(ours, name).name}" for name in NAMES]
    fetch = ["install", "--yes", "--download-only", *_BARELY, *debs, *_RECOMMENDED]
    for words in (["clean"], ["update"], fetch):
        argv = ["chroot", str(target), *_ENVIRONMENT, "apt-get", *words]
        run(argv, timeout=_MAKE_SECONDS)
    for file in ours.iterdir():
        file.unlink()


def _mirror() -> str:
    """Return where this machine's own Debian comes from."""
    words = ["Origin: Debian", "Component: main", "--format", "$(REPO_URI) $(CODENAME)"]
    for line in run(["apt-get", "indextargets", *words]).stdout.splitlines():
        address, codename = line.split()
        if codename.isalpha():
            return address
    pytest.skip("apt-get update has not been called, or this is no Debian")


class DebianMachine(Machine):
    """A host of that Debian, whose administrator has a local repository in /srv."""

    target = "multi-user.target"

    def _install(self) -> None:
        self.write(_LOCAL, "deb [trusted=yes] file:/srv/local ./\n")
        self.write("/etc/dpkg/dpkg.cfg.d/lab", "force-unsafe-io\n")
        addresses = f"{SERVER4} {SERVER_NAME}\n{SERVER6} {SERVER_NAME}\n"
        self.write("/etc/hosts", f"127.0.0.1 localhost\n{addresses}")
        self.write("/etc/hostname", f"{self.host.name.rsplit('-', 1)[1]}\n")

    def offer(self, directory: Path) -> None:
        """Put the packages of a directory into the local repository."""
        outside = Path(self._directory, "local")
        outside.mkdir(exist_ok=True)
        for name in NAMES:
            shutil.copy(deb(directory, name), outside)
        index = run(["env", f"--chdir={outside}", "dpkg-scanpackages", "-m", "."])
        (outside / "Packages").write_text(index.stdout, encoding="utf-8")
        local = "/srv/local"
        inside = self.path(local) if self.leader else Path(self.files + local)
        shutil.copytree(outside, inside, dirs_exist_ok=True)

    def path(self, path: str) -> Path:
        """Return where a file of the running machine is, seen from out here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def apt(self, verb: str, *words: str) -> str:
        """Have apt do something; what it knows of the archive is what was fetched."""
        argv = [*_ENVIRONMENT, "apt-get", "--yes", verb, *words]
        done = self.run(*argv, timeout=_APT_SECONDS)
        return done.stdout + done.stderr

    def install(self, name: str) -> str:
        """Install one of our packages, and what it depends on."""
        return self.apt("install", *_BARELY, name)

    def update(self) -> None:
        """Read the local repository anew, and nothing else."""
        only = ("-o", "Dir::Etc::SourceList=/dev/null")
        self.apt("update", *only, "-o", "APT::Get::List-Cleanup=0")
