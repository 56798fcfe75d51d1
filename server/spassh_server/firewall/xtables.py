"""One of iptables and ip6tables: its filter table is read by -S, written by restore.

What -S prints is meant to be given to iptables again, so its form is stable. Whose a
rule is, and what it stands for, is told by its comment alone.
"""

import re
from typing import Final

from .run import ProgramError, find, run

INPUT: Final = "INPUT"
NFT: Final = "-nft"
LEGACY: Final = "-legacy"

# Both variants: "no chain of that name". Whatever else it may be, restore then fails.
_NO_SUCH_CHAIN = 1
_LOCK_SECONDS = "5"

# How iptables prints a word: as it is, or in quotes and with backslashes.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")


class Xtables:
    """The filter table of IP `version`, by the programs of one variant."""

    def __init__(self, version: int, variant: str = "") -> None:
        """`variant` is NFT or LEGACY, or empty for the one that the system prefers."""
        self.version = version
        self._program = f"{'iptables' if version == 4 else 'ip6tables'}{variant}"
        self._restore = f"{self._program}-restore"

    def missing(self) -> str | None:
        """Return which program is not installed, or None."""
        for program in (self._program, self._restore):
            if find(program) is None:
                return program
        return None

    def rules(self, chain: str) -> list[str] | None:
        """Return the rules of `chain` in the form "-A CHAIN ...", or None if no chain.

        Where the kernel has no filter table yet, the legacy variant makes one.
        """
        try:
            listing = run(self._program, "-w", _LOCK_SECONDS, "-S", chain)
        except ProgramError as error:
            if error.status == _NO_SUCH_CHAIN:
                return None
            raise
        lines = listing.decode(errors="replace").splitlines()
        return [line for line in lines if line.startswith("-A ")]

    def apply(self, lines: list[str]) -> None:
        """Apply `lines` to the filter table as one transaction."""
        text = "\n".join(["*filter", *lines, "COMMIT", ""])
        run(self._restore, "--noflush", "-w", _LOCK_SECONDS, stdin=text.encode())


def comment_of(rule: str) -> str:
    """Return the comment of a `rule` that `Xtables.rules` returned, or nothing."""
    words = _words(rule)
    return words[words.index("--comment") + 1] if "--comment" in words else ""


def same_rule(one: str, other: str) -> bool:
    """Tell whether two rules of one chain are the same, whichever way they are put.

    Versions differ in where they print the comment, and in whether they quote it.
    """
    return sorted(_words(one)) == sorted(_words(other))


def _words(rule: str) -> list[str]:
    return [
        _ESCAPE.sub(r"\1", quoted) if quoted is not None else plain
        for quoted, plain in (match.groups() for match in _WORD.finditer(rule))
    ]
