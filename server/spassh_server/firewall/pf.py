"""The pf back end: an anchor of our own, with a table for each port of grants.

The main ruleset has to lead there, by a line that we do not add ourselves: pf.conf is
somebody else's.
"""

import string
from math import ceil
from typing import Final

from ..addresses import text
from ..ports import Port
from . import ActiveGrant, Clock, FirewallError, Grant, Settings, Width
from .bsd_sessions import end_all
from .checks import check_seconds
from .pf_render import (
    Entry,
    anchor_line,
    blockers,
    ends_anchor,
    is_enabled,
    parse_ends,
    parse_labels,
    parse_table,
    render_ends,
    render_rules,
    render_ruleset,
    table_name,
)
from .run import ProgramError, find, run

_USER_BYTES: Final = frozenset(string.ascii_letters + string.digits + "._-")
_MAX_USER = 32


class Pf:
    """The anchors NAME and NAME/ends, and what is in them."""

    name = "pf"
    expires_by_itself = False
    holds = False
    widths = frozenset({Width.ADDRESS})

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._program = settings.programs[1]
        self._anchor = settings.name
        self._ends_anchor = ends_anchor(settings.name)

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""
        if find(self._program) is None:
            return f"{self._program} not found"
        if self._settings.forwards:
            return "it cannot forward ports"
        try:
            self._check()
        except FirewallError as error:
            return f"{error} ({error.hint})" if error.hint else str(error)
        return None

    def prepare(self) -> None:
        """Load our anchor in one step, with the grants that live."""
        if self._settings.forwards:
            raise FirewallError(
                "pf cannot forward ports here", "write a rule with rdr into pf.conf"
            )
        self._check()
        now = self._clock()
        entries = [one for one in self._entries() if self._lives(one, now)]
        if self._labels() != self._wanted():
            ruleset = render_ruleset(self._settings, entries).encode()
            # Without the optimizer, which may reorder and merge rules.
            self._change(self._anchor, "-o", "none", "-f", "-", stdin=ruleset)
        self._write(entries)
        for port in set(self._settings.grant_ports):
            live = {one.grant.address for one in entries if one.grant.port == port}
            # An entry whose end we do not know: nobody would ever delete it.
            for address in self._present(port) - live:
                self._alter(Grant(address, port), "delete")
            for address in live - self._present(port):
                self._alter(Grant(address, port), "add")

    def hold(self, seconds: int) -> None:
        """Do nothing: `holds` says so, and the granter ends a trial by itself."""

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        if grant.width not in self.widths:
            raise FirewallError(f"pf cannot grant {grant.width.label}")
        if grant.port not in self._settings.grant_ports:
            raise FirewallError(f"pf has no table for {grant.port}")
        if len(user) > _MAX_USER or not _USER_BYTES.issuperset(user):
            raise FirewallError(f"not the name of a user: {user[:_MAX_USER]!r}")
        end = ceil(self._clock() + check_seconds(seconds))
        # pfctl would make a table that is not there, and no rule would look into it.
        self._show(grant.port)
        entries = {one.grant: one for one in self._entries()}
        old = entries.get(grant)
        entries[grant] = Entry(grant, max(end, old.end if old else 0), user)
        # The end first: a grant without one would stay.
        self._write(list(entries.values()))
        self._alter(grant, "add")

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        if grant.address in self._present(grant.port):
            self._alter(grant, "delete")
        entries = self._entries()
        if any(one.grant == grant for one in entries):
            self._write([one for one in entries if one.grant != grant])

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to the ports of grants; count them."""
        return end_all(addresses, self._settings.grant_ports)

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""
        found = blockers(self._anchor, self._rules(""))
        return [f"pf: a rule comes before our anchor: {rule}" for rule in found or []]

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        now = self._clock()
        entries = [one for one in self._entries() if self._lives(one, now)]
        present = {
            port: self._present(port) for port in {e.grant.port for e in entries}
        }
        return [
            ActiveGrant(grant, int(end - now), user)
            for grant, end, user in entries
            if grant.address in present[grant.port]
        ]

    def repair(self) -> bool:
        """See that packets still reach our rules; tell whether that took mending."""
        self._check()
        if self._labels() == self._wanted():
            return False
        self.prepare()
        return True

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        return (
            is_enabled(self._read("-s", "info"))
            and blockers(self._anchor, self._rules("")) is not None
            and self._labels() == self._wanted()
        )

    def sweep(self) -> float | None:
        """Delete what has expired; return the time to come again, or None.

        If the clock was set back, the end of a grant is later by as much.
        """
        now = self._clock()
        entries = self._entries()
        over = [one.grant for one in entries if one.end <= now]
        for grant in over:
            if grant.address in self._present(grant.port):
                self._alter(grant, "delete")
        left = [one for one in entries if one.end > now]
        if over:
            self._write(left)
        return min((one.end for one in left), default=None)

    def remove(self) -> None:
        """Leave nothing behind: no rule, no table. The line in pf.conf is not ours."""
        for words in (("-F", "rules"), ("-F", "Tables")):
            self._change(self._anchor, *words)
        self._change(self._ends_anchor, "-F", "rules")

    def _check(self) -> None:
        """See that packets meet the rules of our anchor."""
        if not is_enabled(self._read("-s", "info")):
            raise FirewallError("pf is disabled", f"{self._program} -e")
        if blockers(self._anchor, self._rules("")) is None:
            raise FirewallError(
                f"no rule of pf leads to the anchor {self._anchor}",
                f"add the line: {anchor_line(self._anchor)} to /etc/pf.conf, before"
                " its other filter rules, and load it",
            )

    def _lives(self, entry: Entry, now: float) -> bool:
        return entry.end > now and entry.grant.port in self._settings.grant_ports

    def _wanted(self) -> list[str]:
        return parse_labels("\n".join(render_rules(self._settings)))

    def _labels(self) -> list[str]:
        return parse_labels(self._rules(self._anchor))

    def _entries(self) -> list[Entry]:
        return parse_ends(self._rules(self._ends_anchor))

    def _write(self, entries: list[Entry]) -> None:
        if entries != self._entries():
            ends = render_ends(entries).encode()
            self._change(self._ends_anchor, "-o", "none", "-f", "-", stdin=ends)

    def _rules(self, anchor: str) -> str:
        """Return the rules of `anchor`; nothing if there is none of that name."""
        where = ("-a", anchor) if anchor else ()
        try:
            return self._read(*where, "-s", "rules")
        except ProgramError as error:
            complaint = str(error)
            if "does not exist" in complaint or "Invalid argument" in complaint:
                return ""
            raise

    def _show(self, port: Port) -> set[bytes]:
        table = table_name(port)
        return parse_table(self._read("-a", self._anchor, "-t", table, "-T", "show"))

    def _present(self, port: Port) -> set[bytes]:
        """Return the addresses in the table of `port`; none if it is not there."""
        try:
            return self._show(port)
        except ProgramError as error:
            if "does not exist" not in str(error):
                raise
            return set()

    def _alter(self, grant: Grant, verb: str) -> None:
        """Add the address of `grant` to its table, or delete it. Both may repeat."""
        table, host = table_name(grant.port), text(grant.address)
        self._change(self._anchor, "-t", table, "-T", verb, host)

    def _read(self, *words: str) -> str:
        return run(self._program, *words).decode(errors="replace")

    def _change(self, anchor: str, *words: str, stdin: bytes = b"") -> None:
        run(self._program, "-q", "-a", anchor, *words, stdin=stdin)
