"""Tell other systems of each grant: on_open when it begins, on_close when it has ended.

A hook gets one JSON object on its standard input, and no say: the grant is in place
before it starts, and ends in the kernel whatever it does. What is open is written to a
journal, so that on_close is not forgotten when the daemon is killed.

An on_close is owed where an on_open was begun, however that ended, and nowhere else. An
on_open that did not end with 0 is run again when the grant is asked for again: else who
keeps knocking would wait for ever for what another system has refused once.
"""

import json
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from ..addresses import text
from ..firewall import Grant
from .hook_journal import Entry, HookJournal, name_of


class Outcome(Enum):
    """What became of a hook."""

    NOT_BEGUN = auto()
    FAILED = auto()
    """It was begun, and did not end with 0."""
    DONE = auto()


Done = Callable[[Outcome], None]


class Runner(Protocol):
    """How hooks are run. Those of one lane run one after the other."""

    def start(self, name: str, told: bytes, lane: str, user: str, done: Done) -> None:
        """Run the hook `name`, on_open or on_close, which reads `told`.

        `done` is called when it has run, or, maybe before this returns, when it will
        not. It is not called for what is stopped with the granter.
        """

    def drop(self, lane: str) -> None:
        """Forget the on_open of `lane`, if it still waits."""


class Hooks:
    """Knows which grants are open for the hooks, and when they end."""

    def __init__(self, run_dir: str, runner: Runner) -> None:
        """Take over what an earlier run left open, and run nothing yet."""
        self._runner = runner
        self._closing: dict[str, Entry] = {}
        """What has ended, and whose on_close has not run to its end."""
        self._journal = HookJournal(
            run_dir, lambda: [*self._closing.values(), *self._open.values()]
        )
        self._open = self._journal.load()
        self._opening: dict[str, Entry] = {}
        """Those whose on_open waits or runs."""

    def opened(self, grant: Grant, seconds: int, user: str, now: float) -> None:
        """Run on_open for a grant that is not known to be open; one that is ends later.

        Of each grant, one on_open at a time waits or runs.
        """
        entry: Entry = _entry(grant) | {
            "user": user,
            "seconds": seconds,
            "ends": now + seconds,
            "opened": False,
        }
        name = name_of(entry)
        before = self._open.get(name)
        if before is not None:
            for key in ("seconds", "ends", "opened"):
                entry[key] = max(entry[key], before[key])
            # The same object: what is known of this opening holds for it still.
            before.update(entry)
            entry = before
        self._open[name] = entry
        # First: whoever is killed with the hook under way must know of it afterwards.
        self._journal.note_open(entry)
        if not entry["opened"] and self._opening.get(name) is not entry:
            self._opening[name] = entry
            done = partial(self._opened, name, entry, before is None)
            self._runner.start("on_open", _tell("open", entry), name, user, done)

    def closed(self, grant: Grant) -> None:
        """Run on_close for a grant that was taken back."""
        name = name_of(_entry(grant))
        if name in self._open:
            self._close(name)

    def close_all(self) -> None:
        """Run on_close for all that is open, because we go."""
        for name in list(self._open):
            self._close(name)

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
        # Where nothing has been opened, there is nothing to close.
        self._runner.drop(name)
        entry = self._open.pop(name, None)
        if entry is None:
            return
        self._closing[name] = entry
        # A slow on_open of the same grant comes first: else it would open for ever.
        done = partial(self._closed, name, entry)
        told = _tell("close", entry)
        self._runner.start("on_close", told, name, entry["user"], done)

    def _opened(self, name: str, entry: Entry, first: bool, outcome: Outcome) -> None:
        """Remember what is open, and forget an opening that never began."""
        if self._opening.get(name) is entry:
            del self._opening[name]
        if self._open.get(name) is not entry:
            return
        if outcome is Outcome.DONE:
            entry["opened"] = True
            self._journal.note_open(entry)
        elif outcome is Outcome.NOT_BEGUN and first:
            # Not the first: one before it was begun, and something may be open.
            del self._open[name]
            self._forget(name)

    def _closed(self, name: str, entry: Entry, outcome: Outcome) -> None:  # noqa: ARG002 - the runner calls it
        """Forget what is closed: the next start need not close it again."""
        # It may have been opened and ended anew while this on_close ran.
        if self._closing.get(name) is entry:
            del self._closing[name]
            self._forget(name)

    def _forget(self, name: str) -> None:
        """Write down that nothing is owed, unless it is still for another opening."""
        if name not in self._open and name not in self._closing:
            self._journal.note_closed(name)


def _entry(grant: Grant) -> Entry:
    return {
        "address": text(grant.address),
        "port": str(grant.port),
        "width": grant.width.label,
        "source_port": grant.source_port,
    }


def _tell(event: str, entry: dict[str, Any]) -> bytes:
    """Return what a hook reads."""
    keys = ("user", "address", "port", "width", "source_port", "seconds")
    return json.dumps({"event": event, **{key: entry[key] for key in keys}}).encode()
