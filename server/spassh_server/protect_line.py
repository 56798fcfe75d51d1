"""Write `protect` into the text of spasshd.toml, and leave all else as it stands. Pure.

The text belongs to an administrator: comments, order and blanks stay. What comes out is
read by the reader that the daemon uses, so a text that is too clever for this is
refused, and never damaged.
"""

import re
from collections.abc import Iterable
from typing import Final

from .config import parse
from .ports import Port
from .toml import ConfigError

# A list of strings, over several lines if need be, with comments in between.
_LIST: Final = r"""\[(?:[^][#"']|\#[^\n]*|"[^"\n]*"|'[^'\n]*')*\]"""
_HEAD: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*")
"""The comments at the top: what comes behind them is in no table yet."""


def with_protect(text: str, path: str, ports: Iterable[Port]) -> str:
    """Return `text`, of the file `path`, so that it protects `ports` and no others.

    What may be granted stays what it was, even where it follows from `protect`.

    Raises:
        ConfigError: the text is wrong, or this is beyond us: then the hint is the line
            to write by hand.
    """
    before = parse(text, path)
    wanted = before._replace(protect=tuple(ports))
    after = _put(text, "protect", wanted.protect)
    try:
        if parse(after, path).grant_ports != before.grant_ports:
            after = _put(after, "grant_ports", before.grant_ports)
        if parse(after, path) == wanted:
            return after
    except ConfigError:
        pass  # it is ours, and of no use to who wrote the file
    line = _line("protect", wanted.protect)
    raise ConfigError(path, 0, "protect", "cannot be changed here", f"write {line}")


def _put(text: str, key: str, ports: tuple[Port, ...]) -> str:
    """Give `key` this value, at its place or else below the comments at the top."""
    found = re.search(rf"^[ \t]*{key}[ \t]*=[ \t]*{_LIST}", text, re.MULTILINE)
    if found:
        return f"{text[: found.start()]}{_line(key, ports)}{text[found.end() :]}"
    head = _HEAD.match(text)
    at = head.end() if head else 0
    return f"{text[:at]}{_line(key, ports)}\n{text[at:]}"


def _line(key: str, ports: tuple[Port, ...]) -> str:
    listed = ", ".join(f'"{port}"' for port in ports)
    return f"{key} = [{listed}]"
