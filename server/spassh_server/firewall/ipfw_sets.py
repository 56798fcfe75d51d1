"""The ipfw back end without tables: each grant is a rule, in a set of our own.

For the ipfw that macOS had until 10.9, and that of FreeBSD before 12: there are no
tables of flows, or states have no names.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, partial
from math import ceil
from typing import Final

from . import ActiveGrant, Clock, FirewallError, Grant, Settings, Width
from .attempts import attempt_all
from .bsd_sessions import end_all, established
from .checks import check_seconds, check_user
from .ipfw_render import SET, Rule, parse_rules, render_file
from .ipfw_sets_render import (
    ACCEPT,
    GRANT,
    GUARD,
    MAX_END,
    MAX_GRANTS,
    MAX_OLDER,
    OLDER,
    POLICY,
    GrantRule,
    is_complete,
    label_of,
    labels_of,
    layout,
    ours,
    parse_grants,
    parse_ifconfig,
    render_accept,
    render_grant,
    render_guard,
    render_older,
    render_policy,
)
from .run import ProgramError, find, run

_SWITCHES: Final = ("net.inet.ip.fw.enable", "net.inet6.ip6.fw.enable")

_NO_IPV6 = "this ipfw does not look at IPv6"


class IpfwSets:
    """The rules from `Settings.ipfw_rule` on, 95 numbers of them."""

    name = "ipfw"
    expires_by_itself = False
    holds = False
    widths = frozenset({Width.FLOW, Width.ADDRESS})

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
            for rule in (*render_accept(self._settings), *render_guard(self._settings)):
                self._read("-n", "add", str(self._layout.accept), *rule.split(" "))
        except FirewallError as error:
            return str(error)
        return None if self._ipv6 else self._open_to_ipv6()

    def prepare(self) -> None:
        """Create what is missing, and replace what has changed.

        ipfw knows no transaction. The rules that make states stay. Those of the policy
        are added once more, under the number that is free, before the old ones are
        deleted, which is one step: each port that both protect is dropped and each
        grant is honoured at every moment between.
        """
        if self._settings.forwards:
            raise FirewallError(
                "ipfw cannot forward ports", "take the forwards out, or use nftables"
            )
        rules = self._rules()
        self._check_numbers(rules)
        self.sweep()
        if any(rule.disabled for rule in self._ours(rules)):
            self._change("set", "enable", str(SET))
        rules = self._rules()
        # Without `guard`, `accept` would let in what no grant leads to it.
        self._renew(self._layout.guard, render_guard(self._settings), rules)
        self._renew(self._layout.accept, render_accept(self._settings), rules)
        self._move_grants(rules)
        self._renew_policy(rules)
        stale = [rule for rule in self._ours(rules) if self._is_stale(rule)]
        self._delete(rule.number for rule in self._in_order(stale))

    def hold(self, seconds: int) -> None:
        """Do nothing: `holds` says so, and the granter ends a trial by itself."""

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""
        if grant.width not in self.widths:
            raise FirewallError(f"ipfw cannot grant {grant.width.label}")
        if len(grant.address) != 4 and not self._ipv6:
            raise FirewallError(_NO_IPV6)
        end = ceil(self._clock() + check_seconds(seconds))
        if end > MAX_END:
            raise FirewallError(f"a rule of ipfw cannot hold {end}")
        rules = self._rules()
        if not self._has(rules, self._layout.accept, render_accept(self._settings)):
            raise FirewallError("the rules of ipfw are not in place")
        old = [one for one in self._grant_rules(rules) if one.grant == grant]
        new = (max([end, *(one.end for one in old)]), check_user(user))
        if new not in {(one.end, one.user) for one in old}:
            # First the new rule: at no moment is there none.
            self._add_grant(GrantRule(0, grant, *new), rules, replaces=bool(old))
            self._delete(one.number for one in old)

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""
        there = self._grant_rules(self._rules())
        self._delete(one.number for one in there if one.grant == grant)

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to the ports of grants; count them."""
        return end_all(addresses, self._settings.grant_ports)

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""
        found = [f"this ipfw is old: it can hold {MAX_GRANTS} grants at a time"]
        for switch in _SWITCHES if self._ipv6 else _SWITCHES[:1]:
            with suppress(FirewallError):
                if run("sysctl", "-n", switch).strip() == b"0":
                    found.append(f"{switch} is 0: no packet meets any rule of ipfw")
        if not self._ipv6:
            reason = self._open_to_ipv6() or _NO_IPV6
            found.append(f"{reason}; neighbours may use it to reach protected ports")
        rules = self._rules()
        mine = self._ours(rules)
        for rule in rules:
            if rule in mine or rule.disabled or rule.number >= self._layout.after:
                continue
            decides = rule.text.split(" ")[0] in {"deny", "reject", "reset", "unreach"}
            # Our states have no names: it would take a bare SYN for a part of one.
            asks = {"check-state", "keep-state", "limit"} & set(rule.text.split(" "))
            if decides or asks:
                found.append(f"ipfw: rule {rule.number} comes before ours: {rule.text}")
        return found

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""
        now = self._clock()
        there = sorted(self._grant_rules(self._rules()), key=lambda one: one.end)
        # Of several rules for one grant, the one that ends last.
        live = {
            one.grant: ActiveGrant(one.grant, int(one.end - now), one.user)
            for one in there
            if one.end > now
        }
        return list(live.values())

    def repair(self) -> bool:
        """See that packets still reach our rules; tell whether that took mending."""
        if self.in_place():
            return False
        self.prepare()
        return True

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""
        rules = self._rules()
        wanted = labels_of(self._policy())
        policies = [self._labels(rules, number) for number in self._layout.policies]
        return (
            not any(rule.disabled for rule in self._ours(rules))
            and self._has(rules, self._layout.guard, render_guard(self._settings))
            and self._has(rules, self._layout.accept, render_accept(self._settings))
            and sorted(policies) == [[], wanted]
        )

    def sweep(self) -> float | None:
        """Delete what has expired; return the time to come again, or None.

        If the clock was set back, the end of a grant is later by as much.
        """
        now = self._clock()
        there = self._grant_rules(self._rules())
        over = [one.number for one in there if one.end <= now]
        attempt_all(partial(self._delete, [number]) for number in over)
        return min((one.end for one in there if one.end > now), default=None)

    def remove(self) -> None:
        """Leave nothing behind: no rule."""
        mine = self._in_order(self._ours(self._rules()))
        numbers = dict.fromkeys(rule.number for rule in mine)
        steps: list[Callable[[], None]]
        steps = [partial(self._delete, [number]) for number in numbers]
        attempt_all(steps)

    def _policy(self) -> list[str]:
        return render_policy(self._settings, ipv6=self._ipv6)

    def _check_numbers(self, rules: list[Rule]) -> None:
        """See that what we delete by its number may be deleted."""
        found = ours(rules, self._settings.name)
        for rule in rules:
            place = self._layout.place(rule.number)
            if not place:
                continue
            groups = {group for one, group in found.get(rule.number, []) if one == rule}
            if not groups:
                raise FirewallError(
                    f"ipfw has a rule {rule.number} that is not ours",
                    "set ipfw_rule to where 95 numbers are free",
                )
            if groups != {place} or (place == GRANT and self._leads_astray(rule)):
                raise FirewallError(
                    "the rules from ipfw_rule on would overlap with our present ones",
                    "move ipfw_rule by 95 at least",
                )

    def _leads_astray(self, rule: Rule) -> bool:
        """Tell whether `rule` is a grant that does not lead to `accept`."""
        return rule.text.split(" ")[:2] != ["skipto", str(self._layout.accept)]

    def _move_grants(self, rules: list[Rule]) -> None:
        """Grant once more, here, what is granted by rules at numbers of before."""
        there = self._grant_rules(rules)
        here = {one.grant for one in there if one.number in self._layout.grants}
        for one in there:
            if one.number not in self._layout.grants and one.grant not in here:
                self._add_grant(one, self._rules(), replaces=False)

    def _add_grant(self, new: GrantRule, rules: list[Rule], *, replaces: bool) -> None:
        taken = {rule.number for rule in rules}
        free = [number for number in self._layout.grants if number not in taken]
        # One number stays free, for a grant that takes over from itself.
        if len(free) < 2 - replaces:
            raise FirewallError(
                f"ipfw holds {MAX_GRANTS} grants, and there can be no more",
                "grant for a shorter time",
            )
        rule = render_grant(self._settings, new)
        self._change("add", str(free[0]), "set", str(SET), *rule.split(" "))

    def _renew(self, number: int, wanted: list[str], rules: list[Rule]) -> None:
        """Have the rules `wanted` at `number`. They differ only after an upgrade."""
        if not self._has(rules, number, wanted):
            self._delete(rule.number for rule in rules if rule.number == number)
            self._load(render_file(number, wanted))

    def _renew_policy(self, rules: list[Rule]) -> None:
        wanted = self._policy()
        first, second = self._layout.policies
        for number in (first, second):
            if self._has(rules, number, wanted):
                break
        else:
            self._let_sessions_go_on(rules)
            # What a crash left half-done makes room. What is whole stays until then.
            number = second if is_complete(self._labels(rules, first)) else first
            self._delete(rule.number for rule in rules if rule.number == number)
            try:
                self._load(render_file(number, wanted))
            except FirewallError:
                with suppress(FirewallError):
                    self._delete([number])
                raise
        other = first if number == second else second
        self._delete(rule.number for rule in rules if rule.number == other)

    def _let_sessions_go_on(self, rules: list[Rule]) -> None:
        """Let the connections be that have no state of ours, for they are older.

        This is a courtesy to those who are logged in: where there is no netstat of
        FreeBSD 11 or later, the ports are protected all the same.
        """
        with suppress(FirewallError):
            number = self._layout.older
            present = {rule.comment for rule in rules if rule.number == number}
            sessions = established(self._settings.dropped)
            wanted = render_older(self._settings.name, sessions)
            new = [
                rule
                for rule, label in zip(wanted, labels_of(wanted), strict=True)
                if label not in present
            ]
            self._load(render_file(number, new[: MAX_OLDER - len(present)]))

    def _open_to_ipv6(self) -> str | None:
        """Say by which address a protected port would be open, or None if by none."""
        try:
            addresses = parse_ifconfig(run("ifconfig", "-a").decode(errors="replace"))
        except (FirewallError, ValueError):
            return f"{_NO_IPV6}, and ifconfig does not tell whether this host uses it"
        for address in addresses:
            if not (address.is_link_local or address.is_loopback):
                return (
                    f"{_NO_IPV6}, and this host has {address}: turn IPv6 off "
                    "(on macOS: networksetup -setv6off SERVICE), or use pf"
                )
        return None

    @cached_property
    def _ipv6(self) -> bool:
        """Whether this ipfw judges IPv6. That of macOS takes `ip6` for no protocol."""
        words = ("count", "ip6", "from", "any", "to", "any")
        try:
            self._read("-n", "add", str(self._layout.accept), *words)
        except ProgramError:
            return False
        return True

    def _is_stale(self, rule: Rule) -> bool:
        return not self._layout.place(rule.number)

    def _in_order(self, rules: list[Rule]) -> list[Rule]:
        """Return `rules` of ours in the order to delete: what guards `accept` last."""
        order = [POLICY, OLDER, GRANT, ACCEPT, GUARD]
        found = ours(rules, self._settings.name)
        pairs = [pair for pairs in found.values() for pair in pairs]
        return [
            rule for rule, _ in sorted(pairs, key=lambda pair: order.index(pair[1]))
        ]

    def _ours(self, rules: list[Rule]) -> list[Rule]:
        found = ours(rules, self._settings.name).values()
        return [rule for pairs in found for rule, _ in pairs]

    def _grant_rules(self, rules: list[Rule]) -> list[GrantRule]:
        return parse_grants(rules, self._settings.name)

    def _labels(self, rules: list[Rule], number: int) -> list[str]:
        """Return the labels of our rules at `number` that packets meet."""
        there = ours(rules, self._settings.name).get(number, [])
        return [label_of(rule) for rule, _ in there if not rule.disabled]

    def _has(self, rules: list[Rule], number: int, wanted: list[str]) -> bool:
        return self._labels(rules, number) == labels_of(wanted)

    def _delete(self, numbers: Iterable[int]) -> None:
        """Delete the rules at `numbers`. It knows no `set N delete`: all of each."""
        for number in dict.fromkeys(numbers):
            self._change("delete", str(number))

    def _load(self, text: str) -> None:
        if text:
            run(self._program, "-q", "/dev/stdin", stdin=text.encode())

    def _rules(self) -> list[Rule]:
        return parse_rules(self._read("-S", "list"))

    def _read(self, *words: str) -> str:
        return run(self._program, *words).decode(errors="replace")

    def _change(self, *words: str) -> None:
        run(self._program, "-q", *words)
