"""The most that the listener can make the granter do: checked again, on this side."""

from ..config import Config
from ..config_forwards import leads_nowhere
from ..firewall import Grant
from ..quota import RequestQuota
from .message import GrantMessage

_COMMAND_BURST = 20
_COMMANDS_PER_SECOND = 1


class Bounds:
    """The granter's own copy of the limits, and the count of what lives."""

    def __init__(self, settings: Config, *, swept: bool = False) -> None:
        """Count nothing yet.

        Where grants are `swept`, one may live on when its time is over, so it counts
        until `forget`. Elsewhere the kernel ends it, and nobody says so.
        """
        self._swept = swept
        self._ports = frozenset(settings.all_ports)
        self._forwards = settings.forward
        self._max_lifetime = settings.max_lifetime
        self._max_grants = settings.max_grants
        self._ends: dict[Grant, float] = {}
        self._commands = RequestQuota(_COMMAND_BURST, _COMMANDS_PER_SECOND)
        self._all_commands = RequestQuota(4 * _COMMAND_BURST, 4 * _COMMANDS_PER_SECOND)

    def adopt(self, grant: Grant, seconds: int, now: float) -> bool:
        """Count a grant that an earlier run left, with `seconds` to go at `now` (s).

        Return False, and do not count it, if nobody can have been granted so much.
        """
        if seconds > self._max_lifetime:
            return False
        self._ends[grant] = now + seconds
        return True

    def ended(self, now: float) -> frozenset[Grant]:
        """Return the grants whose time is over at `now`, and that still count."""
        return frozenset(grant for grant, end in self._ends.items() if end <= now)

    def next_end(self) -> float | None:
        """Return when the next grant is over, or None."""
        return min(self._ends.values(), default=None)

    def forget(self, grant: Grant) -> None:
        """Count a grant no more: it is not there any more."""
        self._ends.pop(grant, None)

    def allow(self, wanted: GrantMessage, now: float) -> bool:
        """Tell whether `wanted` is within the limits at `now` (s); count it if so."""
        if wanted.grant.port not in self._ports:
            return False
        if leads_nowhere(self._forwards, wanted.grant.port, wanted.grant.address):
            return False
        if wanted.seconds > self._max_lifetime:
            return False
        if wanted.grant not in self._ends and len(self._ends) >= self._max_grants:
            if not self._swept:
                self._ends = {one: end for one, end in self._ends.items() if end > now}
            if len(self._ends) >= self._max_grants:
                return False
        ends = now + wanted.seconds
        self._ends[wanted.grant] = max(ends, self._ends.get(wanted.grant, ends))
        return True

    def allow_command(self, user: str, now: float) -> bool:
        """Tell whether `user` may run one more command at `now` (s).

        Each user has a quota, and all together have one, so that names made up by a
        listener that was taken over get no further.
        """
        ms = int(now * 1000)
        return self._commands.take(user, ms) and self._all_commands.take("", ms)
