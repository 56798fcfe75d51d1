"""What is open for the hooks, in a file of run_dir that outlives a daemon's death.

A line is a JSON list. One with all the fields opens a grant or extends it, and one with
the name alone closes it. What is over is thrown out when it is most of the file. A line
that is damaged counts for nothing, and so does a last one that is not whole.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from spassh.protocol.limits import MAX_LIFETIME

from ..ports import parse_port

FIELDS: Final = {
    "user": str,
    "address": str,
    "port": str,
    "width": str,
    "source_port": int,
    "seconds": int,
    "ends": float,
    "opened": bool,
}
"""What an entry has, in the order of a line. `opened`: on_open has ended with 0."""

_FILE: Final = "open-hooks"
_MAX_LINE_BYTES: Final = 512
"""Thrice of ours. Whatever is in it, a job has room to be told of it."""
_MAX_LINES: Final = 1 << 20
_SPARE_LINES: Final = 1024
"""Lines that may be over before the file is written anew."""
_LATEST: Final = 1 << 40
"""Seconds since 1970: no grant ends after that."""

Entry = dict[str, Any]


def name_of(entry: Entry) -> str:
    """Return what makes this grant this one."""
    parts = (entry[key] for key in ("address", "port", "width", "source_port"))
    return " ".join(map(str, parts))


class HookJournal:
    """Appends what is opened and closed, and forgets now and then what is over.

    Not synced: run_dir does not outlive the machine's power either. A disk that is full
    is no reason to stop: it is tried again with the next line.
    """

    def __init__(self, run_dir: str, live: Callable[[], Iterable[Entry]]) -> None:
        """Write nothing yet. `live` tells what to keep when the file is written anew.

        The later of two entries with the same name counts.
        """
        self._path = os.path.join(run_dir, _FILE)
        self._live = live
        self._fd = -1
        self._lines = self._most = 0

    def load(self) -> dict[str, Entry]:
        """Return what an earlier run left open, by name."""
        found: dict[str, Entry] = {}
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                begins = True
                for _ in range(_MAX_LINES):
                    line = file.readline(_MAX_LINE_BYTES)
                    if not line:
                        break
                    ends = line.endswith(b"\n") or len(line) < _MAX_LINE_BYTES
                    # A part of a longer line is none, even if it looks like one.
                    if begins and ends:
                        _apply(line, found)
                    begins = ends
        except OSError:
            pass  # none yet, or damaged: then no more is known to be open
        return found

    def note_open(self, entry: Entry) -> None:
        """Write down what is known of a grant that is open; `live` has it already."""
        self._append(_line(entry))

    def note_closed(self, name: str) -> None:
        """Write down that nothing is owed to the grant; `live` lacks it already."""
        self._append(json.dumps([name]).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        if self._fd < 0 or self._lines >= self._most:
            self._write_anew()
            return
        try:
            whole = os.write(self._fd, line) == len(line)
        except OSError:
            whole = False
        self._lines += 1
        if not whole:
            self._most = 0  # what follows would be part of a broken line

    def _write_anew(self) -> None:
        """Write all that lives to a new file, and take it whole or not at all."""
        lines = [_line(entry) for entry in self._live()]
        temporary = f"{self._path}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        fd = -1
        try:
            fd = os.open(temporary, flags, 0o600)
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(b"".join(lines))
            os.rename(temporary, self._path)
        except OSError:
            if fd >= 0:
                os.close(fd)
            return
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
        self._fd = fd
        self._lines = len(lines)
        self._most = 2 * len(lines) + _SPARE_LINES


def _line(entry: Entry) -> bytes:
    return json.dumps([entry[key] for key in FIELDS]).encode() + b"\n"


def _apply(line: bytes, found: dict[str, Entry]) -> None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return
    if type(values) is not list:
        return
    if len(values) == 1 and type(values[0]) is str:
        found.pop(values[0], None)
    elif len(values) == len(FIELDS):
        entry = dict(zip(FIELDS, values, strict=True))
        if _is_entry(entry):
            # Behind the others, as in the file: it was opened after what is there.
            found.pop(name_of(entry), None)
            found[name_of(entry)] = entry


def _is_entry(entry: Entry) -> bool:
    """Tell whether `entry` is what we have written."""
    for key, kind in FIELDS.items():
        kinds = {int, float} if kind is float else {kind}
        if type(entry[key]) not in kinds:
            return False
    try:
        parse_port(entry["port"])
    except ValueError:
        return False
    seconds: int = entry["seconds"]
    ends: float = entry["ends"]
    # For json, NaN is a number as well.
    return 0 < seconds <= MAX_LIFETIME and 0 <= ends < _LATEST
