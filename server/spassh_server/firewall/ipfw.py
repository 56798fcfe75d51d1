"""The ipfw back end: a few rules of FreeBSD's ipfw over tables of flows.

It takes names of states and tables of flows: FreeBSD 12 or later. Those that have not
are for `ipfw_sets`.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Final

from . import ActiveGrant, Clock, FirewallError, Grant, Settings, Width
from .attempts import attempt_all
from .bsd_sessions import end_all, established
from .checks import check_seconds
from .ipfw_render import (
    ACCEPT,
    KEYS,
    LEAD,
    MAX_VALUE,
    POLICY,
    SET,
    Rule,
    comment_of,
    group_of,
    is_complete,
    layout,
    parse_rules,
    parse_table,
    render_accept,
    render_file,
    render_key,
    render_lead,
    render_older,
    render_policy,
    render_tables,
    state_name,
    table_name,
)
from .run import ProgramError, find, run

_OS_ERROR = 71  # sysexits(3): among others, the table does not exist

_SWITCHES: Final = ("net.inet.ip.fw.enable", "net.inet6.ip6.fw.enable")


class Ipfw:
    """The rules from `Settings.ipfw_rule` on, and the tables NAME-*."""

    name = "ipfw"
    expires_by_itself = False
    holds = False
    widths = frozenset(KEYS)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._program = settings.programs[0]
        self._layout = layout(settings)

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""
        if find(self._program) is None:
            return f"{self._program} not found"
        if self._settings.forwards:
            return "it cannot forward ports"
        try:
            self._read("-S", "list")
        except FirewallError as error:
            return str(error)
        try:
            for table, kind in render_tables(self._settings.name).items():
                self._read("-n", "table", table, "create", "type", kind)
            number, state = str(self._layout.lead), state_name(self._settings.name)
            # Not check-state: an ipfw without names takes no notice of one there.
            rule = ("allow", "tcp", "from", "any", "to", "me", "setup", "keep-state")
            self._read("-n", "add", number, *rule, state)
        except ProgramError:
            return "this ipfw has no tables of flows or no names of states"
        return None

    def prepare(self) -> None:
        """Create what is missing, and replace what has changed.

        ipfw knows no transaction. Swapping two sets of rules would be one, but states
        die with the rules that made them. So the rules that make states stay, and the
        others are added once more, under the number that is free, before the old ones
        are deleted, which is one step: each port that both protect is dropped and each
        grant is honoured at every moment between.
        """
        if self._settings.forwards:
            raise FirewallError(
                "ipfw cannot forward ports", "take the forwards out, or use nftables"
            )
        rules = self._rules()
        self._check_numbers(rules)
        if any(rule.disabled for rule in self._ours(rules)):
            self._change("set", "enable", str(SET))
            rules = self._rules()
        self._create_tables()
        self.sweep()
        # What is granted finds its way before anything is dropped.
        self._renew(self._layout.accept, render_accept(self._settings), rules)
        self._renew(self._layout.lead, render_lead(self._settings), rules)
        self._renew_policy(rules)
        self._delete(rule for rule in self._ours(rules) if self._is_stale(rule))

    def hold(self, seconds: int) -> None:
        """Do nothing: `holds` says so, and the granter ends a trial by itself."""

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:  # noqa: ARG002 - a table keeps no names
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        if grant.width not in self.widths:
            raise FirewallError(f"ipfw cannot grant {grant.width.label}")
        end = ceil(self._clock() + check_seconds(seconds))
        if end > MAX_VALUE:
            raise FirewallError(f"a table of ipfw cannot hold {end}")
        # A table that is not there would be made, of the wrong type: this finds out.
        if self._ends(grant.width).get(grant, 0) < end:
            table = table_name(self._settings.name, grant.width)
            # Quietly means that an entry that is there gets the new value.
            self._change("table", table, "add", render_key(grant), str(end))

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        if grant.width in self.widths:
            self._forget([grant] if grant in self._present(grant.width) else [])

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to the ports of grants; count them."""
        return end_all(addresses, self._settings.grant_ports)

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""
        found = []
        for switch in _SWITCHES:
            with suppress(FirewallError):
                if run("sysctl", "-n", switch).strip() == b"0":
                    found.append(f"{switch} is 0: no packet meets any rule of ipfw")
        for rule in self._rules():
            decides = rule.text.split(" ")[0] in {"deny", "reject", "reset", "unreach"}
            if decides and not rule.disabled and rule.number < self._layout.lead:
                found.append(f"ipfw: rule {rule.number} comes before ours: {rule.text}")
        return found

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        now = self._clock()
        return [
            ActiveGrant(grant, int(end - now))
            for width in KEYS
            for grant, end in self._present(width).items()
            if end > now
        ]

    def repair(self) -> bool:
        """See that packets still reach our rules; tell whether that took mending."""
        if self.in_place():
            return False
        self.prepare()
        return True

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        rules = self._rules()
        wanted = [comment_of(rule) for rule in render_policy(self._settings)]
        policies = [self._comments(rules, one) for one in self._layout.policies]
        return (
            self._has(rules, self._layout.lead, render_lead(self._settings))
            and self._has(rules, self._layout.accept, render_accept(self._settings))
            and sorted(policies) == [[], wanted]
        )

    def sweep(self) -> float | None:
        """Delete what has expired; return the time to come again, or None.

        If the clock was set back, the end of a grant is later by as much.
        """
        now = self._clock()
        following = []
        for width in KEYS:
            ends = self._present(width)
            self._forget(grant for grant, end in ends.items() if end <= now)
            following += [end for end in ends.values() if end > now]
        return min(following, default=None)

    def remove(self) -> None:
        """Leave nothing behind: no table, no rule."""
        ours = self._ours(self._rules())
        steps: list[Callable[[], None]] = []
        for group in (POLICY, LEAD, ACCEPT):
            rules = [rule for rule in ours if self._group(rule) == group]
            steps.append(partial(self._delete, rules))
        # A table is busy as long as a rule names it.
        tables = render_tables(self._settings.name)
        steps += [partial(self._destroy, table) for table in tables]
        attempt_all(steps)

    def _check_numbers(self, rules: list[Rule]) -> None:
        """See that what we delete by its number, in our set, may be deleted."""
        lead, policies, accept, _ = self._layout
        places = {lead: LEAD, accept: ACCEPT} | dict.fromkeys(policies, POLICY)
        for rule in rules:
            if rule.set != SET or rule.number not in places:
                continue
            if not self._group(rule):
                raise FirewallError(
                    f"ipfw has a rule {rule.number} in set {SET} that is not ours",
                    "set ipfw_rule to where four numbers are free",
                )
            if self._group(rule) != places[rule.number]:
                raise FirewallError(
                    "the rules from ipfw_rule on would overlap with our present ones",
                    "move ipfw_rule by four at least",
                )

    def _create_tables(self) -> None:
        for table, kind in render_tables(self._settings.name).items():
            if self._table(table) is None:
                self._change("table", table, "create", "type", kind)

    def _renew(self, number: int, wanted: list[str], rules: list[Rule]) -> None:
        """Have the rules `wanted` at `number`. They differ only after an upgrade."""
        if not self._has(rules, number, wanted):
            self._delete(rule for rule in self._ours(rules) if rule.number == number)
            self._load(render_file(number, wanted))

    def _renew_policy(self, rules: list[Rule]) -> None:
        wanted = render_policy(self._settings)
        first, second = self._layout.policies
        for number in (first, second):
            if self._has(rules, number, wanted):
                break
        else:
            self._let_sessions_go_on()
            # What a crash left half-done makes room. What is whole stays until then.
            number = second if is_complete(self._comments(rules, first)) else first
            self._delete(rule for rule in self._ours(rules) if rule.number == number)
            try:
                self._load(render_file(number, wanted))
            except FirewallError:
                with suppress(FirewallError):
                    self._change("set", str(SET), "delete", str(number))
                raise
        other = first if number == second else second
        self._delete(rule for rule in self._ours(rules) if rule.number == other)

    def _let_sessions_go_on(self) -> None:
        """Enter the connections that have no state of ours, for they are older.

        This is a courtesy to those who are logged in: where there is no netstat of
        FreeBSD, the ports are protected all the same.
        """
        with suppress(FirewallError):
            sessions = established(self._settings.dropped)
            self._load(render_older(self._settings.name, sessions))

    def _is_stale(self, rule: Rule) -> bool:
        return not self._layout.lead <= rule.number < self._layout.after

    def _group(self, rule: Rule) -> str:
        return group_of(rule, self._settings.name)

    def _ours(self, rules: list[Rule]) -> list[Rule]:
        return [rule for rule in rules if self._group(rule)]

    def _comments(self, rules: list[Rule], number: int) -> list[str]:
        """Return the comments of our rules at `number` that packets meet."""
        return [
            rule.comment
            for rule in self._ours(rules)
            if rule.number == number and not rule.disabled
        ]

    def _has(self, rules: list[Rule], number: int, wanted: list[str]) -> bool:
        return self._comments(rules, number) == [comment_of(rule) for rule in wanted]

    def _present(self, width: Width) -> dict[Grant, int]:
        """Return what `_ends` does; nothing if the table is not there."""
        text = self._table(table_name(self._settings.name, width))
        return {} if text is None else parse_table(text, width)

    def _ends(self, width: Width) -> dict[Grant, int]:
        """Return the grants in the table, with their ends, over or not."""
        table = table_name(self._settings.name, width)
        return parse_table(self._read("table", table, "list"), width)

    def _table(self, table: str) -> str | None:
        """Return what `table` holds, or None if it is not there."""
        try:
            return self._read("table", table, "list")
        except ProgramError as error:
            if error.status != _OS_ERROR:
                raise
            return None

    def _forget(self, grants: Iterable[Grant]) -> None:
        for grant in grants:
            table = table_name(self._settings.name, grant.width)
            self._change("table", table, "delete", render_key(grant))

    def _destroy(self, table: str) -> None:
        if self._table(table) is not None:
            self._change("table", table, "destroy")

    def _delete(self, rules: Iterable[Rule]) -> None:
        for number in dict.fromkeys(rule.number for rule in rules):
            self._change("set", str(SET), "delete", str(number))

    def _load(self, text: str) -> None:
        run(self._program, "-q", "/dev/stdin", stdin=text.encode())

    def _rules(self) -> list[Rule]:
        return parse_rules(self._read("-S", "list"))

    def _read(self, *words: str) -> str:
        return run(self._program, *words).decode(errors="replace")

    def _change(self, *words: str) -> None:
        run(self._program, "-q", *words)
