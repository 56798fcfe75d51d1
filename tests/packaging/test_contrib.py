"""Packages for other systems: at one with the program and with the Debian packages.

Of these only the RPM packages are built here. See contrib/README.md.
"""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from lab.packages import NAMES, deb, field

import spassh
from spassh_server.cli import _parser
from spassh_server.config import DEFAULT_PATH

from .test_debian import PROVIDERS, contents

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
SPEC = CONTRIB / "rpm" / "spassh.spec"
PKGBUILD = CONTRIB / "arch" / "PKGBUILD"
ARCH_SCRIPT = CONTRIB / "arch" / "spassh-server.install"
FORMULA = CONTRIB / "homebrew" / "spassh.rb"
PORT = CONTRIB / "freebsd" / "Makefile"
RC_SCRIPT = CONTRIB / "freebsd" / "rc.d" / "spasshd"

VERSIONS = {
    SPEC: r"^Version: +(\S+)$",
    PKGBUILD: r"^pkgver=(\S+)$",
    FORMULA: r"/spassh-([\d.]+)\.tar\.gz\"$",
    PORT: r"^DISTVERSION=\t(\S+)$",
}

DEBIAN_ONLY = re.compile(r"etc/apparmor\.d/|usr/share/(doc|lintian)/")
"""What others have elsewhere, or not at all."""


def text(path: Path) -> str:
    return path.read_text(encoding="ascii")


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.name)
def test_the_version_is_that_of_the_program(path: Path) -> None:
    found = re.findall(VERSIONS[path], text(path), re.MULTILINE)
    assert found == [spassh.__version__]


@pytest.mark.parametrize("path", [PKGBUILD, FORMULA, PORT], ids=lambda path: path.name)
def test_what_was_not_built_says_so(path: Path) -> None:
    assert "Not built here: see ../README.md." in " ".join(text(path).split())


@pytest.mark.parametrize(
    ("shell", "path"),
    [("bash", PKGBUILD), ("sh", ARCH_SCRIPT), ("sh", RC_SCRIPT)],
    ids=str,
)
def test_shell_files_can_be_read(shell: str, path: Path) -> None:
    subprocess.run([shell, "-n", str(path)], check=True)


@pytest.mark.skipif(shutil.which("ruby") is None, reason="no ruby is installed")
def test_the_formula_can_be_read() -> None:
    subprocess.run(["ruby", "-c", str(FORMULA)], check=True)


def test_the_versions_wanted_are_those_of_debian(packages: Path) -> None:
    said = " ".join(field(deb(packages, name), "Depends") for name in NAMES)
    for module in sorted(set(PROVIDERS) - {"segno"}):
        (version,) = {*re.findall(rf"{PROVIDERS[module]} \(>= ([\d.]+)\)", said)}
        project = {"gnupg": "python-gnupg"}.get(module, module)
        assert f"python3dist({project}) >= {version}\n" in text(SPEC)
        assert re.search(rf"'(python-)?{module}>={version}'", text(PKGBUILD))
        assert re.search(rf"}}{project}>={version}:", text(PORT))


# RPM


