"""The Debian packages: what is in them, and that it is at one with the program."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from argparse import Namespace
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from lab.apparmor import SOURCE
from lab.packages import NAMES, deb, field
from lab.unit import UNIT

import spassh
from spassh_server.config import DEFAULT_PATH
from spassh_server.verbs.init import _configuration

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "debian"

SOURCES = {"spassh": ROOT / "spassh", "spassh-server": ROOT / "server/spassh_server"}
"""Where the modules of each package come from."""

MODULES = "usr/lib/python3/dist-packages"

UNITS = "usr/lib/systemd/system"
"""debhelper of Debian 12 has them below /lib, which is a link to there."""

PROVIDERS = {
    "cryptography": "python3-cryptography",
    "gnupg": "python3-gnupg",
    "platformdirs": "python3-platformdirs",
    "psutil": "python3-psutil",
    "scapy": "python3-scapy",
    "segno": "python3-segno",
}
"""The Debian package of what is imported and comes from neither us nor Python."""

OPTIONAL = {"gnupg", "segno"}
"""What both do without, if it is not there."""
OPTIONAL_FOR_THE_CLIENT = OPTIONAL | {"scapy"}

COMPLETIONS = {
    *("usr/share/bash-completion/completions", "usr/share/fish/vendor_completions.d"),
    "usr/share/zsh/vendor-completions",
}

DIRECTORIES = {
    "spassh": {
        *("usr/bin", f"{MODULES}/spassh", f"{MODULES}/spassh-{{version}}.dist-info"),
        *("usr/share/doc/spassh", "usr/share/lintian/overrides", "usr/share/man/man1"),
        *("usr/share/man/man5", "usr/share/man/man7"),
        *COMPLETIONS,
    },
    "spassh-server": {
        *("etc/apparmor.d", UNITS),
        *("usr/lib/sysusers.d", "usr/lib/tmpfiles.d"),
        *("usr/sbin", f"{MODULES}/spassh_server", "usr/share/doc/spassh-server"),
        *("usr/share/lintian/overrides", "usr/share/man/man5", "usr/share/man/man8"),
        *COMPLETIONS,
    },
}

FILES = {
    "spassh": {
        *("usr/bin/spassh", f"{MODULES}/spassh/py.typed"),
        *("usr/share/doc/spassh/examples/ssh_config.example",),
        *("usr/share/doc/spassh/README.md.gz", "usr/share/doc/spassh/copyright"),
        *("usr/share/doc/spassh/SECURITY.md.gz", "usr/share/doc/spassh/changelog.gz"),
        *("usr/share/man/man1/spassh.1.gz", "usr/share/man/man5/spassh.toml.5.gz"),
        *("usr/share/man/man7/spassh-protocol.7.gz",),
        *("usr/share/bash-completion/completions/spassh",),
        *("usr/share/fish/vendor_completions.d/spassh.fish",),
        *("usr/share/zsh/vendor-completions/_spassh",),
    },
    "spassh-server": {
        *("usr/sbin/spasshd", f"{UNITS}/spasshd.service"),
        *("etc/apparmor.d/spasshd",),
        *("usr/lib/sysusers.d/spassh-server.conf",),
        *("usr/lib/tmpfiles.d/spassh-server.conf",),
        *("usr/share/doc/spassh-server/README.Debian",),
        *("usr/share/doc/spassh-server/examples/spasshd-iptables.conf",),
        *("usr/share/doc/spassh-server/copyright",),
        *("usr/share/man/man5/spasshd.toml.5.gz", "usr/share/man/man8/spasshd.8.gz"),
        *("usr/share/bash-completion/completions/spasshd",),
        *("usr/share/fish/vendor_completions.d/spasshd.fish",),
        *("usr/share/zsh/vendor-completions/_spasshd",),
    },
}
"""Files that have to be there, among others in the directories above."""

PROGRAMS = {"usr/bin/spassh", "usr/sbin/spasshd"}

REMARKS = {"I"}
"""Severities of lintian's tags that are let pass: information."""


