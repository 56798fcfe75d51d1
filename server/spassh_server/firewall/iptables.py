"""The iptables back end: chains of our own, each at the top of one that others have.

An accept there is final among iptables of the same variant. It is not for base chains
of nftables and for the other variant of iptables, which may still drop the packet: on a
host that has both kinds of firewall, the nftables back end is the one to use, and
`warnings` says so.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from . import ActiveGrant, Clock, FirewallError, Grant, Settings, Width
from .attempts import attempt_all
from .checks import check_width
from .forwarding import forwarding_warnings
from .ipset_render import MAX_FLOW_PORTS
from .ipsets import IpSets, is_usable
from .iptables_hooks import (
    Hook,
    all_hooks,
    chains_before,
    forward_hook,
    input_hook,
    is_of_ours,
    render_jump,
    render_unjump,
    source_hook,
    wanted_hooks,
)
from .iptables_others import other_firewalls
from .iptables_render import (
    forward_rules,
    input_rules,
    is_whole,
    numbered,
    render_chain,
    source_rules,
)
from .kill import end_sessions
from .native_jumps import delete_jumps, has_jump
from .sessions import keep_sessions
from .timed_render import NEVER, held_at
from .timed_rules import TimedRules
from .xtables import INPUT, Xtables

IPV6_MARKER: Final = "/proc/net/if_inet6"
"""Is there if, and only if, this kernel can do IPv6, even if no interface uses it."""

_UNLISTED: Final = (
    'nft has put a rule there that iptables cannot print: take backend = "nftables"'
)


class Iptables:
    """Our chains, whose names begin with that of the settings, for both IP versions.

    If the kernel can do IPv6, it is never left without the chains that IPv4 has:
    without ip6tables, this back end does not work.
    """

    name = "iptables"
    expires_by_itself: bool
    holds = True
    widths: frozenset[Width]

    def __init__(self, settings: Settings, clock: Clock, variant: str = "") -> None:
        """`variant` is that of `Xtables`."""
        self._settings = settings
        self._clock = clock
        self._held = NEVER
        # IPv6 first: who lacks it often forgets it, and then nothing is done at all.
        versions = (6, 4) if os.path.exists(IPV6_MARKER) else (4,)
        self._tables = {version: Xtables(version, variant) for version in versions}
        self._sets = IpSets(settings, versions) if is_usable() else None
        self._grants: IpSets | TimedRules
        if self._sets is not None and settings.ipset:
            self._grants = self._sets
        else:
            self._grants = TimedRules(settings, self._tables, clock)
        self.expires_by_itself = self._grants.expires_by_itself
        self.widths = self._grants.widths

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""
        for xtables in self._tables.values():
            missing = xtables.missing()
            if missing is not None:
                return f"{missing} not found"
            try:
                xtables.rules(INPUT)
            except FirewallError as error:
                return str(error)
        return None

    def prepare(self) -> None:
        """Create or refill our chains, each in one step with what leads to it."""
        keep_sessions((*self._settings.dropped, *self._settings.trial))
        self._grants.prepare()
        for version in self._tables:
            self._refill(version)
        for version in self._tables:
            self._remove_chains(version, self._hooks(version))
        self._grants.tidy()

    def hold(self, seconds: int) -> None:
        """Drop `Settings.trial` for `seconds` from now, and then no more.

        The rules carry that time, as a grant without ipset does.
        """
        self._held = held_at(self._clock(), seconds)
        for version in self._tables:
            self._refill(version)

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        self._check_version(grant)
        check_width(grant, self.widths)
        self._grants.grant(grant, seconds, user)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        self._check_version(grant)
        if grant.width in self.widths:
            self._grants.revoke(grant)

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to `Settings.grant_ports`; count them."""
        self._grants.forget_begun(addresses)
        return end_sessions(addresses, self._settings.grant_ports)

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""
        return [
            *other_firewalls(self._settings, self._tables[4]),
            *forwarding_warnings(self._settings),
            *self._unlisted(),
            *self._missing_widths(),
        ]

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        return self._grants.grants()

    def repair(self) -> bool:
        """See that packets still reach our rules; return whether it needed mending."""
        return any(attempt_all(partial(self._mend, one) for one in self._tables))

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        return all(map(self._stands, self._tables))

    def sweep(self) -> float | None:
        """Delete what has expired; return when to come again, or None."""
        return self._grants.sweep()

    def remove(self) -> None:
        """Leave nothing behind: no chain, no set, no rule.

        The tables and chains of iptables itself stay, even if they are there for us:
        others use them without asking who made them.
        """
        steps: list[Callable[[], None]] = [
            partial(self._remove_chains, version, []) for version in self._tables
        ]
        # Sets may be there even if the settings do not want them any more.
        if self._sets is not None:
            steps.append(self._sets.remove)
        attempt_all(steps)

    def _remove_chains(self, version: int, wanted: list[Hook]) -> None:
        """Remove all chains of ours but the `wanted`."""
        attempt_all(
            partial(_remove_chain, self._tables[version], hook)
            for hook in all_hooks(self._settings)
            if hook not in wanted
        )

    def _mend(self, version: int) -> bool:
        """Do that for one IP version."""
        if self._stands(version):
            return False
        self._grants.prepare()
        self._refill(version)
        return True

    def _refill(self, version: int) -> None:
        xtables = self._tables[version]
        wanted = self._wanted(version)
        kept = {hook: self._grants.kept(version, hook) for hook in wanted}
        for hook, rules in wanted.items():
            lines = render_chain(hook, [*kept[hook], *rules])
            present = xtables.rules(hook.base, hook.table)
            if not self._is_reached(xtables, hook, present):
                lines += render_jump(hook, present or [])
            xtables.apply(lines, hook.table)

    def _stands(self, version: int) -> bool:
        """Tell whether packets are led to our chains, and these are whole.

        Raises:
            FirewallError: they are, but perhaps others judge packets before us.
        """
        xtables = self._tables[version]
        unlisted = ""
        for hook, wanted in self._wanted(version).items():
            rules = xtables.rules(hook.chain, hook.table) or []
            if not is_whole(self._settings.name, rules, wanted):
                return False
            present = xtables.rules(hook.base, hook.table)
            if not self._is_reached(xtables, hook, present):
                return False
            if present is None:
                unlisted = hook.base
        if unlisted:
            raise FirewallError(f"{xtables.program} cannot list {unlisted}", _UNLISTED)
        return True

    def _is_reached(
        self, xtables: Xtables, hook: Hook, present: list[str] | None
    ) -> bool:
        """Tell whether nobody judges packets before us, but other instances of us.

        If the chain cannot be listed, it is enough that it leads to us. Who comes first
        there cannot be told, and to put one jump before another would never end.
        """
        if present is None:
            return has_jump(xtables.version, hook)
        before = chains_before(hook, present)
        return before is not None and all(
            is_of_ours(hook, chain, xtables.rules(chain, hook.table) or [])
            for chain in before
        )

    def _wanted(self, version: int) -> dict[Hook, list[str]]:
        """Return the rules of each of our chains, but for those that are grants."""
        settings = self._settings
        granted = self._grants.fixed(version)
        source, forward = source_hook(settings), forward_hook(settings)
        here = input_hook(settings)
        rules = {
            **granted,
            here: input_rules(settings, granted[here], self._held),
            forward: forward_rules(settings, version, granted[forward]),
            source: source_rules(settings, version),
        }
        return {
            hook: numbered(settings.name, rules[hook]) for hook in self._hooks(version)
        }

    def _hooks(self, version: int) -> list[Hook]:
        """Return which chains we have, in the order in which they are made."""
        notes = self._grants is self._sets
        return wanted_hooks(self._settings, version, notes=notes)

    def _unlisted(self) -> list[str]:
        """Say which chains may have others before us."""
        return [
            f"{xtables.program} cannot list {hook.base}: {_UNLISTED}"
            for version, xtables in self._tables.items()
            for hook in self._hooks(version)
            if xtables.has(hook.table) and xtables.rules(hook.base, hook.table) is None
        ]

    def _missing_widths(self) -> list[str]:
        """Say why a width is missing."""
        if self.widths == frozenset(Width) or not self._settings.ipset:
            return []
        if self._grants is self._sets:
            return [f"more than {MAX_FLOW_PORTS} grant_ports: only whole addresses"]
        return ["grants for one connection take ipset: apt install ipset"]

    def _check_version(self, grant: Grant) -> None:
        if len(grant.address) == 16 and 6 not in self._tables:
            raise FirewallError("this kernel cannot do IPv6")


def _remove_chain(xtables: Xtables, hook: Hook) -> None:
    # To ask for a table that is not there may be to make it. And our chain is not read:
    # that may be impossible, and the drop has to go all the same.
    if xtables.has(hook.table) and xtables.flush(hook.chain, hook.table):
        present = xtables.rules(hook.base, hook.table)
        if present is None:
            delete_jumps(xtables.version, hook)
        unjump = render_unjump(hook, present or [])
        xtables.apply([*unjump, f"-X {hook.chain}"], hook.table)
