"""Tell other systems of each grant: on_open when it begins, on_close when it has ended.

A hook gets one JSON object on its standard input, and no say: the grant is in place
before it starts, and ends in the kernel whatever it does. What is open is written to a
file of run_dir, so that on_close is not forgotten when the daemon is killed.
"""

import contextlib
import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from spassh.protocol.limits import MAX_LIFETIME

from ..addresses import text
from ..firewall import Grant
from ..ports import parse_port

_FILE: Final = "open-hooks"
_MAX_FILE_BYTES: Final = 32 << 20
_LATEST: Final = 1 << 40
"""Seconds since 1970: no grant ends after that."""


class Start(Protocol):
    """How a hook is started. One of a lane runs after the other."""

    def __call__(
        self, name: str, told: bytes, lane: str, done: Callable[[], None]
    ) -> None:
        """Run the hook `name`, on_open or on_close, which reads `told`.

        `done` is called when it has run, and not if it was stopped with the granter.
        """


class Hooks:
    """Knows which grants are open for the hooks, and when they end."""

    def __init__(self, run_dir: str, start: Start) -> None:
        """Take over what an earlier run left open, and run nothing yet."""
        self._path = os.path.join(run_dir, _FILE)
        self._start = start
        self._open: dict[str, dict[str, Any]] = {
            _name(one): one for one in self._load() if _is_entry(one)
        }
        self._closing: dict[str, dict[str, Any]] = {}
        """What has ended, and whose on_close has not run to its end."""

    def opened(self, grant: Grant, seconds: int, user: str, now: float) -> None:
        """Run on_open for a new grant; a live one that is extended just ends later."""
        entry = {
            "user": user,
            "address": text(grant.address),
            "port": str(grant.port),
            "width": grant.width.label,
            "source_port": grant.source_port,
            "seconds": seconds,
            "ends": now + seconds,
        }
        before = self._open.get(_name(entry))
        if before is not None:
            for key in ("seconds", "ends"):
                entry[key] = max(entry[key], before[key])
        self._open[_name(entry)] = entry
        self._save()
        if before is None:
            self._start("on_open", _tell("open", entry), _name(entry), _nothing)

    def closed(self, grant: Grant) -> None:
        """Run on_close for a grant that was taken back."""
        entry = {
            "address": text(grant.address),
            "port": str(grant.port),
            "width": grant.width.label,
            "source_port": grant.source_port,
        }
        if _name(entry) in self._open:
            self._close(_name(entry))

    def run_due(self, now: float) -> None:
        """Run on_close for what has ended at `now` (wall clock, s)."""
        for one in self._open.values():
            # A clock that was set back must not keep open what the kernel has closed.
            one["ends"] = min(one["ends"], now + one["seconds"])
        due = [name for name, one in self._open.items() if one["ends"] <= now]
        for name in due:
            self._close(name)

    def next_end(self) -> float | None:
        """Return when the next grant ends (wall clock, s), or None."""
        return min((one["ends"] for one in self._open.values()), default=None)

    def _close(self, name: str) -> None:
        entry = self._open.pop(name)
        self._closing[name] = entry
        # A slow on_open of the same grant comes first: else it would open for ever.
        done = partial(self._done, name, entry)
        self._start("on_close", _tell("close", entry), name, done)

    def _done(self, name: str, entry: dict[str, Any]) -> None:
        """Forget what is closed: the next start need not close it again."""
        # It may have been opened and ended anew while this on_close ran.
        if self._closing.get(name) is entry:
            del self._closing[name]
            self._save()

    def _load(self) -> list[Any]:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                found = json.loads(file.read(_MAX_FILE_BYTES))
        except (OSError, ValueError, RecursionError):
            return []  # none yet, or damaged: then nothing is known to be open
        return found if type(found) is list else []

    def _save(self) -> None:
        """Write down what is open, whole or not at all.

        Not synced: run_dir does not outlive the machine's power either. A disk that
        is full is no reason to stop.
        """
        temporary = f"{self._path}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            with os.fdopen(os.open(temporary, flags, 0o600), "w") as file:
                # The later of two with the same name counts: what is open again.
                json.dump([*self._closing.values(), *self._open.values()], file)
            os.rename(temporary, self._path)


def _nothing() -> None:
    """An on_open that did not run is in the log; what it opened is closed anyway."""


def _tell(event: str, entry: dict[str, Any]) -> bytes:
    """Return what a hook reads."""
    told = {"event": event, **entry}
    del told["ends"]
    return json.dumps(told).encode()


def _name(entry: dict[str, Any]) -> str:
    """Return what makes this grant this one."""
    parts = (entry[key] for key in ("address", "port", "width", "source_port"))
    return " ".join(map(str, parts))


def _is_entry(one: object) -> bool:
    """Tell whether `one` is what we have written."""
    if type(one) is not dict:
        return False
    kinds = {
        "user": str,
        "address": str,
        "port": str,
        "width": str,
        "source_port": int,
        "seconds": int,
    }
    if any(type(one.get(key)) is not kind for key, kind in kinds.items()):
        return False
    try:
        parse_port(one["port"])
    except ValueError:
        return False
    if type(one.get("ends")) not in {int, float} or one.keys() != {*kinds, "ends"}:
        return False
    seconds: int = one["seconds"]
    ends: float = one["ends"]
    # For json, NaN is a number as well.
    return 0 < seconds <= MAX_LIFETIME and 0 <= ends < _LATEST