def contents(package: Path, part: str = "--fsys-tarfile") -> Iterator[tarfile.TarInfo]:
    argv = ["dpkg-deb", part, str(package)]
    tar = subprocess.run(argv, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        for member in archive:
            member.name = _place(member.name)
            yield member


def _place(name: str) -> str:
    """Return where a file of a package is, whether or not by way of a link."""
    return re.sub(r"^lib/", "usr/lib/", name.removeprefix("./"))


def read(package: Path, path: str, part: str = "--fsys-tarfile") -> str:
    argv = ["dpkg-deb", part, str(package)]
    tar = subprocess.run(argv, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        (member,) = (one for one in archive if _place(one.name) == path)
        file = archive.extractfile(member)
        assert file is not None
        return file.read().decode()


def _plain(paths: Iterable[str]) -> set[str]:
    return {path.removesuffix(".gz") for path in paths}


def depends(package: Path) -> set[str]:
    """Return what it depends on, each with its alternatives, without versions."""
    words = re.sub(r" \([^)]*\)", "", field(package, "Depends"))
    return {word.strip() for word in words.split(",")}


# The source


def test_the_version_is_that_of_the_program() -> None:
    first = (DEBIAN / "changelog").read_text(encoding="utf-8").splitlines()[0]
    (version,) = re.findall(r"\(([^)]*)-[^-)]+\)", first)
    assert version == spassh.__version__


def imported(package: Path) -> set[str]:
    """Return the names of the modules outside that a package's files import."""
    names: set[str] = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"spassh", "spassh_server"}


def test_what_is_imported_has_a_package() -> None:
    client, server = (imported(source) for source in SOURCES.values())
    assert client | server == set(PROVIDERS)
    assert client - OPTIONAL_FOR_THE_CLIENT == {"cryptography", "platformdirs"}


# The binary packages


@pytest.mark.parametrize("name", NAMES)
def test_the_packages_have_the_version_of_the_program(
    packages: Path, name: str
) -> None:
    assert field(deb(packages, name), "Version") == f"{spassh.__version__}-1"


def test_the_packages_depend_on_what_they_import(packages: Path) -> None:
    client, server = (imported(source) for source in SOURCES.values())
    others = set(PROVIDERS.values())
    wanted = depends(deb(packages, "spassh"))
    needed = client - OPTIONAL_FOR_THE_CLIENT
    assert wanted & others == {PROVIDERS[name] for name in needed}
    wanted = depends(deb(packages, "spassh-server"))
    # What the modules want that it shares with the client, it wants as well.
    needed = (server | client) - OPTIONAL | {"gnupg"}
    assert wanted & others == {PROVIDERS[name] for name in needed}
    # What Python's package only recommends, what is driven, and what both share.
    assert {"libpcap0.8", "nftables | iptables", "spassh"} <= wanted


def test_the_packages_want_at_least_what_pip_would(packages: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    for name, kind, requirements in (
        ("spassh", "Depends", project["dependencies"]),
        ("spassh-server", "Depends", project["dependencies"]),
        ("spassh-server", "Depends", extras["server"] + extras["gnupg"]),
        ("spassh-server", "Suggests", extras["qr"]),
        ("spassh", "Suggests", extras["gnupg"] + extras["raw"]),
    ):
        said = field(deb(packages, name), kind)
        for requirement in requirements:
            module, version = requirement.removeprefix("python-").split(">=")
            assert f"{PROVIDERS[module]} (>= {version})" in said


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_those_of_the_package(packages: Path, name: str) -> None:
    allowed = {one.format(version=spassh.__version__) for one in DIRECTORIES[name]}
    package = deb(packages, name)
    files = {one.name: one for one in contents(package) if not one.isdir()}
    # What is short is not compressed.
    assert _plain(files) >= _plain(FILES[name])
    for path, member in files.items():
        assert any(path.startswith(f"{directory}/") for directory in allowed), path
        assert member.isfile(), path
        assert member.mode == (0o755 if path in PROGRAMS else 0o644), path
    for member in contents(package):
        assert (member.uid, member.gid) == (0, 0)
        assert not re.search(r"test|__pycache__|\.key|\.toml$", member.name)
    # Every module that there is, and no other.
    source = SOURCES[name]
    assert {path for path in files if path.endswith(".py")} == {
        f"{MODULES}/{file.relative_to(source.parent)}" for file in source.rglob("*.py")
    }


@pytest.mark.parametrize(
    ("name", "conffiles"),
    [("spassh", ""), ("spassh-server", "/etc/apparmor.d/spasshd\n")],
)
def test_the_profile_alone_is_a_conffile(
    packages: Path, name: str, conffiles: str
) -> None:
    """The verbs of spasshd change its file, about which dpkg would ask everybody."""
    control = {one.name for one in contents(deb(packages, name), "--ctrl-tarfile")}
    assert "control" in control
    assert ("conffiles" in control) is bool(conffiles)
    if conffiles:
        assert read(deb(packages, name), "conffiles", "--ctrl-tarfile") == conffiles


def test_the_profile_is_loaded_before_the_service_asks_for_it(packages: Path) -> None:
    package = deb(packages, "spassh-server")
    profile = read(package, "etc/apparmor.d/spasshd")
    assert profile == SOURCE.read_text(encoding="ascii")
    script = read(package, "postinst", "--ctrl-tarfile")
    loads = script.index('apparmor_parser -r -T -W "$APP_PROFILE"')
    assert loads < script.index("deb-systemd-invoke")


@pytest.mark.parametrize(
    ("name", "path"),
    [("spassh", "usr/bin/spassh"), ("spassh-server", "usr/sbin/spasshd")],
)
def test_a_program_takes_nothing_from_the_environment(
    packages: Path, name: str, path: str
) -> None:
    script = read(deb(packages, name), path)
    assert re.match(r"#! ?/usr/bin/python3 -I\n", script)


def test_the_service_runs_the_program_of_the_package(packages: Path) -> None:
    """One in /usr/local would be another installation's."""
    unit = read(deb(packages, "spassh-server"), f"{UNITS}/spasshd.service")
    assert unit == UNIT.replace("=!spasshd ", "=!/usr/sbin/spasshd ")
    assert unit.count("=!/usr/sbin/spasshd ") == 2


def test_an_upgrade_does_not_stop_the_service(packages: Path) -> None:
    """Nobody gets in while it is gone. It is started anew when all is in place."""
    server = deb(packages, "spassh-server")
    prerm, postinst = (
        read(server, script, "--ctrl-tarfile") for script in ("prerm", "postinst")
    )
    before, after = prerm.split("\tdeb-systemd-invoke stop ")
    assert '[ "$1" = remove ]' in before.splitlines()[-1]
    assert after.startswith("'spasshd.service'")
    assert "_dh_action=restart\n" in postinst


def test_the_scripts_know_where_the_configuration_is() -> None:
    directory = os.path.dirname(DEFAULT_PATH)
    postinst = (DEBIAN / "spassh-server.postinst").read_text(encoding="ascii")
    assert f"\nconfig={DEFAULT_PATH}\nkey={directory}/server.key\n" in postinst


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(0, 0), (1, 1), (2, 1), (5, 0), (127, 1)],
)
def test_the_package_goes_only_if_no_rule_of_it_can_be_left(
    status: int, outcome: int
) -> None:
    """5 is said in a container that may not change its packet filter."""
    text = (DEBIAN / "spassh-server.prerm").read_text(encoding="ascii")
    program = "/usr/bin/python3 -I -B /usr/sbin/spasshd stop --open"
    assert text.count(program) == 1
    script = text.replace(program, f"(exit {status})")
    script = f"ischroot() {{ return 1; }}\n{script}"
    for word, expected in (("remove", outcome), ("upgrade", 0), ("deconfigure", 0)):
        done = subprocess.run(["sh", "-c", script, "prerm", word], check=False)
        assert done.returncode == expected, word


