"""The hosts of a profile: names and addresses, and patterns as in ssh_config(5).

An entry is a name, an address, or a pattern in which `*` stands for any characters and
`?` for one. `LOGIN@` before it asks for the login at the host as well, and `!` before
all makes it an exception: who matches that is not meant, whatever else matches.
"""

from __future__ import annotations

import _socket as socket
import os

from .protocol.errors import TextFormError
from .protocol.named_tuple import NamedTuple
from .protocol.names import check_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

_WILD: Final = frozenset("*?")


class Wanted(NamedTuple):
    """Whom ssh wants to reach."""

    host: str
    """What is resolved and dialled: %h."""
    name: str = ""
    """What the user wrote: %n, if it is known."""
    login: str = ""
    """Whom to log in as: %r, if it is known."""


class Rank(NamedTuple):
    """How well a profile fits. The greater, the better."""

    is_exact: bool
    """No pattern: the host itself is named."""
    has_login: bool


def check_entry(entry: str) -> str:
    """Return `entry` if it can stand in a profile.

    Raises:
        TextFormError: it cannot.
    """
    _, login, host = _split(entry)
    letters = host.translate({ord(one): "x" for one in _WILD})
    check_host(letters)
    if "@" in entry and (not login or not login.isprintable() or " " in login):
        raise TextFormError(f"not a login: {login!r}")
    return entry


def rank(entries: Sequence[str], wanted: Wanted) -> Rank | None:
    """Return how well `entries` fit whom ssh wants to reach, or None: not at all."""
    best: Rank | None = None
    for entry in entries:
        is_exception, login, host = _split(entry)
        if login and not matches(login, wanted.login):
            continue
        if not any(_fits(host, one) for one in (wanted.host, wanted.name) if one):
            continue
        if is_exception:
            return None
        found = Rank(_WILD.isdisjoint(host), bool(login))
        best = found if best is None else max(best, found)
    return best


def canonical(host: str) -> str | bytes:
    """Return what is equal for two spellings of one host.

    An address becomes its bytes, and the zone id if it has one. A name loses its case
    and the dot at its end.
    """
    address, percent, zone = host.partition("%")
    families = (socket.AF_INET6,) if percent else (socket.AF_INET, socket.AF_INET6)
    for family in families:
        try:
            return socket.inet_pton(family, address) + os.fsencode(zone)
        except (OSError, ValueError):
            pass
    return host.lower().removesuffix(".")


def matches(pattern: str, text: str) -> bool:
    """Tell whether `text` is what `pattern` stands for, in time of their product."""
    at = here = after_star = retry = 0
    has_star = False
    while at < len(text):
        letter = pattern[here : here + 1]
        if letter == "*":
            here += 1
            has_star, after_star, retry = True, here, at
        elif letter in {"?", text[at]}:
            here += 1
            at += 1
        elif has_star:
            # The last star stands for one more character.
            retry += 1
            here, at = after_star, retry
        else:
            return False
    return not pattern[here:].strip("*")


def _fits(pattern: str, host: str) -> bool:
    if _WILD.isdisjoint(pattern):
        return canonical(pattern) == canonical(host)
    return matches(pattern.lower(), host.lower().removesuffix("."))


def _split(entry: str) -> tuple[bool, str, str]:
    """Return whether it is an exception, the login or nothing, and the host."""
    rest = entry.removeprefix("!")
    login, _, host = rest.rpartition("@")
    return rest != entry, login, host
