"""Count every decision, and say those that are worth a line."""

import time
from collections import Counter

from . import events
from .addresses import text
from .firewall import Width
from .limits import GRANTED_LINES_PER_SECOND, OTHER_LINES_PER_SECOND
from .policy import Approval, Order


class Report:
    """The counters since the start, and lines at a rate that no disk minds."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        # Apart, so that what a stranger provokes cannot hide what was granted.
        self._granted = events.Limiter(time.monotonic, GRANTED_LINES_PER_SECOND)
        self._other = events.Limiter(time.monotonic, OTHER_LINES_PER_SECOND)

    def count(self, event: str) -> None:
        """Count what is worth no line."""
        self.counters[event] += 1

    def denied(self, event: str, user: str, address: bytes, reason: str) -> None:
        """Say what was not done, and why: `refused`, `stale`, `replayed`, `failed`."""
        self.count(event)
        # In a flood of these, to spell a line is the work that is saved.
        if self._other.has_room():
            events.say(event, user=user, address=text(address), reason=reason)

    def granted(self, approval: Approval) -> None:
        """Say who may reach what."""
        self.count("granted")
        grant = approval.grant
        flow = grant.width is Width.FLOW
        self._granted.say(
            "granted",
            user=approval.user,
            address=text(grant.address),
            port=grant.port,
            seconds=approval.seconds,
            width=grant.width.label,
            **({"source_port": grant.source_port} if flow else {}),
        )

    def ordered(self, order: Order) -> None:
        """Say which command is under way. What comes of it, the granter says."""
        self.count("ordered")
        self._granted.say(
            "ordered",
            user=order.user,
            address=text(order.address),
            command=order.command.name,
        )

    def bug(self, error: Exception) -> None:
        """Say that a packet met a mistake of ours, which must not end the guard."""
        self.count("bug")
        self._other.say("bug", error=type(error).__name__, text=error)
