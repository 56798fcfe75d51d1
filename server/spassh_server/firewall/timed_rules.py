"""Grants as rules of iptables that carry their own end: for hosts without ipset.

The kernel stops to match such a rule in time, by the wall clock, but does not delete
it: that is what `sweep` is for. If the clock is set back, the end is later by as much.
"""

from collections.abc import Mapping
from math import ceil

from . import ActiveGrant, Clock, Grant, Settings
from .checks import check_seconds
from .iptables_render import TimedGrant, chain_name, parse_timed, render_timed
from .xtables import Xtables, comment_of


class TimedRules:
    """Those rules of our chain that are grants. They stand before all others."""

    expires_by_itself = False

    def __init__(
        self, settings: Settings, tables: Mapping[int, Xtables], clock: Clock
    ) -> None:
        """`tables` has the filter table of each IP version that the kernel knows."""
        self._name = settings.name
        self._chain = chain_name(settings)
        self._tables = tables
        self._clock = clock

    def prepare(self) -> None:
        """Do nothing: the chain is all that is needed."""

    def accepting(self, version: int) -> list[str]:  # noqa: ARG002 - see IpSets
        """Return the rules that accept what is granted: none, each grant is one."""
        return []

    def kept(self, version: int) -> list[str]:
        """Return the rules that are live grants, to fill the chain with them again."""
        now = self._clock()
        timed = self._read(version)
        return [render_timed(self._name, one) for one in timed if one.end > now]

    def grant(self, grant: Grant, seconds: int) -> None:
        """Let `grant` through for `seconds`, or longer if it already is."""
        end = ceil(self._clock() + check_seconds(seconds))
        version = 4 if len(grant.address) == 4 else 6
        old = [one for one in self._read(version) if one.grant == grant]
        if all(one.end < end for one in old):
            new = render_timed(self._name, TimedGrant(grant, end))
            insert = f"-I {self._chain} 1 {new}"
            self._tables[version].apply([*self._deletions(old), insert])

    def revoke(self, grant: Grant) -> None:
        """Take a grant back."""
        version = 4 if len(grant.address) == 4 else 6
        self._delete(
            version, [one for one in self._read(version) if one.grant == grant]
        )

    def grants(self) -> list[ActiveGrant]:
        """List the live grants."""
        now = self._clock()
        return [
            ActiveGrant(one.grant, int(one.end - now))
            for version in self._tables
            for one in self._read(version)
            if one.end > now
        ]

    def sweep(self) -> float | None:
        """Delete what has expired; return when the next one will, or None."""
        now = self._clock()
        ends = []
        for version in self._tables:
            timed = self._read(version)
            self._delete(version, [one for one in timed if one.end <= now])
            ends += [one.end for one in timed if one.end > now]
        return min(ends, default=None)

    def remove(self) -> None:
        """Do nothing: the rules went with the chain."""

    def _read(self, version: int) -> list[TimedGrant]:
        rules = self._tables[version].rules(self._chain) or []
        timed = (parse_timed(comment_of(rule), self._name) for rule in rules)
        return [one for one in timed if one is not None]

    def _delete(self, version: int, timed: list[TimedGrant]) -> None:
        if timed:
            self._tables[version].apply(self._deletions(timed))

    def _deletions(self, timed: list[TimedGrant]) -> list[str]:
        return [f"-D {self._chain} {render_timed(self._name, one)}" for one in timed]
