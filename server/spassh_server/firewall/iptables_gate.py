"""Our rule at the top of INPUT or FORWARD in an iptables that belongs to others."""

from contextlib import suppress
from typing import Any, Final

from . import FirewallError, Settings
from .gate_tag import parse_any_tag, parse_tag, render_tag
from .native_gate import NativeGate, is_made_by_iptables
from .xtables import Xtables, comment_of, same_rule

CHAINS: Final = {"input": "INPUT", "forward": "FORWARD"}
"""The chain of each hook that may have our rule."""


class IptablesGate:
    """The rule in one chain of one iptables or ip6tables."""

    def __init__(
        self, xtables: Xtables, chain: str, rules: list[str], settings: Settings
    ) -> None:
        """`rules` are those that `xtables` has in `chain`."""
        self._xtables = xtables
        self._chain = chain
        self._rules = rules
        self._settings = settings

    def ensure(self) -> bool:
        """See that the chain begins with our rule; return whether it did not."""
        lines = render_repair(self._chain, self._rules, self._settings)
        if lines:
            self._xtables.apply(lines)
        return bool(lines)

    @property
    def place(self) -> str:
        """The name of the chain, and whose it is."""
        return f"{self._chain} of {self._xtables.program}"

    def stands(self) -> bool:
        """Tell whether `ensure` has nothing to do. Changes nothing."""
        return not render_repair(self._chain, self._rules, self._settings)

    def check(self) -> None:
        """Do nothing: whoever can read these rules can write them."""

    def remove(self) -> None:
        """Take our rule away."""
        lines = render_removal(self._chain, self._rules, self._settings.name)
        if lines:
            self._xtables.apply(lines)


class UnlistedGate(NativeGate):
    """The rule in a chain of iptables with rules of nft, which iptables cannot list.

    So nft puts ours there. But it does not see the comments of iptables, and one that
    iptables has put there before is known to iptables alone.
    """

    def __init__(
        self, xtables: Xtables, chain: dict[str, Any], settings: Settings
    ) -> None:
        """`chain` is that of `xtables`, as libnftables lists it."""
        super().__init__(chain, settings)
        self._xtables = xtables

    def remove(self) -> None:
        """Take our rule away, whichever of the two has put it there."""
        super().remove()
        name, mark = self._settings.name, self._settings.mark
        # It is not every rule of nft that iptables gets past.
        with suppress(FirewallError):
            while any(is_made_by_iptables(rule, mark) for rule in self._rules()):
                rule = render_gate(name, mark)
                if not self._xtables.delete(self._chain["name"], rule):
                    break
        # What trusts our mark is ours, or would be of no use when we are gone.
        self.delete(lambda rule: is_made_by_iptables(rule, mark))


def render_gate(name: str, mark: int) -> str:
    """Return the rule, without the command and the chain."""
    return (
        f"-m mark --mark {mark:#x}/{mark:#x}"
        f" -m comment --comment {render_tag(name, mark)} -j ACCEPT"
    )


def is_gate(chain: str, rule: str) -> bool:
    """Tell whether `rule`, which is in `chain`, is that of any instance."""
    name, mark = parse_any_tag(comment_of(rule))
    return bool(mark) and same_rule(rule, f"-A {chain} {render_gate(name, mark)}")


def render_repair(chain: str, rules: list[str], settings: Settings) -> list[str]:
    """Return what makes `chain` with these `rules` begin with our one rule.

    Only the rules of other instances may come before it.
    """
    name, mark = settings.name, settings.mark
    found = _find(chain, rules, name)
    if [trusted for _, trusted in found] == [mark]:
        before = rules[: found[0][0]]
        if all(is_gate(chain, rule) for rule in before):
            return []
    removal = render_removal(chain, rules, name)
    return [*removal, f"-I {chain} 1 {render_gate(name, mark)}"]


def render_removal(chain: str, rules: list[str], name: str) -> list[str]:
    """Return what takes our rules out of `chain` with these `rules`."""
    found = _find(chain, rules, name)
    return [f"-D {chain} {render_gate(name, mark)}" for _, mark in found]


def _find(chain: str, rules: list[str], name: str) -> list[tuple[int, int]]:
    """Return position and mark of each rule of ours.

    A rule that somebody made out of ours, with our comment still in it, is not ours any
    more: what we delete, we delete by its exact text.
    """
    return [
        (position, mark)
        for position, rule in enumerate(rules)
        if (mark := parse_tag(comment_of(rule), name))
        and same_rule(rule, f"-A {chain} {render_gate(name, mark)}")
    ]
