"""The nftables back end: a table of our own, whose sets forget a grant in time.

`nftables_render` has the rules. They own the drop, and they run before everybody else's
filter chains, whose own drops `foreign` leads around.
"""

from typing import Any

from . import ActiveGrant, FirewallError, Grant, Settings
from .attempts import attempt_all
from .foreign import Foreign
from .libnftables import LibNftables
from .nftables_render import (
    PRIORITY,
    parse_set,
    render_comments,
    render_grant,
    render_query,
    render_remove,
    render_revoke,
    render_table,
    set_type,
)
from .run import find
from .sessions import keep_sessions


class Nftables:
    """The table `inet NAME`, and our rule in chains that would drop what it grants."""

    name = "nftables"
    expires_by_itself = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nft = LibNftables()
        self._foreign = Foreign(settings, self._nft)

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""
        if find("nft") is None:
            return "nft not found"  # for the chains of others, see foreign.py
        try:
            self._nft.check(render_table(self._settings, anew=True))
            self._chains()
        except FirewallError as error:
            return str(error)
        return None

    def prepare(self) -> None:
        """Create or renew our table in one transaction, and lead other chains to it.

        The other chains come first. If one of them refuses, our drop is not yet in
        place, and nobody is locked out by a daemon that cannot start.
        """
        self._foreign.ensure()
        self._renew()

    def grant(self, grant: Grant, seconds: int) -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        name = self._settings.name
        # Most grants are new. To list all others would cost 15 us for each of them; to
        # try and fail to create one, 16 ms, for which the kernel waits when it aborts.
        if self._nft.holds(render_query(name, grant)):
            # The kernel rounds the seconds that are left down: as many are not shorter.
            left = dict(self._read_set(len(grant.address))).get(grant, 0)
            if left >= seconds:
                return
        self._nft.run(render_grant(name, grant, seconds))

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        self._nft.run(render_revoke(self._settings.name, grant))

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        if not self._chains():
            return []
        return self._read_set(4) + self._read_set(16)

    def repair(self) -> bool:
        """See that packets still reach our rules; return whether that needed mending.

        `nft flush ruleset`, which starts many an nftables.conf, takes our table as well
        and the grants with it.
        """
        whole = self._whole()
        if not whole:
            self._renew()
        return self._foreign.ensure() or not whole

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        return self._whole()

    def sweep(self) -> float | None:
        """Do nothing: the kernel deletes what has expired."""

    def remove(self) -> None:
        """Leave nothing behind: no table, no chain, no set, no rule.

        The rules that trust our mark go before the chain that keeps it honest.
        """
        attempt_all((self._foreign.remove, self._remove_table))

    def _remove_table(self) -> None:
        self._nft.run(render_remove(self._settings.name))

    def _renew(self) -> None:
        """Create or renew our table in one transaction."""
        keep_sessions(self._settings.protect)
        anew = not self._adoptable()
        self._nft.run(render_table(self._settings, anew=anew))

    def _chains(self) -> list[dict[str, Any]]:
        """Return the chains in our table."""
        chains = self._nft.read("list chains inet", "chain")
        return [chain for chain in chains if chain["table"] == self._settings.name]

    def _ours(self) -> bool:
        """Tell whether our table has just the chain that we would give it."""
        wanted = {
            "name": "input",
            "type": "filter",
            "hook": "input",
            "prio": PRIORITY,
            "policy": "accept",
        }
        chains = self._chains()
        return len(chains) == 1 and wanted.items() <= chains[0].items()

    def _whole(self) -> bool:
        """Tell whether our chain has all of our rules, and no others."""
        if not self._ours():
            return False
        name = self._settings.name
        rules = self._nft.read(f"list chain inet {name} input", "rule")
        comments = [rule.get("comment") for rule in rules]
        return comments == render_comments(self._settings)

    def _adoptable(self) -> bool:
        """Tell whether the table that is there can keep its sets, and the grants."""
        try:
            return self._ours() and all(
                listed.get("type") == set_type(version)
                and listed.get("flags") == ["timeout"]
                and "timeout" in listed
                for version in (4, 6)
                for listed in self._list_set(version)
            )
        except FirewallError:
            return False  # a set is missing, or it is no set at all

    def _list_set(self, version: int) -> list[dict[str, Any]]:
        name = self._settings.name
        return self._nft.read(f"list set inet {name} granted{version}", "set")

    def _read_set(self, length: int) -> list[ActiveGrant]:
        """Return the grants to addresses of `length` bytes."""
        (listed,) = self._list_set(4 if length == 4 else 6)
        return parse_set(listed)
