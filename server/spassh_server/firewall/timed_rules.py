"""Grants as rules of iptables that carry their own end: for hosts without ipset.

The kernel stops to match such a rule in time, by the wall clock, but does not delete
it: that is what `sweep` is for. If the clock is set back by a little, the end is later
by as much. If it is set back by more, such a rule does not match any more.
"""

from collections.abc import Iterator, Mapping

from . import ActiveGrant, Clock, Grant, Settings
from .iptables_hooks import (
    Hook,
    forward_hook,
    input_hook,
    lead_hook,
    wanted_hooks,
)
from .timed_render import (
    WIDTHS,
    TimedGrant,
    always_accepting,
    always_leading,
    always_passing,
    given_at,
    parse_timed,
    render_timed,
)
from .xtables import Xtables, comment_of

_There = dict[Hook, list[TimedGrant]]


class TimedRules:
    """Those rules of our chains that are grants. They stand before all others.

    A grant for a port that leads to another host is two rules, in two tables.
    """

    expires_by_itself = False
    widths = WIDTHS

    def __init__(
        self, settings: Settings, tables: Mapping[int, Xtables], clock: Clock
    ) -> None:
        """`tables` has the programs for each IP version that the kernel knows."""
        self._settings = settings
        self._tables = tables
        self._clock = clock

    def prepare(self) -> None:
        """Do nothing: the chains are all that is needed."""

    def tidy(self) -> None:
        """Do nothing, for the same reason."""

    def fixed(self, version: int) -> dict[Hook, list[str]]:
        """Return the rules for those who need no grant."""
        settings = self._settings
        return {
            input_hook(settings): always_accepting(settings, version),
            forward_hook(settings): always_passing(settings, version),
            lead_hook(settings): always_leading(settings, version),
        }

    def kept(self, version: int, hook: Hook) -> list[str]:
        """Return the rules that are live grants, to fill a chain with them again."""
        now = self._clock()
        live = {one: None for one in _all(self._read(version)) if one.holds(now)}
        rules = (render_timed(self._settings, one) for one in live)
        return [rule[hook] for rule in rules if hook in rule]

    def grant(self, grant: Grant, seconds: int, user: str) -> None:
        """Let `grant` through for `seconds`, or longer if it already is."""
        version = _version(grant)
        there = self._read(version)
        old = [one for one in _all(there) if one.grant == grant]
        now = self._clock()
        held = [given_at(now, grant, seconds, user), *(o for o in old if o.holds(now))]
        new = max(held, key=lambda one: one.end)._replace(user=user)
        for hook, rule in render_timed(self._settings, new).items():
            outdated = [one for one in there[hook] if one in old and one != new]
            lines = self._deletions(hook, outdated)
            if new not in there[hook]:
                lines.append(f"-I {hook.chain} 1 {rule}")
            self._apply(version, hook, lines)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back."""
        version = _version(grant)
        there = self._read(version)
        old = {one for one in _all(there) if one.grant == grant}
        self._delete(version, there, old)

    def grants(self) -> list[ActiveGrant]:
        """List the live grants."""
        now = self._clock()
        live = {
            one.grant: ActiveGrant(one.grant, int(one.end - now), one.user)
            for version in self._tables
            for one in _all(self._read(version))
            if one.holds(now)
        }
        return list(live.values())

    def forget_begun(self, addresses: frozenset[bytes]) -> None:
        """Do nothing: here no grant is ever used up."""

    def sweep(self) -> float | None:
        """Delete what has expired; return when the next one will, or None."""
        now = self._clock()
        ends = []
        for version in self._tables:
            there = self._read(version)
            self._delete(version, there, {o for o in _all(there) if not o.holds(now)})
            ends += [one.end for one in _all(there) if one.holds(now)]
        return min(ends, default=None)

    def remove(self) -> None:
        """Do nothing: the rules went with the chains."""

    def _read(self, version: int) -> _There:
        """Return what is in each of the chains that may have some."""
        name = self._settings.name
        there = {}
        for hook in wanted_hooks(self._settings, version):
            rules = self._tables[version].rules(hook.chain, hook.table) or []
            timed = (parse_timed(comment_of(rule), name) for rule in rules)
            there[hook] = [one for one in timed if one is not None]
        return there

    def _delete(self, version: int, there: _There, old: set[TimedGrant]) -> None:
        # First where connections are sent on, then where these may pass.
        for hook, present in reversed(there.items()):
            lines = self._deletions(hook, [one for one in present if one in old])
            self._apply(version, hook, lines)

    def _deletions(self, hook: Hook, timed: list[TimedGrant]) -> list[str]:
        rules = (render_timed(self._settings, one) for one in timed)
        return [f"-D {hook.chain} {rule[hook]}" for rule in rules if hook in rule]

    def _apply(self, version: int, hook: Hook, lines: list[str]) -> None:
        if lines:
            self._tables[version].apply(lines, hook.table)


def _all(there: _There) -> Iterator[TimedGrant]:
    return (one for timed in there.values() for one in timed)


def _version(grant: Grant) -> int:
    return 4 if len(grant.address) == 4 else 6
