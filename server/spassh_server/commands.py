"""Commands that a user may ask for: which argument lists they allow.

Pure: both programs import it, and each of them judges by itself. No regular expression
ever meets what a user sent: a pattern is a few comparisons of strings, whose time grows
with the length of the word and with nothing else.
"""

import re
import shlex
import string
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .limits import MAX_PROGRAM_WORDS

MAX_VALUE: Final = 256
"""Most characters that stand for a placeholder."""

_SIGNS: Final = "%+,-./:=@_"
LETTERS: Final = frozenset(string.ascii_letters + string.digits + _SIGNS)
"""All that a placeholder may ever stand for: nothing here means anything to a shell, so
that a script which forgets to quote its arguments is not a hole."""

_PLACEHOLDER = re.compile(r"[a-z][a-z0-9_]{0,31}")

# These two read what the administrator wrote, not what a user sent.
_CHOICE = re.compile(r"([^][{}]*)(?:\[([^][]*)\]\{([0-9]+)(?:,([0-9]+))?\}([^][{}]*))?")
_RANGE = re.compile(r"[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|.")


class Choice(NamedTuple):
    """One alternative of a pattern: text, some letters of a set, text."""

    before: str
    letters: frozenset[str]
    least: int
    most: int
    after: str

    def fits(self, value: str) -> bool:
        """Tell whether `value` is spelled like this."""
        if value.startswith("-") and not self.before.startswith("-"):
            # It would be an option to the program. Who wants that writes the hyphen.
            return False
        start, end = len(self.before), len(value) - len(self.after)
        return (
            self.least <= end - start <= self.most
            and value.startswith(self.before)
            and value.endswith(self.after)
            and self.letters.issuperset(value[start:end])
        )


class Pattern(NamedTuple):
    """What a placeholder may stand for."""

    text: str
    """As the administrator wrote it."""
    choices: tuple[Choice, ...]

    def fits(self, value: str) -> bool:
        """Tell whether `value` is one of the choices, and leads to nowhere above."""
        return (
            len(value) <= MAX_VALUE
            and ".." not in value.split("/")
            and any(choice.fits(value) for choice in self.choices)
        )


class Command(NamedTuple):
    """A program with arguments that users may be allowed to run."""

    name: str
    argv: tuple[str, ...]
    """Words, of which all but the first may contain one `{placeholder}`."""
    patterns: tuple[tuple[str, Pattern], ...]
    """Each placeholder of `argv`, and what it may stand for."""
    run_as: str
    """The account's name."""
    seconds: int
    """After so long it is ended."""


def match(commands: Iterable[Command], argv: Sequence[str]) -> Command | None:
    """Return the first of `commands` that allows exactly `argv`, or None."""
    for command in commands:
        patterns = dict(command.patterns)
        if len(argv) == len(command.argv) and all(
            _fits(word, given, patterns)
            for word, given in zip(command.argv, argv, strict=True)
        ):
            return command
    return None


def _fits(word: str, given: str, patterns: dict[str, Pattern]) -> bool:
    before, name, after = _split(word)
    if not name:
        return given == word
    size = len(given) - len(before) - len(after)
    return (
        size > 0
        and given.startswith(before)
        and given.endswith(after)
        and ".." not in given.split("/")
        and patterns[name].fits(given[len(before) : len(before) + size])
    )


def _split(word: str) -> tuple[str, str, str]:
    """Return what is before, in and after the braces of `word`."""
    before, _, rest = word.partition("{")
    name, _, after = rest.partition("}")
    return before, name, after


def parse_pattern(text: str) -> Pattern:
    """Read a pattern: alternatives between `|`, each with at most one set of letters.

    `nginx|php-fpm` is one of two words, `[a-z0-9-]{1,32}` is 1 to 32 letters of the
    set, and `web-[0-9]{2}.example` is a set with text around it. It looks like a
    regular expression and means the same, but for a dot, which is a dot.

    Raises:
        ValueError: it is nothing of that; the text says what is wrong.
    """
    return Pattern(text, tuple(map(_parse_choice, text.split("|"))))


def _parse_choice(text: str) -> Choice:
    if not text:
        raise ValueError("an alternative is empty")
    found = _CHOICE.fullmatch(text)
    if not found:
        raise ValueError(
            f"'{text}' is not text with at most one set and its length in it"
        )
    before, letters, least, most, after = found.groups()
    _check_letters(before + (after or ""))
    if letters is None:
        return Choice(before, frozenset(), 0, 0, "")
    if len(least) > 3 or len(most or "") > 3:
        raise ValueError(f"more than {MAX_VALUE} letters")
    shortest, longest = int(least), int(most or least)
    if not 1 <= shortest <= longest <= MAX_VALUE:
        raise ValueError(f"a length is {{LEAST,MOST}}, from 1 to {MAX_VALUE}")
    return Choice(before, _parse_set(letters), shortest, longest, after)


def _parse_set(text: str) -> frozenset[str]:
    """Read what stands between square brackets."""
    letters: set[str] = set()
    # A hyphen is itself at either end, and else it must make a range.
    inner = text.removeprefix("-").removesuffix("-")
    if inner != text:
        letters.add("-")
    for part in _RANGE.findall(inner):
        if part == "-":
            raise ValueError(f"[{text}]: a range is like a-z, A-Z or 0-9")
        first, last = part[0], part[-1]
        if first > last:
            raise ValueError(f"[{text}]: the range {part} is empty")
        letters.update(map(chr, range(ord(first), ord(last) + 1)))
    if not letters:
        raise ValueError("[] is empty")
    _check_letters("".join(sorted(letters)))
    return frozenset(letters)


def _check_letters(text: str) -> None:
    for one in text:
        if one not in LETTERS:
            raise ValueError(
                f"'{one}' cannot be in a pattern, only letters, digits and {_SIGNS}"
            )


def check_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the placeholders in the words of a command.

    Raises:
        ValueError: it is no argument list of a command; the text says what is wrong.
    """
    program = argv[0] if argv else ""
    if not program.startswith("/") or program.endswith("/") or "{" in program:
        raise ValueError("expected the absolute path of a program, then its arguments")
    if len(argv) > MAX_PROGRAM_WORDS:
        raise ValueError(f"more than {MAX_PROGRAM_WORDS} words")
    names: list[str] = []
    for word in argv:
        if not word.isprintable():
            raise ValueError(f"{word!a} is not printable")
        if not set(word) & set("{}"):
            continue
        before, name, after = _split(word)
        is_closed = word == f"{before}{{{name}}}{after}"
        around = set(before + after)
        if not is_closed or not _PLACEHOLDER.fullmatch(name) or around & set("{}"):
            raise ValueError(f"'{word}': braces are for one placeholder in a word")
        if name in names:
            raise ValueError(f"{{{name}}} is there twice")
        names.append(name)
    return tuple(names)


def spell(argv: Iterable[str]) -> str:
    """Spell an argument list as one line, as a shell would take it."""
    plain = LETTERS | set("{}")
    return " ".join(
        word if word and plain.issuperset(word) else shlex.quote(word) for word in argv
    )


def describe(command: Command) -> str:
    """Say in one line what `command` allows, for people."""
    parts = [f"as {command.run_as}", f"at most {command.seconds} s"]
    parts += [f"{name} = {pattern.text}" for name, pattern in command.patterns]
    return f"{command.name}: {spell(command.argv)} ({', '.join(parts)})"
