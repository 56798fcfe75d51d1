"""The plainest of TOML, which is how `spassh import` writes profiles.

At each login a profile is read, and tomllib would take 12 ms to load for it. So this
reads a file of lines like those below, and of anything else it says that it is for
tomllib. What it does read, it reads as tomllib would (ADR 0025).

    # a comment
    name = "server.example"
    port = 62201
    hosts = ["server.example", "192.0.2.1"]
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Scalar: TypeAlias = str | int
    Value: TypeAlias = Scalar | list[Scalar]

_MAX_DIGITS = 18


def read(text: str) -> dict[str, Value] | None:
    """Return the keys and values of `text`, or None if it needs the whole of TOML."""
    table: dict[str, Value] = {}
    for line in text.split("\n"):
        # Tabs and other control characters are for tomllib, which knows all the rules.
        if not line.isprintable():
            return None
        stripped = line.strip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        key, _, spelled = (part.strip(" ") for part in stripped.partition("="))
        value = _value(spelled)
        if value is None or not _is_bare(key) or key in table:
            return None
        table[key] = value
    return table


def _is_bare(key: str) -> bool:
    return key.isascii() and key.replace("-", "a").replace("_", "a").isalnum()


def _value(spelled: str) -> Value | None:
    if not spelled.startswith("["):
        return _scalar(spelled)
    if not spelled.endswith("]") or len(spelled) < 3:
        return None
    items = []
    # A comma inside a string leaves two pieces, neither of which is a value.
    for piece in spelled[1:-1].split(","):
        item = _scalar(piece.strip(" "))
        if item is None:
            return None
        items.append(item)
    return items


def _scalar(spelled: str) -> Scalar | None:
    if spelled.isascii() and spelled.isdigit():
        is_plain = len(spelled) <= _MAX_DIGITS and (spelled == "0" or spelled[0] != "0")
        return int(spelled) if is_plain else None
    inside = spelled[1:-1]
    is_string = len(spelled) >= 2 and spelled[0] == spelled[-1] == '"'
    return inside if is_string and '"' not in inside and "\\" not in inside else None
