"""What the unit file that we ship lets the daemon do."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .programs import REPOSITORY

SERVER = Path(os.path.join(REPOSITORY, "server"))
UNIT = (SERVER / "spasshd.service").read_text(encoding="ascii")
IPTABLES = (SERVER / "spasshd-iptables.conf").read_text(encoding="ascii")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is missing: apt install systemd",
)


def values(key: str, text: str = UNIT) -> list[str]:
    """Return the words that are assigned to `key`, of all its lines."""
    lines = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return " ".join(lines).split()


def allowed_calls(text: str = UNIT) -> set[str]:
    """Return the system calls that the unit's filter lets through."""
    groups = _groups()
    # What systemd allows whatever the filter says: exec and exit, for example.
    allowed = _members("@default", groups)
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        words = line.removeprefix("~").split()
        named = set().union(*(_members(word, groups) for word in words))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def _groups() -> dict[str, list[str]]:
    """Return what is in each group of systemd's, other groups among it."""
    argv = ["systemd-analyze", "syscall-filter"]
    listing = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    groups: dict[str, list[str]] = {}
    members: list[str] = []
    for line in listing.splitlines():
        word = line.strip()
        if line.startswith("@"):
            members = groups[word] = []
        elif word and not word.startswith("#"):
            members.append(word)
    return groups


def _members(name: str, groups: dict[str, list[str]]) -> set[str]:
    """Return the system calls of a group, or the one that is called `name`."""
    if not name.startswith("@"):
        return {name}
    return set().union(*(_members(one, groups) for one in groups[name]))
