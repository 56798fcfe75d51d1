"""What a program to run is, and how it ended."""

from collections.abc import Callable, Mapping
from typing import NamedTuple


class Account(NamedTuple):
    """Whom a program runs as. All of it is looked up before anything waits for us."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class Ended(NamedTuple):
    """How a program ended."""

    status: str
    """The exit status as a number, the name of the signal that killed it, or one of
    `timeout`, `stopped` (with the granter), `not-started` and `dropped` (waited in
    vain)."""
    seconds: float
    output: bytes
    """The first bytes of what it printed, or why it was not started."""
    printed: int
    """How many bytes there were."""


class Job(NamedTuple):
    """One program to run."""

    program: str
    """What is executed: a path without any link in it, as `check_program` returns."""
    argv: tuple[str, ...]
    """What it is called, as it was written, and its arguments."""
    account: Account
    seconds: int
    """The time limit."""
    on_end: Callable[[Ended], None]
    environment: Mapping[str, str] = {}
    """More variables than the account has of its own."""
    stdin: bytes = b""
    """At most `jobs.STDIN_BYTES`."""
    lane: str = ""
    """Jobs of the same lane run one after the other. An empty one is no lane."""
    user: str = ""
    """Whose share of the queue it takes."""
    owed: bool = False
    """It undoes what an earlier job did: it is never refused, and comes first. The
    caller sees to it that there is one for each of those at most."""
