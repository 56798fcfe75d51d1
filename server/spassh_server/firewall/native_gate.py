"""Our rule at the top of a chain of nftables that belongs to others.

Commands are JSON, libnftables-json(5): in it, a chain may have any name.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from . import FirewallError, Settings
from .gate_tag import parse_any_tag, parse_tag, wanted_tag
from .libnftables import parse_listing
from .run import run

_REFUSED_HINT: Final = (
    "make that firewall give up the ownership of its table"
    " (firewalld.conf: NftablesTableOwner=no)"
)

# Statements by which, or behind which, a packet may meet its end.
_BLOCKING = {"drop", "reject", "jump", "goto", "vmap", "queue", "xt"}

Listed = dict[str, Any]
"""A chain or a rule as libnftables lists it."""


class NativeGate:
    """The rule in one base chain of nftables."""

    def __init__(self, chain: Listed, settings: Settings) -> None:
        self._chain = chain
        self._settings = settings

    @property
    def place(self) -> str:
        """The family, the table and the name of the chain."""
        return " ".join(_place(self._chain).values())

    def may_drop(self) -> bool:
        """Tell whether a packet can meet its end in the chain, as it is now."""
        return may_drop(self._chain, self._rules())

    def ensure(self) -> bool:
        """See that a chain that may drop begins with our rule; say if it did not."""
        return self._apply(self._wanted())

    def stands(self) -> bool:
        """Tell whether `ensure` has nothing to do. Changes nothing."""
        return not self._wanted()

    def check(self) -> None:
        """Have the kernel judge what `ensure` would do, without doing it.

        Raises:
            FirewallError: it would be refused.
        """
        self._apply(self._wanted(), "-c")

    def remove(self) -> None:
        """Take our rule away."""
        self._apply(render_removal(self._chain, self._rules(), self._settings.name))

    def delete(self, is_wanted: Callable[[Listed], bool]) -> None:
        """Delete the rules of the chain that are wanted, each by its handle."""
        wanted = filter(is_wanted, self._rules())
        self._apply([_deletion(self._chain, rule) for rule in wanted])

    def _rules(self) -> list[Listed]:
        chain = {key: self._chain[key] for key in ("family", "table", "name")}
        return parse_listing(_nft([{"list": {"chain": chain}}]), "rule")

    def _wanted(self) -> list[Listed]:
        rules = self._rules()
        if not may_drop(self._chain, rules):
            return []
        return render_repair(self._chain, rules, self._settings)

    def _apply(self, commands: list[Listed], *options: str) -> bool:
        if commands:
            try:
                _nft(commands, *options)
            except FirewallError as error:
                complaint = f"chain {self.place}: {error}"
                raise FirewallError(complaint, _REFUSED_HINT) from error
        return bool(commands)


def may_drop(chain: Listed, rules: list[Listed]) -> bool:
    """Tell whether a packet can meet its end in `chain` with these `rules`.

    The policy does not tell: that of firewalld is accept, and its last rule rejects.
    """
    return chain.get("policy") == "drop" or any(
        _BLOCKING & statement.keys() for rule in rules for statement in rule["expr"]
    )


def render_repair(
    chain: Listed, rules: list[Listed], settings: Settings
) -> list[Listed]:
    """Return what makes `chain` with these `rules` begin with our one rule.

    Only the rules of other instances may come before it.
    """
    ours = _find(rules, settings.name)
    if [rule["comment"] for rule in ours] == [wanted_tag(settings)]:
        before = rules[: rules.index(ours[0])]
        if all(map(_is_gate, before)):
            return []
    rule = {
        **_place(chain),
        "comment": wanted_tag(settings),
        "expr": _statements(settings.mark),
    }
    return [
        *render_removal(chain, rules, settings.name),
        {"insert": {"rule": rule}},
    ]


def render_removal(chain: Listed, rules: list[Listed], name: str) -> list[Listed]:
    """Return what takes our rules out of `chain` with these `rules`."""
    return [_deletion(chain, rule) for rule in _find(rules, name)]


def _deletion(chain: Listed, rule: Listed) -> Listed:
    return {"delete": {"rule": {**_place(chain), "handle": rule["handle"]}}}


def is_made_by_iptables(rule: Listed, mark: int) -> bool:
    """Tell whether `rule` is what iptables makes of ours. Whose it is, is not seen."""
    comment = {"xt": {"type": "match", "name": "comment"}}
    found = [one for one in rule["expr"] if one != comment and "counter" not in one]
    return comment in rule["expr"] and found == _statements(mark)


def _is_gate(rule: Listed) -> bool:
    """Tell whether `rule` is that of any instance."""
    _, mark = parse_any_tag(rule.get("comment", ""))
    return bool(mark) and rule["expr"] == _statements(mark)


def _statements(mark: int) -> list[Listed]:
    """Return what our rule does."""
    bit = {"&": [{"meta": {"key": "mark"}}, mark]}
    return [{"match": {"op": "==", "left": bit, "right": mark}}, {"accept": None}]


def _find(rules: list[Listed], name: str) -> list[Listed]:
    return [rule for rule in rules if parse_tag(rule.get("comment", ""), name)]


def _place(chain: Listed) -> dict[str, str]:
    return {
        "family": chain["family"],
        "table": chain["table"],
        "chain": chain["name"],
    }


def _nft(commands: list[Listed], *options: str) -> bytes:
    text = json.dumps({"nftables": commands})
    return run("nft", *options, "-j", "-f", "-", stdin=text.encode())
