"""The rules that the nftables back end gives the kernel. Pure.

`nftables_sets` has what they look things up in, `nftables_forward` the rules for ports
that lead to other hosts.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import chain as chained
from typing import Any, Final, NamedTuple

from ..ports import Port
from . import ActiveGrant, Network, Settings, Width
from .nftables_sets import (
    FAMILIES,
    TRIAL,
    VERSIONS,
    render_kept,
    render_set,
    render_trial_set,
    sets,
)
from .tags import tags

PRIORITY: Final = -10
"""Just before everybody's filter chains (0), and after mangle (-150), whose rules may
set the mark: what we clear stays cleared, and what we set is still set for the others.
"""

TO_ADDRESS: Final = "saddr . meta l4proto . th dport"
TO_FLOW: Final = "saddr . th sport . meta l4proto . th dport"
"""What is looked up, without the family in front of it."""

WHOLE: Final = "tcp flags & (fin | syn | rst | ack) != syn"
FIRST: Final = "tcp flags & (fin | syn | rst | ack) == syn"

_DATA_BITS = 0xFFFFFFFF


class Hook(NamedTuple):
    """Where packets enter a base chain."""

    type: str
    name: str
    priority: int


class Chain(NamedTuple):
    """A chain of ours."""

    name: str
    rules: list[str]
    hook: Hook | None = None
    """Without one, it is for our own rules to go to."""

    @property
    def definition(self) -> str:
        """How it is created."""
        if self.hook is None:
            return self.name
        kind, hook, priority = self.hook
        return (
            f"{self.name} {{ type {kind} hook {hook} priority {priority};"
            " policy accept; }"
        )

    def is_like(self, listed: dict[str, Any]) -> bool:
        """Tell whether the chain that libnftables lists has the same hook."""
        if self.hook is None:
            return "hook" not in listed
        found = (listed.get("type"), listed.get("hook"), listed.get("prio"))
        return self.hook == found and listed.get("policy") == "accept"


def render_table(
    settings: Settings,
    widths: frozenset[Width],
    chains: Iterable[Chain],
    *,
    anew: bool,
    kept: Iterable[ActiveGrant] = (),
) -> str:
    """Create the table, or renew the rules of the one that is there and keep its sets.

    Args:
        settings: what to protect.
        widths: the kinds of grants that this kernel can enforce.
        chains: all that it has.
        anew: whether to delete the table that is there, and the grants in it.
        kept: grants that go into the new table.
    """
    table = f"inet {settings.name}"
    lines = [f"add table {table}"]
    if anew:
        lines += [f"delete table {table}", f"add table {table}"]
    lines += [render_set(table, one) for one in sets(settings, widths)]
    # Always made, so that it can be taken away whether it was there or not.
    lines.append(render_trial_set(settings.name))
    for chain in chains:
        lines += [
            f"add chain {table} {chain.definition}",
            f"flush chain {table} {chain.name}",
        ]
        comments = render_comments(settings.name, chain)
        for rule, comment in zip(chain.rules, comments, strict=True):
            lines.append(f'add rule {table} {chain.name} {rule} comment "{comment}"')
    if not settings.trial:
        lines.append(f"delete set {table} {TRIAL}")
    return "\n".join(lines) + "\n" + render_kept(settings.name, kept)


def render_comments(name: str, chain: Chain) -> list[str]:
    """Return the comments of our rules: by them we see that a chain is whole."""
    return tags(name, chain.rules)


def render_remove(name: str) -> str:
    """Delete the table, whether it is there or not."""
    return f"add table inet {name}\ndelete table inet {name}\n"


def input_chain(settings: Settings, widths: frozenset[Width]) -> Chain:
    """Return the chain for packets to this host.

    The input hook has no fragments to slip through: IPv4 is reassembled before it, and
    so is IPv6 as soon as a rule looks at `ct`. `meta l4proto`, `th dport` and so `tcp
    dport` look behind the extension headers of IPv6.
    """
    accept = f"{set_mark(settings)} accept"
    rules = [clear_mark(settings)]
    for version in VERSIONS:
        # Once comes last: who may come in anyway uses nothing up.
        matches = chained(
            lasting_matches(version),
            always_matches(settings, version),
            once_matches(settings, widths, version),
        )
        rules += [f"{match} {accept}" for match in matches]
    for protocol, ports in _by_protocol(settings.dropped):
        rules += _drop(protocol, ports)
    for protocol, ports in _by_protocol(settings.trial):
        # When the trial is over, the rest is as if it were not there.
        rules.append(f"{ports} meta l4proto . th dport != @{TRIAL} accept")
        rules += _drop(protocol, ports)
    if settings.own_drop:
        rules.append(f"udp dport {settings.knock_port} drop")
    return Chain("input", rules, Hook("filter", "input", PRIORITY))


def _by_protocol(ports: Iterable[Port]) -> list[tuple[str, str]]:
    """Return each protocol, with what matches the packets to its `ports`."""
    numbers: dict[str, set[int]] = {}
    for port in ports:
        numbers.setdefault(port.protocol_name, set()).add(port.number)
    return [
        (protocol, f"{protocol} dport {{ {', '.join(map(str, sorted(found)))} }}")
        for protocol, found in sorted(numbers.items())
    ]


def _drop(protocol: str, ports: str) -> list[str]:
    """Return the rules that drop what matches `ports`, but for what has begun."""
    # Not "related": that is what a helper (FTP, SIP) expects because of bytes that a
    # stranger sent, and it may name any port. ICMP errors are no tcp or udp. A bare SYN
    # is never part of a connection: conntrack takes one on the addresses and ports of a
    # connection that lingers for a part of it, and the server's socket, which has gone,
    # would take it for a new connection.
    whole = f"{WHOLE} " * (protocol == "tcp")
    return [f"{ports} {whole}ct state established accept", f"{ports} drop"]


def lasting_matches(version: int) -> list[str]:
    """Return what matches the packets of grants that a packet does not use up."""
    family = FAMILIES[version]
    return [
        f"{family} {TO_ADDRESS} @granted{version}",
        f"{family} {TO_FLOW} @flow{version}",
    ]


def always_matches(settings: Settings, version: int) -> list[str]:
    """Return what matches the packets of those who need no grant."""
    networks = render_networks(settings, version)
    if not networks:
        return []
    ports = render_ports({*settings.dropped, *settings.grant_ports})
    return [f"{FAMILIES[version]} saddr {networks} meta l4proto . th dport {ports}"]


def once_matches(
    settings: Settings, widths: frozenset[Width], version: int
) -> list[str]:
    """Return what matches the first packet of a connection, and uses the grant up.

    The same packet may come again for a while, in case the answer was lost: so may a
    second connection from the same source port. If the table of those that have begun
    is full, nothing matches. What the lookup takes (see `render_set`) is never given
    back, so the element is deleted only in order to be listed no more.
    """
    if Width.ONCE not in widths:
        return []
    family = FAMILIES[version]
    use_up = (
        f"{family} {TO_ADDRESS} @once{version}"
        f" add @begun{version} {{ {family} {TO_FLOW} }}"
        f" delete @once{version} {{ {family} {TO_ADDRESS} }}"
    )
    protocols = {port.protocol_name for port in settings.grant_ports}
    rules = [f"{family} {TO_FLOW} @begun{version}"]
    if "tcp" in protocols:
        rules.append(f"{FIRST} {use_up}")
    if "udp" in protocols:
        rules.append(f"meta l4proto 17 ct state != established {use_up}")
    return rules


def clear_mark(settings: Settings) -> str:
    """Return the rule that keeps the mark honest.

    Who marks packets elsewhere on this host must not be able to open foreign chains.
    """
    return f"meta mark set meta mark and {_DATA_BITS ^ settings.mark:#x}"


def set_mark(settings: Settings) -> str:
    """Return the statement that says "granted" to foreign chains."""
    return f"meta mark set meta mark or {settings.mark:#x}"


def render_networks(settings: Settings, version: int) -> str:
    """Return the set of those of `version` who need no grant, or nothing."""
    # Ranges that overlap are an error in a set.
    networks: Iterable[Network]
    if version == 4:
        four = [one for one in settings.always_allow if isinstance(one, IPv4Network)]
        networks = collapse_addresses(four)
    else:
        six = [one for one in settings.always_allow if isinstance(one, IPv6Network)]
        networks = collapse_addresses(six)
    text = ", ".join(map(str, networks))
    return f"{{ {text} }}" if text else ""


def render_ports(ports: Iterable[Port]) -> str:
    """Return a set of ports, each with its protocol."""
    pairs = (f"{port.protocol} . {port.number}" for port in sorted(set(ports)))
    return f"{{ {', '.join(pairs)} }}"
