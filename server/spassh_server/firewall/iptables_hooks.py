"""The chains that we own, and the one rule in a chain of others that leads to each.

Ours come first there: only at the very top it is certain that nobody else decides
before us. Only chains of other instances of this program may come before, and the rules
that they have in chains of others, or two of them would take turns for ever. Pure.
"""

import re
from typing import Final, NamedTuple

from . import Settings
from .iptables_gate import is_gate
from .iptables_match import forwards_of
from .xtables import FILTER, INPUT, MANGLE, NAT, comment_of, same_rule

_LAST: Final = re.compile(r"([a-z0-9-]{1,20}) (\d+)/\2")
"""The comment of the last rule in any chain of ours."""

_FORWARD: Final = "-forward"
_SOURCE: Final = "-source"

SUFFIXES: Final = ("", _FORWARD, _SOURCE)
"""What the names of our chains end with. In small letters: no name ends like that."""


class Hook(NamedTuple):
    """A chain of ours, and whence packets come to it."""

    table: str
    base: str
    """The chain of others."""
    owner: str
    """`Settings.name`."""
    suffix: str = ""
    """One of SUFFIXES: tells chains of one table apart."""
    match: str = ""
    """Which packets concern us at all; all others are spared our rules."""

    @property
    def chain(self) -> str:
        """The name of our chain: at most 28 characters, as iptables wants it."""
        return self.owner.upper() + self.suffix

    @property
    def jump(self) -> str:
        """The rule that leads to our chain, without the command and the chain."""
        return f"{self.match}-j {self.chain}"


def input_hook(settings: Settings) -> Hook:
    """Return where packets to this host are judged."""
    return Hook(FILTER, INPUT, settings.name)


def forward_hook(settings: Settings) -> Hook:
    """Return where packets that were sent on to an inner host are judged."""
    match = "-m conntrack --ctstate DNAT "
    return Hook(FILTER, "FORWARD", settings.name, _FORWARD, match)


def lead_hook(settings: Settings) -> Hook:
    """Return where connections are sent on to inner hosts."""
    # A router sees packets to other hosts as well, to ports of these numbers.
    match = "-m addrtype --dst-type LOCAL "
    return Hook(NAT, "PREROUTING", settings.name, "", match)


def note_hook(settings: Settings) -> Hook:
    """Return where it is noted who may be sent on.

    Each packet comes here, not only the first one of a connection, and it still names
    the port that it asks for.
    """
    return lead_hook(settings)._replace(table=MANGLE)


def source_hook(settings: Settings) -> Hook:
    """Return where the client's address is hidden from an inner host."""
    match = "-m conntrack --ctstate DNAT "
    return Hook(NAT, "POSTROUTING", settings.name, _SOURCE, match)


def wanted_hooks(
    settings: Settings, version: int, *, notes: bool = False
) -> list[Hook]:
    """Return the chains for IP `version`, in the order in which they are made.

    Args:
        settings: what leads where.
        version: the IP version.
        notes: whether it is noted who may be sent on.
    """
    forwards = list(forwards_of(settings, version))
    hooks = [input_hook(settings)]
    if forwards:
        hooks.append(forward_hook(settings))
        if any(forward.masquerade for forward in forwards):
            hooks.append(source_hook(settings))
        if notes:
            hooks.append(note_hook(settings))
        hooks.append(lead_hook(settings))
    return hooks


def all_hooks(settings: Settings) -> list[Hook]:
    """Return all chains that there can be, in the order in which they are removed."""
    hooks = [lead_hook, note_hook, source_hook, forward_hook, input_hook]
    return [hook(settings) for hook in hooks]


def render_jump(hook: Hook, present: list[str]) -> list[str]:
    """Return what makes the chain of others, with the rules `present`, lead to us."""
    return [*render_unjump(hook, present), f"-I {hook.base} 1 {hook.jump}"]


def render_unjump(hook: Hook, present: list[str]) -> list[str]:
    """Return what takes our jumps out of a chain that has the rules `present`."""
    return [f"-D {hook.base} {hook.jump}" for rule in present if _is_jump(hook, rule)]


def chains_before(hook: Hook, present: list[str]) -> list[str] | None:
    """Return which chains come before ours in one that has the rules `present`.

    Returns:
        Their names, which may be those of other instances, or None if there is
        something else before us, or not just one jump to us.
    """
    if len(render_unjump(hook, present)) != 1:
        return None
    names: list[str] = []
    for rule in present:
        if _is_jump(hook, rule):
            return names
        if is_gate(hook.base, rule):
            continue
        name = rule.rpartition(" ")[2]
        owner = name.removesuffix(hook.suffix).lower()
        other = hook._replace(owner=owner)
        if other.chain != name or not _is_jump(other, rule):
            return None
        names.append(name)
    return None


def is_of_ours(hook: Hook, chain: str, rules: list[str]) -> bool:
    """Tell whether `chain`, with these `rules`, is that of another instance."""
    last = _LAST.fullmatch(comment_of(rules[-1])) if rules else None
    return last is not None and hook._replace(owner=last[1]).chain == chain


def _is_jump(hook: Hook, rule: str) -> bool:
    return same_rule(rule, f"-A {hook.base} {hook.jump}")