@pytest.mark.parametrize(
    ("present", "calls_init"),
    [
        ({}, True),
        ({"spasshd.toml": ""}, False),
        ({"server.key": ""}, False),
        ({"spasshd.toml": "/nowhere"}, False),
        ({"server.key": "/nowhere"}, False),
    ],
    ids=repr,
)
def test_a_first_installation_makes_files_where_there_are_none(
    tmp_path: Path, present: dict[str, str], calls_init: bool
) -> None:
    """A link that leads nowhere is one: init refuses it, and apt would fail."""
    for name, target in present.items():
        (tmp_path / name).symlink_to(target or "/dev/null")
    text = (DEBIAN / "spassh-server.postinst").read_text(encoding="ascii")
    assert text.count("/usr/sbin/spasshd init\n") == 1
    script = text.replace("/usr/sbin/spasshd init", "echo made")
    script = script.replace(os.path.dirname(DEFAULT_PATH), str(tmp_path))
    script = script.replace("-d /run/systemd/system", "-d /nowhere")
    argv = ["sh", "-c", script, "postinst", "configure", ""]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert ("made" in done.stdout) is calls_init
    assert ("so none was made" in done.stderr) is ("server.key" in present)


def test_whoever_may_be_locked_out_is_warned() -> None:
    """Also by a removal that failed, and where a first installation finds its file."""
    text = (DEBIAN / "spassh-server.postinst").read_text(encoding="ascii")
    script = text.replace("-d /run/systemd/system", "-d /")
    script = script.replace("! is_there $config", "! is_there /")
    for state, warned in (("failed", True), ("activating", True), ("active", False)):
        stub = f"systemctl() {{ echo {state}; }}\n"
        for words in (
            ("configure", ""),
            ("configure", "0.1.0-1"),
            ("abort-remove",),
            ("abort-upgrade", "0.1.0-1"),
        ):
            argv = ["sh", "-c", stub + script, "postinst", *words]
            done = subprocess.run(argv, check=True, capture_output=True, text=True)
            assert ("keep this session" in done.stderr) is warned, (state, words)


