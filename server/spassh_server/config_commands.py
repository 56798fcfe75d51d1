"""The tables [[command]] of spasshd.toml: what may be run, and as whom."""

from typing import Final

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user

from .commands import Command, Pattern, check_argv, parse_pattern
from .limits import MAX_COMMANDS
from .toml import Table

_KEYS: Final = frozenset({"name", "argv", "run_as", "timeout"})
_MAX_SECONDS: Final = 3600


def read_commands(table: Table) -> tuple[Command, ...]:
    """Read every [[command]] of the configuration `table`.

    Raises:
        ConfigError: one is broken, or two have the same name.
    """
    commands: dict[str, Command] = {}
    for entry in table.tables("command", MAX_COMMANDS):
        command = _read_command(entry)
        if command.name in commands:
            raise entry.error("name", "is there already", "give it another name")
        commands[command.name] = command
    return tuple(commands.values())


def _read_command(entry: Table) -> Command:
    name = entry.string("name")
    try:
        check_user(name)
    except TextFormError as error:
        what = "not a name, which has letters, digits, dots, _ and -"
        raise entry.error("name", what, 'write name = "restart-web"') from error
    argv = entry.strings("argv", ())
    try:
        placeholders = check_argv(argv)
    except ValueError as error:
        raise entry.error(
            "argv", str(error), 'for example: argv = ["/usr/bin/uptime", "--pretty"]'
        ) from error
    taken = _KEYS & set(placeholders)
    if taken:
        what = f"{{{min(taken)}}} is the name of another key"
        raise entry.error("argv", what, "give the placeholder another name")
    entry.only({*_KEYS, *placeholders})
    return Command(
        name,
        argv,
        tuple((one, _read_pattern(entry, one)) for one in placeholders),
        entry.string("run_as", "nobody"),
        entry.integer("timeout", 30, 1, _MAX_SECONDS),
    )


def _read_pattern(entry: Table, placeholder: str) -> Pattern:
    try:
        return parse_pattern(entry.string(placeholder))
    except ValueError as error:
        hint = f'for example: {placeholder} = "[a-z0-9-]{{1,32}}" or "one|other"'
        raise entry.error(placeholder, str(error), hint) from error