@pytest.fixture(scope="module")
def rpms(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with the RPM packages, which are built from the sdist."""
    directory = tmp_path_factory.mktemp("rpms")
    source = packages / f"spassh-{spassh.__version__}.tar.gz"
    argv = [ROOT / "scripts" / "rpm", source, directory]
    subprocess.run(argv, check=True, timeout=150)
    return directory


def rpm(directory: Path, name: str) -> Path:
    return directory / f"{name}-{spassh.__version__}-1.noarch.rpm"


def query(package: Path, *options: str) -> str:
    argv = ["rpm", "--query", "--package", *options, str(package)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def as_elsewhere(path: str) -> str:
    """Return where a file of the Debian packages is on other systems."""
    path = re.sub(r"^usr/sbin/", "usr/bin/", path)
    path = path.replace("zsh/vendor-completions/", "zsh/site-functions/")
    return re.sub(r"^usr/share/man/(.*)\.gz$", r"usr/share/man/\1", path)


@pytest.mark.parametrize("name", NAMES)
def test_the_rpm_packages_have_the_files_of_the_debian_packages(
    packages: Path, rpms: Path, name: str
) -> None:
    theirs = {
        as_elsewhere(one.name)
        for one in contents(deb(packages, name))
        if not one.isdir() and not DEBIAN_ONLY.match(one.name)
    }
    lines = query(rpm(rpms, name), "--queryformat", "[%{FILEMODES} %{FILENAMES}\n]")
    found = (line.split() for line in lines.splitlines())
    ours = {
        path.removesuffix(".gz")[1:]: stat.S_IMODE(int(mode))
        for mode, path in found
        if stat.S_ISREG(int(mode))
    }
    installed = {
        path
        for path in ours
        if not re.match(r"usr/share/(doc|licenses)/", path)
        and not path.endswith((".pyc", ".dist-info/LICENSE"))
    }
    assert installed == theirs
    for path, mode in ours.items():
        is_program = path in {"usr/bin/spassh", "usr/bin/spasshd"}
        assert mode == (0o755 if is_program else 0o644), path


def test_the_rpm_packages_want_what_the_debian_packages_do(
    packages: Path, rpms: Path
) -> None:
    client, server = (rpm(rpms, name) for name in NAMES)
    wanted = set(query(client, "--requires").splitlines())
    assert wanted >= {
        *("python3dist(cryptography) >= 38", "python3dist(platformdirs) >= 2.6"),
    }
    wanted = set(query(server, "--requires").splitlines())
    assert wanted >= {
        *("(nftables or iptables)", "libpcap", "python3dist(psutil) >= 5.9"),
        *("python3dist(python-gnupg) >= 0.4.9", "python3dist(scapy) >= 2.5"),
        f"spassh = {spassh.__version__}-1",
    }
    debian = field(deb(packages, "spassh-server"), "Recommends")
    recommended = query(server, "--recommends").split()
    assert recommended == sorted(word.strip() for word in debian.split(","))


def test_the_rpm_package_opens_before_it_goes(rpms: Path) -> None:
    server = rpm(rpms, "spassh-server")
    script = query(server, "--queryformat", "%{PREUN}")
    subprocess.run(["sh", "-n"], check=True, input=script, text=True)
    assert "spasshd stop --open" in script
    # An upgrade calls it with 1, and a chroot has no systemd that runs.
    done = subprocess.run(["sh", "-e", "-c", script, "sh", "1"], check=True)
    assert done.returncode == 0
    assert "[ $1 -eq 0 ] && [ -d /run/systemd/system ]" in script


@pytest.mark.parametrize("status", [0, 1, 5])
@pytest.mark.parametrize("state", ["active", "inactive"])
def test_who_cannot_remove_the_rpm_package_keeps_the_guard(
    rpms: Path, status: int, state: str
) -> None:
    """With the drop in place and no daemon, nobody would get in any more."""
    script = query(rpm(rpms, "spassh-server"), "--queryformat", "%{PREUN}")
    program = "/usr/bin/python3 -I -B /usr/bin/spasshd stop --open"
    assert script.count(program) == 1
    script = script.replace(program, f"(exit {status})")
    script = script.replace("-d /run/systemd/system", "-d /")
    # What is done goes where no redirection of the script takes it away.
    stub = f'systemctl() {{ echo "$@" >&3; [ $1 != show ] || echo {state}; }}\n'
    argv = ["sh", "-e", "-c", f"exec 3>&1\n{stub}{script}", "sh", "0"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    verbs = [line.split()[0] for line in done.stdout.splitlines()]
    if status == 1:
        assert done.returncode == 1
        restart = ["start"] if state == "active" else []
        assert verbs == ["show", "stop", *restart]
    else:
        assert done.returncode == 0
        assert verbs == ["show", "stop", "--no-reload"]


@pytest.mark.parametrize(
    ("name", "path"),
    [("spassh", "usr/bin/spassh"), ("spassh-server", "usr/bin/spasshd")],
)
def test_a_program_of_the_rpm_packages_takes_nothing_from_the_environment(
    rpms: Path, name: str, path: str, tmp_path: Path
) -> None:
    argv = f"rpm2archive -n - <{rpm(rpms, name)} | tar -x"
    subprocess.run(["sh", "-c", argv], check=True, cwd=tmp_path)
    script = (tmp_path / path).read_text(encoding="ascii")
    assert script.startswith("#!/usr/bin/python3 -I\n")
    unit = tmp_path / "usr/lib/systemd/system/spasshd.service"
    if name == "spassh-server":
        assert text(unit).count("=!/usr/bin/spasshd ") == 2


# FreeBSD


def test_the_rc_script_calls_what_there_is() -> None:
    script = text(RC_SCRIPT)
    assert f"spasshd_config:={DEFAULT_PATH}" in script
    for verb in re.findall(r"\$program (\w+) ", script):
        _parser().parse_args([verb])
    assert re.findall(r"\$program (\w+) ", script) == ["run", "reload"]