def test_purging_deletes_every_directory_of_a_first_configuration() -> None:
    """The server's OpenPGP key is in one of them."""
    options = Namespace(protect=[], backend="auto")
    first = tomllib.loads(_configuration(options, DEFAULT_PATH, ""))
    named = {first[key] for key in ("state_dir", "run_dir", "gnupg_dir")}
    postrm = (DEBIAN / "spassh-server.postrm").read_text(encoding="ascii")
    (words,) = re.findall(r" rm -rf (.*)$", postrm, re.MULTILINE)
    assert set(words.split()) == named | {os.path.dirname(DEFAULT_PATH)}


@pytest.mark.parametrize("script", ["postinst", "postrm", "prerm"])
def test_the_scripts_stop_at_the_first_error(script: str) -> None:
    text = (DEBIAN / f"spassh-server.{script}").read_text(encoding="ascii")
    assert re.search(r"^set -e$", text, re.MULTILINE)
    assert text.count("\n#DEBHELPER#\n") == 1


BY_DEBHELPER = re.compile(
    r"\b(adduser|useradd|usermod|deluser|userdel|groupadd|chown|chmod|mkdir|ln|install"
    r"|mv|cp|apparmor_parser|update-rc\.d|invoke-rc\.d|deb-systemd-helper|py3compile"
    r"|py3clean|systemd-tmpfiles|systemd-sysusers"
    r"|systemctl (enable|disable|start|stop|restart|mask|daemon-reload))\b"
)


def test_no_script_does_by_hand_what_debhelper_does_and_the_rest_has_a_reason() -> None:
    reasons = (DEBIAN / "README.source").read_text(encoding="ascii")
    told = set(re.findall(r"^(spassh[-.\w]+), ", reasons, re.MULTILINE))
    scripts = [
        *DEBIAN.glob("*.p*inst"),
        *DEBIAN.glob("*.p*rm"),
        *DEBIAN.glob("*.config"),
    ]
    assert {script.name for script in scripts} == told
    for script in scripts:
        for line in script.read_text(encoding="ascii").splitlines():
            command = re.sub("'[^']*'", "", line).strip()
            assert command.startswith("#") or not BY_DEBHELPER.search(command), line


def test_each_test_of_the_installed_packages_can_be_read() -> None:
    control = (DEBIAN / "tests" / "control").read_text(encoding="ascii")
    listed = re.findall(r"^Tests: (\w+)$", control, re.MULTILINE)
    files = {path for path in (DEBIAN / "tests").iterdir() if path.name != "control"}
    assert {path.name for path in files} == set(listed)
    for path in files:
        assert path.stat().st_mode & 0o111
        subprocess.run(["sh", "-n", str(path)], check=True)


def test_lintian_finds_nothing(packages: Path) -> None:
    """No error and no warning, of the source as well; an override says why."""
    (changes,) = packages.glob("*.changes")
    argv = ["lintian", "--allow-root", "--display-info", "--no-cfg", str(changes)]
    said = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert said.returncode == 0
    assert said.stderr == ""
    tags = said.stdout.splitlines()
    assert [tag for tag in tags if tag[0] not in REMARKS] == []
    # The check can fail: it has looked.
    assert "I: spassh source: debian-watch-file-is-missing" in tags


def test_every_override_has_a_reason() -> None:
    for file in DEBIAN.glob("*.lintian-overrides"):
        lines = file.read_text(encoding="ascii").splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            assert line.startswith("#") or before.startswith("#"), line
