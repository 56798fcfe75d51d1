"""Our rule at the top of INPUT in an iptables that belongs to others."""

from . import Settings
from .gate_tag import parse_tag, render_tag
from .xtables import INPUT, Xtables, comment_of, same_rule


class IptablesGate:
    """The rule in INPUT of one iptables or ip6tables."""

    def __init__(self, xtables: Xtables, rules: list[str], settings: Settings) -> None:
        """`rules` are those that `xtables` has in INPUT."""
        self._xtables = xtables
        self._rules = rules
        self._settings = settings

    def ensure(self) -> bool:
        """See that INPUT begins with our rule; return whether it did not."""
        lines = render_repair(self._rules, self._settings)
        if lines:
            self._xtables.apply(lines)
        return bool(lines)

    def remove(self) -> None:
        """Take our rule away."""
        lines = render_removal(self._rules, self._settings.name)
        if lines:
            self._xtables.apply(lines)


def render_gate(name: str, mark: int) -> str:
    """Return the rule, without the command and the chain."""
    return (
        f"-m mark --mark {mark:#x}/{mark:#x}"
        f" -m comment --comment {render_tag(name, mark)} -j ACCEPT"
    )


def render_repair(rules: list[str], settings: Settings) -> list[str]:
    """Return what makes INPUT with these `rules` begin with our one rule."""
    name, mark = settings.name, settings.mark
    if _find(rules, name) == [(0, mark)]:
        return []
    return [*render_removal(rules, name), f"-I {INPUT} 1 {render_gate(name, mark)}"]


def render_removal(rules: list[str], name: str) -> list[str]:
    """Return what takes our rules out of INPUT with these `rules`."""
    return [f"-D {INPUT} {render_gate(name, mark)}" for _, mark in _find(rules, name)]


def _find(rules: list[str], name: str) -> list[tuple[int, int]]:
    """Return position and mark of each rule of ours.

    A rule that somebody made out of ours, with our comment still in it, is not ours any
    more: what we delete, we delete by its exact text.
    """
    return [
        (position, mark)
        for position, rule in enumerate(rules)
        if (mark := parse_tag(comment_of(rule), name))
        and same_rule(rule, f"-A {INPUT} {render_gate(name, mark)}")
    ]
