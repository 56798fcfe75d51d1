"""What a command line of a program can have, as its argparse parser knows it."""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

KINDS = {
    "DIRECTORY": "file",
    "FILE": "file",
    "PACKET": "file",
    "PATH": "file",
    "HOST": "host",
    "[LOGIN@]HOST": "target",
    "USER": "user",
    "USER|ADDRESS": "user",
    **dict.fromkeys(
        (
            *("ADDRESS", "COMMAND", "DAYS", "KEYID", "LOGIN", "NAME", "PORT"),
            *("PUBLIC", "TIME", "URL"),
        ),
        "",
    ),
}
"""What to offer for each metavar: files, hosts, users, or nothing that is known.

A host has a profile; a target is one that ssh knows may be as well, and takes a login.
"""


class Value(NamedTuple):
    """What an option or an argument takes."""

    metavar: str
    kind: str
    words: tuple[str, ...] = ()
    """All that there is to choose from, if that is known."""


class Option(NamedTuple):
    """One option."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    repeats: bool
    excludes: tuple[str, ...]
    """Options that do not go with it."""


class Argument(NamedTuple):
    """One argument that is no option, or any number of them."""

    value: Value
    repeats: bool


class Verb(NamedTuple):
    """One verb, or the program itself, or a group of verbs."""

    words: tuple[str, ...]
    """How it is called; empty for the program."""
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    verbs: tuple["Verb", ...]
    """Those that may follow."""

    @property
    def name(self) -> str:
        """The words with spaces between."""
        return " ".join(self.words)

    def everything(self) -> Iterator["Verb"]:
        """Yield this and all that may follow."""
        yield self
        for verb in self.verbs:
            yield from verb.everything()

    def kinds(self) -> set[str]:
        """Return every kind of value in this and all that may follow."""
        values = [
            value
            for verb in self.everything()
            for value in (
                *(one.value for one in verb.options),
                *(one.value for one in verb.arguments),
            )
        ]
        return {value.kind for value in values if value}


def describe(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = (), text: str = ""
) -> Verb:
    """Return what `parser` reads.

    Raises:
        KeyError: nobody has said what to offer for a metavar.
    """
    options, arguments, verbs = [], [], []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {one.dest: one.help for one in action._choices_actions}  # noqa: SLF001
            verbs += [
                describe(child, (*words, name), helps[name] or "")
                for name, child in action.choices.items()
            ]
        elif action.option_strings:
            options.append(_option(parser, action))
        else:
            arguments.append(Argument(_value(action), action.nargs in {"*", "+"}))
    return Verb(words, text, tuple(options), tuple(arguments), tuple(verbs))


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    text = parser._get_formatter()._expand_help(action)  # noqa: SLF001
    rivals = [
        name
        for group in parser._mutually_exclusive_groups  # noqa: SLF001
        if action in group._group_actions  # noqa: SLF001
        for one in group._group_actions  # noqa: SLF001
        if one is not action
        for name in one.option_strings
    ]
    return Option(
        tuple(action.option_strings),
        text,
        None if action.nargs == 0 else _value(action),
        isinstance(action, argparse._AppendAction),  # noqa: SLF001
        tuple(rivals),
    )


def _value(action: argparse.Action) -> Value:
    if action.choices:
        words = tuple(map(str, action.choices))
        return Value(action.dest.upper(), "", words)
    metavar = str(action.metavar)
    return Value(metavar, KINDS[metavar])
