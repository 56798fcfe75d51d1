"""The rules of our chains, as iptables-restore wants them. Pure.

Whatever has to be read again stands in the comments of our rules: how iptables prints
the rest is its own affair.
"""

from ipaddress import ip_address

from ..ports import Port
from . import Settings
from .iptables_hooks import Hook
from .iptables_match import (
    forwards_of,
    in_session,
    inner_port,
    led,
    through,
    to_port,
)
from .tags import tags
from .timed_render import NEVER, Held, during, parse_timed
from .xtables import comment_of

_ICMP = {4: "icmp", 6: "ipv6-icmp"}


def input_rules(
    settings: Settings, accepting: list[str], held: Held = NEVER
) -> list[str]:
    """Return the rules for packets to this host, in the order in which they are met.

    The input hook has no fragments to slip through: IPv4 is reassembled before it, and
    IPv6 because of `-m conntrack`. `-p` looks behind the extension headers of IPv6.

    Args:
        settings: what to protect.
        accepting: the rules that accept who may begin a connection.
        held: when the ports on trial are dropped.
    """
    rules = list(accepting)
    for port in sorted(settings.dropped):
        rules += _drop(port)
    for port in sorted(settings.trial):
        rules += _drop(port, f" {during(held)}")
    if settings.own_drop:
        rules.append(f"{to_port(Port(17, settings.knock_port))} -j DROP")
    return rules


def _drop(port: Port, when: str = "") -> list[str]:
    """Return the rules that drop packets to `port`, but for what has begun."""
    return [f"{in_session(port)}{when} -j ACCEPT", f"{to_port(port)}{when} -j DROP"]


def forward_rules(settings: Settings, version: int, accepting: list[str]) -> list[str]:
    """Return the rules for packets that were sent on, to other hosts than they named.

    Some of them are those of others, who send packets to the same hosts: hence the
    port that the client asked for.

    Args:
        settings: what leads where.
        version: the IP version.
        accepting: the rules that accept the first packets of what we sent there.
    """
    sessions, drops = [], []
    for forward in forwards_of(settings, version):
        inner, asked = ip_address(forward.address), forward.port.number
        port = inner_port(forward)
        protocol = port.protocol_name
        answer = f"-s {inner} -p {protocol} -m {protocol} --sport {port.number}"
        related = (
            f"-m conntrack --ctstate RELATED --ctproto {port.protocol}"
            f" --ctreplsrc {inner} --ctorigdstport {asked}"
        )
        sessions += [
            # What was let in goes on, whatever becomes of the grant, ...
            f"-d {inner} {in_session(port, led(forward))} -j ACCEPT",
            f"{answer} -m conntrack --ctorigdstport {asked} --ctdir REPLY -j ACCEPT",
            # ... and hears of packets that are too big and the like.
            f"-p {_ICMP[version]} {related} -j ACCEPT",
        ]
        if settings.own_drop:
            drops.append(f"{through(forward)} -m conntrack{led(forward)} -j DROP")
    return [*sessions, *accepting, *drops]


def source_rules(settings: Settings, version: int) -> list[str]:
    """Return the rules that hide the clients from inner hosts that want it so."""
    return [
        f"{through(forward)} -m conntrack{led(forward)} -j MASQUERADE"
        for forward in forwards_of(settings, version)
        if forward.masquerade
    ]


def numbered(name: str, rules: list[str]) -> list[str]:
    """Return `rules` with the comments by which we see that a chain is whole.

    A chain without any would not be known as ours.
    """
    rules = rules or ["-j RETURN"]
    return [
        f'-m comment --comment "{tag}" {rule}'
        for tag, rule in zip(tags(name, rules), rules, strict=True)
    ]


def render_chain(hook: Hook, rules: list[str]) -> list[str]:
    """Return what creates our chain, or empties it, and fills it with `rules`."""
    return [f":{hook.chain} - [0:0]", *(f"-A {hook.chain} {rule}" for rule in rules)]


def is_whole(name: str, present: list[str], wanted: list[str]) -> bool:
    """Tell whether our chain with the rules `present` has the `wanted` and no others.

    Rules that are grants do not count.
    """
    comments = [comment_of(rule) for rule in present]
    fixed = [text for text in comments if parse_timed(text, name) is None]
    return fixed == [comment_of(rule) for rule in wanted]
