"""The iptables back end: a chain of our own in `filter`, at the top of INPUT.

An accept there is final among iptables of the same variant. It is not for base chains
of nftables and for the other variant of iptables, which may still drop the packet: on a
host that has both kinds of firewall, the nftables back end is the one to use.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from . import ActiveGrant, Clock, FirewallError, Grant, Settings
from .attempts import attempt_all
from .ipsets import IpSets, is_usable
from .iptables_render import (
    chain_name,
    is_jump_first,
    is_whole,
    render_chain,
    render_jump,
    render_rules,
    render_unjump,
)
from .sessions import keep_sessions
from .timed_rules import TimedRules
from .xtables import INPUT, Xtables

IPV6_MARKER: Final = "/proc/net/if_inet6"
"""Is there if, and only if, this kernel can do IPv6, even if no interface uses it."""


class Iptables:
    """The chain, whose name is that of the settings in capitals, for both IP versions.

    If the kernel can do IPv6, it is never left without the chain that IPv4 has: without
    ip6tables, this back end does not work.
    """

    name = "iptables"
    expires_by_itself: bool

    def __init__(self, settings: Settings, clock: Clock, variant: str = "") -> None:
        """`variant` is that of `Xtables`."""
        self._settings = settings
        self._chain = chain_name(settings)
        # IPv6 first: who lacks it often forgets it, and then nothing is done at all.
        versions = (6, 4) if os.path.exists(IPV6_MARKER) else (4,)
        self._tables = {version: Xtables(version, variant) for version in versions}
        self._sets = IpSets(settings.name, versions) if is_usable() else None
        self._grants: IpSets | TimedRules
        if self._sets is not None and settings.ipset:
            self._grants = self._sets
        else:
            self._grants = TimedRules(settings, self._tables, clock)
        self.expires_by_itself = self._grants.expires_by_itself

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
        """Create or refill our chain, in one transaction for each IP version."""
        keep_sessions(self._settings.protect)
        self._grants.prepare()
        for version in self._tables:
            self._refill(version)

    def grant(self, grant: Grant, seconds: int) -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        self._check_version(grant)
        self._grants.grant(grant, seconds)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        self._check_version(grant)
        self._grants.revoke(grant)

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        return self._grants.grants()

    def repair(self) -> bool:
        """See that packets still reach our rules; return whether it needed mending."""
        broken = [version for version in self._tables if not self._stands(version)]
        if broken:
            self._grants.prepare()
        for version in broken:
            self._refill(version)
        return bool(broken)

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
            partial(self._remove_chain, xtables) for xtables in self._tables.values()
        ]
        # Sets may be there even if the settings do not want them any more.
        if self._sets is not None:
            steps.append(self._sets.remove)
        attempt_all(steps)

    def _remove_chain(self, xtables: Xtables) -> None:
        lines = render_unjump(self._chain, xtables.rules(INPUT) or [])
        if xtables.rules(self._chain) is not None:
            lines += [f"-F {self._chain}", f"-X {self._chain}"]
        if lines:
            xtables.apply(lines)

    def _refill(self, version: int) -> None:
        xtables = self._tables[version]
        rules = [*self._grants.kept(version), *self._wanted(version)]
        lines = render_chain(self._chain, rules)
        xtables.apply(lines + render_jump(self._chain, xtables.rules(INPUT) or []))

    def _stands(self, version: int) -> bool:
        """Tell whether INPUT leads to our chain, and the chain is whole."""
        xtables = self._tables[version]
        present = xtables.rules(self._chain) or []
        return is_jump_first(self._chain, xtables.rules(INPUT) or []) and is_whole(
            self._settings.name, present, self._wanted(version)
        )

    def _wanted(self, version: int) -> list[str]:
        return render_rules(self._settings, self._grants.accepting(version))

    def _check_version(self, grant: Grant) -> None:
        if len(grant.address) == 16 and 6 not in self._tables:
            raise FirewallError("this kernel cannot do IPv6")
