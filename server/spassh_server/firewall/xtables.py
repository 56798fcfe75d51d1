"""One of iptables and ip6tables: its tables are read by -S, and written by restore.

What -S prints is meant to be given to iptables again, so its form is stable. Whose a
rule is, and what it stands for, is told by its comment alone.
"""

import re
from typing import Final

from . import FirewallError
from .run import ProgramError, find, run

FILTER: Final = "filter"
NAT: Final = "nat"
MANGLE: Final = "mangle"
INPUT: Final = "INPUT"
NFT: Final = "-nft"
LEGACY: Final = "-legacy"

# Where the kernel tells which tables of the legacy variant this namespace has.
_NAMES = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}

# Both variants: no such chain, or no such rule in it. But of a chain that -nft cannot
# list, it says the same, in the very same words. And with the same status it says that
# it had no memory, no socket or no answer.
_NOT_THERE = 1
_NOT_THERE_WORDS: Final = (
    "No chain/target/match by that name",
    "Bad rule (does a matching rule exist in that chain?)",
    "is incompatible, use 'nft' tool",
)
_LOCK_SECONDS = "5"

# How iptables prints a word: as it is, or in quotes and with backslashes.
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(.)")


class Xtables:
    """The tables of IP `version`, by the programs of one variant."""

    def __init__(self, version: int, variant: str = "") -> None:
        """`variant` is NFT or LEGACY, or empty for the one that the system prefers."""
        self.version = version
        self.program = f"{'iptables' if version == 4 else 'ip6tables'}{variant}"
        self._restore = f"{self.program}-restore"
        self._is_legacy = variant == LEGACY if variant else None

    def missing(self) -> str | None:
        """Return which program is not installed, or None."""
        for program in (self.program, self._restore):
            if find(program) is None:
                return program
        return None

    def rules(self, chain: str, table: str = FILTER) -> list[str] | None:
        """Return the rules of `chain` in the form "-A CHAIN ...".

        Returns:
            None if there is no such chain, or if it cannot be listed because nft has
            put a rule there that iptables cannot print. One that is built in is always
            there.

        Where the kernel does not have the table yet, the legacy variant makes one.
        """
        lines = self.listing(chain, table)
        return None if lines is None else [line for line in lines if line[:3] == "-A "]

    def listing(self, chain: str, table: str = FILTER) -> list[str] | None:
        """Return the same, and before it what the chain is: "-P CHAIN DROP"."""
        listing = self._ask(table, "-S", chain)
        if listing is None:
            return None
        return listing.decode(errors="replace").splitlines()

    def all_rules(self, table: str) -> list[str]:
        """Return the rules of all chains of a `table` that is there."""
        return (self._ask(table, "-S") or b"").decode(errors="replace").splitlines()

    def delete(self, chain: str, rule: str, table: str = FILTER) -> bool:
        """Delete one such `rule`, and tell whether there was one.

        No word of it has a blank.
        """
        return self._ask(table, "-D", chain, *rule.split()) is not None

    def flush(self, chain: str, table: str = FILTER) -> bool:
        """Empty `chain`, even if it cannot be listed; tell whether it is there."""
        return self._ask(table, "-F", chain) is not None

    def apply(self, lines: list[str], table: str = FILTER) -> None:
        """Apply `lines` to the table as one transaction."""
        text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
        run(self._restore, "--noflush", "-w", _LOCK_SECONDS, stdin=text.encode())

    def has(self, table: str) -> bool:
        """Tell whether there is a `table`: the legacy variant makes what it reads."""
        if not self.is_legacy():
            return True
        try:
            with open(_NAMES[self.version], encoding="ascii") as names:
                return table in names.read().split()
        except FileNotFoundError:
            return False  # this kernel has no such variant
        except OSError as error:
            raise FirewallError(f"{error.filename}: {error.strerror}") from error

    def is_legacy(self) -> bool:
        """Tell whether this is the variant that does not use nftables."""
        if self._is_legacy is None:
            self._is_legacy = b"nf_tables" not in run(self.program, "--version")
        return self._is_legacy

    def _ask(self, table: str, *arguments: str) -> bytes | None:
        """Return what the program prints, or None if what it works on is not there.

        Where the kernel could not answer it, -nft takes a chain for missing. So it has
        to say that twice: else a revocation, or the way back, would end as if all were
        done.
        """
        for _ in range(2):
            try:
                return run(self.program, "-w", _LOCK_SECONDS, "-t", table, *arguments)
            except ProgramError as error:
                if not _is_missing(error):
                    raise
        return None


def _is_missing(error: ProgramError) -> bool:
    """Tell whether the program says that there is no such chain or rule."""
    said = any(words in str(error) for words in _NOT_THERE_WORDS)
    return said and error.status == _NOT_THERE


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
