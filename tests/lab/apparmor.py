"""What an AppArmor profile allows, and what programs have done, by strace.

The kernel of a machine that runs the tests may have no AppArmor. So its rules are read
here as apparmor.d(5) says: those for files and sockets, as far as ours has them.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from .network import LabError
from .programs import REPOSITORY

SOURCE: Final = Path(REPOSITORY, "server", "spasshd.apparmor")

_UNPACKED = Path(REPOSITORY, ".apparmor")


class Access(NamedTuple):
    """One thing that was done to a file."""

    path: str
    letter: str
    """Of apparmor.d(5): r, w, m (mapped for execution), k (locked), x."""


def parse(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Have apparmor_parser(8) read a profile, and load nothing.

    It is installed, or was unpacked by scripts/test.
    """
    base, program = Path("/"), shutil.which("apparmor_parser")
    if program is None:
        base, program = _UNPACKED, str(_UNPACKED / "sbin" / "apparmor_parser")
        if not base.exists():
            pytest.skip(f"apparmor_parser is missing: apt install apparmor, or {base}")
    features = str(base / "usr/share/apparmor-features/features")
    argv = [program, "--skip-kernel-load", "--skip-cache", "--config-file=/dev/null"]
    argv += [f"--policy-features={features}", f"--kernel-features={features}"]
    argv += [f"--base={base}/etc/apparmor.d", *options, str(path)]
    return subprocess.run(argv, check=False, capture_output=True, text=True)


class Profile:
    """The rules of a profile with everything that it includes."""

    def __init__(self, path: Path) -> None:
        done = parse(path, "--preprocess")
        if done.returncode:
            raise LabError(done.stderr)
        self._variables: dict[str, list[str]] = {"profile_name": ["spasshd"]}
        self._files: list[tuple[re.Pattern[str], str, bool]] = []
        self.networks: set[tuple[str, str]] = set()
        """What sockets there may be: family and type."""
        self.capabilities: set[str] = set()
        self.rules = list(_statements(done.stdout))
        for rule in self.rules:
            self._read(rule)

    def allows(self, access: Access) -> bool:
        """Tell whether a rule allows it, and none denies it."""
        found = [
            denies
            for pattern, letters, denies in self._files
            if access.letter in letters and pattern.fullmatch(access.path)
        ]
        return bool(found) and not any(found)

    def _read(self, rule: str) -> None:
        words = rule.split()
        if variable := re.match(r"@\{(\w+)\} *\+?= *(.*)", rule):
            values = self._variables.setdefault(variable[1], [])
            values += variable[2].replace('"', "").split()
        elif words[0] == "network":
            self.networks.add((words[1], words[2]))
        elif words[0] == "capability":
            self.capabilities |= set(words[1:])
        else:
            denies = words[0] == "deny"
            # A rule with `owner` is left out, and allows nothing here.
            words = [one for one in words if one not in {"deny", "audit"}]
            if re.match(r"[/@]", words[0]) and re.fullmatch(r"[a-zA-Z]+", words[1]):
                pattern = re.compile(self._pattern(words[0]))
                self._files.append((pattern, words[1], denies))

    def _pattern(self, glob: str) -> str:
        """Return the regular expression of a path of apparmor.d(5), "Globbing"."""
        made, position = "", 0
        for found in re.finditer(r"@\{(\w+)\}|\*\*|[*?{},]|\[\^?[^]]*\]", glob):
            made += re.escape(glob[position : found.start()])
            position = found.end()
            made += self._meaning(found, glob)
        return made + re.escape(glob[position:])

    def _meaning(self, found: re.Match[str], glob: str) -> str:
        word = found[0]
        if found[1]:
            if found[1] not in self._variables:
                raise LabError(f"{glob}: no such variable")
            values = self._variables[found[1]]
            if glob[found.end() :].startswith("/"):
                values = [one.removesuffix("/") for one in values]
            return f"(?:{'|'.join(map(self._pattern, values))})"
        if word in {"*", "**"}:
            # At the end of a path, it stands for something.
            is_all = glob[found.start() - 1] == "/" and found.end() == len(glob)
            return f"[^{'/' if word == '*' else ''}\0]{'+' if is_all else '*'}"
        plain = {"?": "[^/]", "{": "(?:", ",": "|", "}": ")"}
        return plain.get(word, word)


def _statements(text: str) -> Iterator[str]:
    """Yield every rule, and every line that sets a variable."""
    for line in text.splitlines():
        rule = line.split(" #")[0].strip().removesuffix(",")
        if rule and not rule.startswith("#"):
            yield rule


_BY_NAME = r'"(/[^"]*)"'
_BY_NUMBER = r"\d+<(/[^>]*)>"
_BY_ADDRESS = r'sun_path="(/[^"]*)"'

# By the call: the letter of `Access`, what makes it one, and where the path is. What is
# relative is in a directory that was opened before: the replay store's.
_DONE: Final = {
    **dict.fromkeys(("execve", "execveat"), ("x", "", r'^"(/[^"]*)"')),
    **dict.fromkeys(("unlink", "unlinkat", "mkdir", "link"), ("w", "", _BY_NAME)),
    **dict.fromkeys(("rename", "renameat", "renameat2"), ("w", "", _BY_NAME)),
    **dict.fromkeys(("bind", "connect", "sendto"), ("w", "", _BY_ADDRESS)),
    "mmap": ("m", "PROT_EXEC", _BY_NUMBER),
    "flock": ("k", "", _BY_NUMBER),
    "fcntl": ("k", "F_(OFD_)?SETLK", _BY_NUMBER),
}


class Deeds:
    """What programs have done, by what `strace -ff -y` wrote into a directory."""

    STRACE: Final = (
        *("--seccomp-bpf", "-ff", "-y", "-s", "256", "-e", "signal=none", "-e"),
        "trace=%file,%network,mmap,flock,fcntl",
    )

    def __init__(self, directory: Path) -> None:
        self.accesses: set[Access] = set()
        self.sockets: set[tuple[str, str]] = set()
        for file in directory.iterdir():
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                self._read(line)

    def executed(self) -> set[str]:
        return {one.path for one in self.accesses if one.letter == "x"}

    def _read(self, line: str) -> None:
        call, _, rest = line.partition("(")
        if re.search(r" = -1 E\w+ ", line):
            return  # Nobody missed it, whoever forbade it.
        if call in {"socket", "socketpair"}:
            family, kind = rest.split(", ")[:2]
            kind = kind.split("|")[0].removeprefix("SOCK_").lower()
            self.sockets.add((family.removeprefix("AF_").lower(), kind))
        elif call in {"open", "openat", "creat"}:
            self._opened(rest)
        elif call in _DONE:
            letter, wanted, path = _DONE[call]
            if re.search(wanted, rest):
                for found in re.findall(path, rest):
                    self._add(found, letter)

    def _opened(self, rest: str) -> None:
        found = re.search(r" = \d+<(/[^>]*)>", rest)
        if found is None:
            return
        flags = rest.split('"')[2]
        if "O_PATH" in flags:
            return
        if "O_WRONLY" not in flags:
            directory = "/" if "O_DIRECTORY" in flags else ""
            self._add(found[1].rstrip("/") + directory, "r")
        if re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", flags):
            self._add(found[1], "w")

    def _add(self, path: str, letter: str) -> None:
        self.accesses.add(Access(path.removesuffix(" (deleted)"), letter))
