"""TOML that an administrator wrote: a mistake is named with file, line and remedy."""

import re
import tomllib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from .ports import Port, parse_port

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ConfigError(Exception):
    """A mistake in a file that an administrator wrote.

    Its text is `FILE:LINE: KEY: what is wrong`; `hint` says how to mend it.
    """

    def __init__(self, path: str, line: int, key: str, what: str, hint: str) -> None:
        place = f"{path}:{line}" if line else path
        super().__init__(f"{place}: {key}: {what}" if key else f"{place}: {what}")
        self.key = key
        self.what = what
        self.hint = hint


_HEADER = re.compile(r"\s*\[\[?\s*([^\]]*?)\s*\]")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^.\s\"']+)")


class Table:
    """One table of a file. Each reader checks the type, and names the line if not."""

    def __init__(
        self, values: dict[str, Any], text: str, path: str, place: tuple[str, int]
    ) -> None:
        """Wrap `values`; `place` is the table's name and which of that name it is."""
        self._values = values
        self._text = text
        self._path = path
        self._place = place

    def error(self, key: str, what: str, hint: str) -> ConfigError:
        """Make the error for `key` of this table."""
        return ConfigError(self._path, self._line(key), key, what, hint)

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys that nobody reads: a typing error must not pass in silence."""
        known = set(known)
        for key in self._values:
            if key not in known:
                near = get_close_matches(key, known, 1)
                hint = "take it out"
                if self._place[0]:
                    # What is appended to a file is in its last table.
                    hint += ", or to above the first table if it is a key of the file"
                if near:
                    hint = f"did you mean '{near[0]}'?"
                raise self.error(key, "unknown key", hint)

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """Read a whole number between `least` and `most`."""
        value = self._values.get(key, default)
        # bool is an int in Python, and not in TOML.
        if type(value) is not int or not least <= value <= most:
            raise self.error(
                key,
                f"expected a whole number from {least} to {most}",
                f"for example: {key} = {default}",
            )
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._values.get(key, default)
        if type(value) is not bool:
            raise self.error(key, "expected true or false", f"write {key} = true")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """Read a string; without a `default` the key must be there."""
        value = self._values.get(key, default)
        if value is None:
            raise self.error(key, "is missing", f'add a line {key} = "..."')
        if type(value) is not str or not value or not value.isprintable():
            raise self.error(key, "expected a string", f'write {key} = "..."')
        return value

    def has(self, key: str) -> bool:
        """Tell whether the table has `key`."""
        return key in self._values

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """Read one of `choices`."""
        value = self.string(key, default)
        if value not in choices:
            raise self.error(
                key,
                f"expected one of {', '.join(choices)}",
                f'write {key} = "{default}"',
            )
        return value

    def strings(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Read a list of strings."""
        value = self._values.get(key, list(default))
        if type(value) is not list or any(type(one) is not str for one in value):
            raise self.error(
                key, "expected a list of strings", f'write {key} = ["...", "..."]'
            )
        return tuple(value)

    def ports(self, key: str, default: tuple[Port, ...]) -> tuple[Port, ...]:
        """Read a list of ports such as ["tcp/22"]."""
        texts = self.strings(key, tuple(str(port) for port in default))
        try:
            return tuple(dict.fromkeys(parse_port(text) for text in texts))
        except ValueError as error:
            raise self.error(key, str(error), f'write {key} = ["tcp/22"]') from error

    def networks(self, key: str) -> tuple[IPv4Network | IPv6Network, ...]:
        """Read a list of networks such as ["192.0.2.0/24"]; without `key`, none."""
        try:
            return tuple(map(_parse_network, self.strings(key, ())))
        except ValueError as error:
            raise self.error(
                key, str(error), 'write a network such as "192.0.2.0/24"'
            ) from error

    def moment(self, key: str) -> int:
        """Read a time as milliseconds since 1970-01-01 UTC; without `key`, 0.

        A date stands for its first moment in UTC. A time without an offset from UTC is
        refused: two programs that read it would not have to agree.
        """
        value = self._values.get(key)
        if value is None:
            return 0
        if type(value) is date:
            value = datetime.combine(value, time(), UTC)
        # The bounds are those of the packet's time, and then some.
        if type(value) is not datetime or value.tzinfo is None or value.year < 2000:
            raise self.error(
                key,
                "expected a date, or a time with its offset from UTC",
                f"write {key} = 2030-01-31 or {key} = 2030-01-31T12:00:00Z",
            )
        return (value - _EPOCH) // timedelta(milliseconds=1)

    def named_tables(self, key: str, most: int) -> dict[str, "Table"]:
        """Read the tables [key.NAME], at most `most` of them, by their names."""
        value = self._values.get(key, {})
        if type(value) is not dict or not all(
            type(one) is dict for one in value.values()
        ):
            raise self.error(key, "expected tables", f"begin each with [{key}.NAME]")
        if len(value) > most:
            raise self.error(key, f"more than {most}", "take some out")
        return {
            name: Table(one, self._text, self._path, (self._inner(f"{key}.{name}"), 0))
            for name, one in value.items()
        }

    def tables(self, key: str, most: int) -> list["Table"]:
        """Read an array of tables, at most `most` of them."""
        value = self._values.get(key, [])
        if type(value) is not list or any(type(one) is not dict for one in value):
            raise self.error(key, "expected tables", f"begin each with [[{key}]]")
        if len(value) > most:
            raise self.error(key, f"more than {most}", "take some out")
        return [
            Table(one, self._text, self._path, (self._inner(key), at))
            for at, one in enumerate(value)
        ]

    def keys(self) -> list[str]:
        """Return the keys that the table has."""
        return list(self._values)

    def _inner(self, key: str) -> str:
        """Return the name of the table `key` inside of this one."""
        name = self._place[0]
        return f"{name}.{key}" if name else key

    def _line(self, key: str) -> int:
        """Find the line of `key` in this table, else of the table, else 0."""
        name, wanted = self._place
        current, count, found = "", 0, 0
        of_key = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        for number, line in enumerate(self._text.split("\n"), 1):
            header = _HEADER.match(line)
            if header:
                # A name with a dot in it has to be quoted, and any other may be.
                parts = _PART.findall(header[1])
                current = ".".join(map("".join, parts))
                count += current == name
                if current == name and count == wanted + 1 and not found:
                    found = number
                if not name and current.partition(".")[0] == key:
                    return number
            elif (
                current == name
                and (not name or count == wanted + 1)
                and of_key.match(line)
            ):
                return number
        return found


def read_toml(text: str, path: str) -> Table:
    """Parse `text`, which came from the file `path`.

    Raises:
        ConfigError: it is not TOML.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Mostly a TOMLDecodeError; but a number can be too long, a list too deep.
        at = re.search(r"line (\d+)", str(error))
        raise ConfigError(
            path,
            int(at[1]) if at else len(text.splitlines()),
            "",
            f"not valid TOML: {error}",
            _remedy(str(error)),
        ) from error
    return Table(values, text, path, ("", 0))


def _remedy(reason: str) -> str:
    # tomllib's words for a key and for a table.
    if reason.startswith(("Cannot overwrite a value", "Cannot declare")):
        return "what stands there is there twice: take one of them out"
    return "strings need quotes, lists brackets; see spasshd.toml(5)"


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    # ip_network takes any text behind it for a zone, and no packet filter does.
    if "%" in text:
        raise ValueError(f"{text[:64]!r} has a zone")
    return ip_network(text)
