"""The tables [[key]] of a user's file, as text: all else in the file stays as it is.

Pure. Whoever changes a file by these reads it again before it is written: TOML can be
spelled in ways that are not known here.
"""

import re
from datetime import UTC, datetime

from spassh.protocol.keys import PSK, PUBLIC, encode_key

_HEADER = re.compile(r"\s*\[")
_KEY_HEADER = re.compile(r"\s*\[\[\s*([\"']?)key\1\s*\]\]")
_EXPIRES = re.compile(r"\s*[\"']?expires[\"']?\s*=")


def key_table(
    public: bytes, psk: bytes, *, invite: bool = False, expires: int = 0
) -> str:
    """Spell a key as an entry of a user's file.

    Args:
        public: the client's public key.
        psk: the pre-shared key.
        invite: whether its secret half is in an invite.
        expires: its end, in milliseconds since 1970-01-01 UTC; 0 for none.
    """
    lines = [
        "",
        "[[key]]",
        f'public = "{encode_key(PUBLIC, public)}"',
        f'psk = "{encode_key(PSK, psk)}"',
    ]
    if invite:
        lines.append("invite = true  # until 'spassh enroll' replaces it")
    if expires:
        lines.append(f"expires = {_moment(expires)}")
    return "\n".join([*lines, ""])


def with_key(text: str, table: str) -> str:
    """Return a user's file `text` with one more key."""
    return text.removesuffix("\n") + "\n" + table


def without_key(text: str, number: int) -> str:
    """Return a user's file `text` without its `number`-th key, from 0.

    Raises:
        IndexError: there are not so many tables of keys.
    """
    lines = text.removesuffix("\n").split("\n")
    start, end = _key_tables(lines)[number]
    # A comment above the next table belongs to that.
    while end > start and (not lines[end - 1].strip() or _is_comment(lines[end - 1])):
        end -= 1
    while start and not lines[start - 1].strip():
        start -= 1
    del lines[start:end]
    return "\n".join(lines) + "\n"


def end_keys(text: str, ends: int) -> str:
    """Return a user's file `text` with an end (ms) for every key that has none."""
    # Not splitlines: a comment may have what that takes for the end of a line.
    lines = text.removesuffix("\n").split("\n")
    for start, end in reversed(_key_tables(lines)):
        if not any(map(_EXPIRES.match, lines[start:end])):
            lines.insert(start + 1, f"expires = {_moment(ends)}")
    return "\n".join(lines) + "\n"


def _key_tables(lines: list[str]) -> list[tuple[int, int]]:
    """Return where each key begins, and the line behind it."""
    starts = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    tables = zip(starts, [*starts, len(lines)][1:], strict=True)
    return [one for one in tables if _KEY_HEADER.match(lines[one[0]])]


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _moment(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
