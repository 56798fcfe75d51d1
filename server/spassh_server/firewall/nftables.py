"""The nftables back end: a table of our own, whose sets forget a grant in time.

`nftables_render` has the rules. They own the drop, and they run before everybody else's
filter chains, whose own drops `foreign` leads around.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from . import ActiveGrant, FirewallError, Grant, Settings, Width
from .attempts import attempt_all
from .checks import check_width
from .foreign import Foreign
from .forwarding import forwarding_warnings
from .kill import end_sessions
from .nft import Nft, best
from .nftables_element import Elements
from .nftables_forward import forward_chains
from .nftables_render import (
    Chain,
    input_chain,
    render_comments,
    render_remove,
    render_table,
)
from .nftables_sets import (
    Set,
    is_as_wanted,
    parse_set,
    render_extended,
    render_grant,
    render_hold,
    render_revoke,
    sets,
)
from .run import find
from .sessions import keep_sessions

_ALL: Final = frozenset(Width)
_WITHOUT_ONCE: Final = _ALL - {Width.ONCE}


class Nftables:
    """The table `inet NAME`, and our rule in chains that would drop what it grants."""

    name = "nftables"
    expires_by_itself = True
    holds = True
    widths: frozenset[Width]

    def __init__(self, settings: Settings, nft: Nft | None = None) -> None:
        """`nft` is how to speak to nftables, if it matters."""
        self._settings = settings
        self._nft = nft or best()
        self._elements = Elements()
        self._foreign = Foreign(settings, self._nft)
        self.widths = _ALL
        self._is_probed = False

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""
        if find("nft") is None:
            return "nft not found"  # for the chains of others, see foreign.py
        try:
            self._probe()
            self._chains()
        except FirewallError as error:
            return str(error)
        return None

    def prepare(self) -> None:
        """Create or renew our table in one transaction, and lead other chains to it.

        The other chains come first. If one of them refuses, our drop is not yet in
        place, and nobody is locked out by a daemon that cannot start. If it is in place
        from an earlier run, not to start would lock everybody out: `repair` tells then.
        """
        self._probe()
        try:
            attempt_all((self._foreign.ensure, self._foreign.tidy))
        except FirewallError:
            if not self._drops():
                raise
        self._renew()

    def hold(self, seconds: int) -> None:
        """Drop `Settings.trial` for `seconds` from now, and then no more."""
        if self._settings.trial:
            lines = render_hold(self._settings.name, self._settings.trial, seconds)
            self._nft.run(lines)

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        check_width(grant, self.widths)
        name = self._settings.name
        # What each packet of a `once` set is counted with, libnftables knows.
        is_plain = grant.width != Width.ONCE
        if is_plain and self._elements.add(name, grant, seconds, user):
            return
        there = self._elements.find(name, grant)
        if there is None:
            self._nft.run(render_grant(name, grant, seconds, user))
            return
        if there.milliseconds_left >= 1000 * seconds:
            if there.user == user:
                return
            seconds = -(-there.milliseconds_left // 1000)
        self._nft.run(render_extended(name, grant, seconds, user))

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        if grant.width not in self.widths:
            return
        name = self._settings.name
        if self._elements.find(name, grant) is not None:
            self._nft.run(render_revoke(name, grant))

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to `Settings.grant_ports`; count them."""
        if self._chains():
            # What a grant has begun may begin again for some seconds. That of others
            # goes as well: it costs who is just connecting, and has lost the answer.
            begun = [one.name for one in self._sets() if one.width is None]
            table = f"inet {self._settings.name}"
            lines = [f"flush set {table} {name}\n" for name in begun]
            self._nft.run("".join(lines))
        return end_sessions(addresses, self._settings.grant_ports)

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""
        return [*self._foreign.warnings(), *forwarding_warnings(self._settings)]

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        if not self._chains():
            return []
        return [
            active
            for one in self._sets()
            if one.width is not None
            for active in self._read_grants(one.name, one.width)
        ]

    def repair(self) -> bool:
        """See that packets still reach our rules; return whether that needed mending.

        `nft flush ruleset`, which starts many an nftables.conf, takes our table as well
        and the grants with it.
        """
        whole = self.in_place()
        if not whole:
            self._renew()
        return self._foreign.ensure() or not whole

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        self._probe()
        return self._ours() and all(map(self._is_whole, self._wanted()))

    def sweep(self) -> float | None:
        """Do nothing: the kernel deletes what has expired."""

    def remove(self) -> None:
        """Leave nothing behind: no table, no chain, no set, no rule.

        The rules that trust our mark go before the chain that keeps it honest.
        """
        attempt_all((self._foreign.remove, self._remove_table))

    def _remove_table(self) -> None:
        self._nft.run(render_remove(self._settings.name))

    def _probe(self) -> None:
        """Find out what this kernel can do: before 5.7, no grants for one connection.

        Raises:
            FirewallError: it cannot do anything.
        """
        if self._is_probed:
            return
        if not self._allows_our_table():
            every = self.widths
            self.widths = _WITHOUT_ONCE
            self._nft.check(self._render(anew=True))
            # It can do that, so it may have failed for another reason, and once.
            self.widths = every
            if not self._allows_our_table():
                self.widths = _WITHOUT_ONCE
        self._is_probed = True

    def _allows_our_table(self) -> bool:
        try:
            self._nft.check(self._render(anew=True))
        except FirewallError:
            return False
        return True

    def _renew(self) -> None:
        """Create or renew our table in one transaction."""
        keep_sessions((*self._settings.dropped, *self._settings.trial))
        if self._adoptable():
            self._nft.run(self._render(anew=False))
        else:
            self._nft.run(self._render(anew=True, kept=self._kept()))

    def _render(self, *, anew: bool, kept: Iterable[ActiveGrant] = ()) -> str:
        return render_table(
            self._settings, self.widths, self._wanted(), anew=anew, kept=kept
        )

    def _wanted(self) -> list[Chain]:
        """Return the chains that our table ought to have."""
        return [
            input_chain(self._settings, self.widths),
            *forward_chains(self._settings, self.widths),
        ]

    def _chains(self) -> list[dict[str, Any]]:
        """Return the chains in our table."""
        chains = self._nft.read("list chains inet", "chain")
        return [chain for chain in chains if chain["table"] == self._settings.name]

    def _ours(self) -> bool:
        """Tell whether our table has just the chains that we would give it."""
        wanted = {chain.name: chain for chain in self._wanted()}
        found = {listed["name"]: listed for listed in self._chains()}
        return wanted.keys() == found.keys() and all(
            chain.is_like(found[name]) for name, chain in wanted.items()
        )

    def _is_whole(self, chain: Chain) -> bool:
        """Tell whether the chain of that name has all of our rules, and no others."""
        name = self._settings.name
        rules = self._nft.read(f"list chain inet {name} {chain.name}", "rule")
        comments = [rule.get("comment") for rule in rules]
        return comments == render_comments(name, chain)

    def _drops(self) -> bool:
        """Tell whether our drop is in place, that of today's settings or of others."""
        if "input" not in {chain["name"] for chain in self._chains()}:
            return False
        rules = self._nft.read(f"list chain inet {self._settings.name} input", "rule")
        return any({"drop": None} in rule["expr"] for rule in rules)

    def _adoptable(self) -> bool:
        """Tell whether the table that is there can keep its sets, and the grants."""
        try:
            return self._ours() and all(map(self._is_there, self._sets()))
        except FirewallError:
            return False  # a set is missing, or it is no set at all

    def _kept(self) -> list[ActiveGrant]:
        """Return the grants in a table that cannot stay, as far as they can be read."""
        found: list[ActiveGrant] = []
        for one in self._sets():
            with suppress(FirewallError):
                if one.width is not None and self._is_there(one):
                    found += self._read_grants(one.name, one.width)
        return found

    def _sets(self) -> list[Set]:
        """Return the sets that our table ought to have."""
        return sets(self._settings, self.widths)

    def _is_there(self, wanted: Set) -> bool:
        return all(is_as_wanted(one, wanted) for one in self._list_set(wanted.name))

    def _read_grants(self, name: str, width: Width) -> list[ActiveGrant]:
        """Return the grants in the set of that name."""
        return [
            active for one in self._list_set(name) for active in parse_set(one, width)
        ]

    def _list_set(self, name: str) -> list[dict[str, Any]]:
        return self._nft.read(f"list set inet {self._settings.name} {name}", "set")
