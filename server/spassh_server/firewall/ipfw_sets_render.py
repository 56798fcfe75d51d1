"""What an ipfw without tables of flows is told, and how its answer is read. Pure.

Our rules fill ninety-five numbers, and every packet meets them in this order:

    first ...    grant    a first packet that is granted goes straight to `accept`
    first + 90   older    packets of connections that are older than our rules
    first + 91   policy   always_allow, check-state, and the drops
    first + 92   policy   its next generation, while one takes over from the other
    first + 93   guard    leads all that comes this far around `accept`
    first + 94   accept   lets in what is granted, and keeps the states

A state dies with the rule that made it. So grants make none: the rule of a grant can be
deleted at its end, and what it let in goes on. Nor do grants look for states: those of
an old ipfw have no names, and one that lingers would let a bare SYN through.

The numbers are ours alone, for a rule is deleted by its number, whatever set it is in.
What has to be read again stands in comments, of 80 characters at most.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from zlib import crc32

from ..ports import Port
from . import Grant, Settings, Width
from .ipfw_render import SET, Rule
from .sessions import Session

GRANT: Final = "grant"
OLDER: Final = "older"
POLICY: Final = "policy"
GUARD: Final = "guard"
ACCEPT: Final = "accept"

MAX_GRANTS: Final = 89
"""Grants at a time: one number less than there are, for one that takes over."""

MAX_OLDER: Final = 500
"""Connections that are older than our rules and go on."""

MAX_END: Final = 0xFFFF_FFFF
"""The last second, since 1970-01-01 UTC, at which a grant may end."""

_MAX_COMMENT = 80
_CHECK = "check-state"

_WORDS: Final = {OLDER: 2, POLICY: 3, GUARD: 3, ACCEPT: 3}
"""The words of a comment after our name, for each group that it may name."""


class Layout(NamedTuple):
    """Where our rules stand."""

    grants: range
    older: int
    policies: tuple[int, int]
    guard: int
    accept: int
    after: int
    """The first number that is not ours."""

    def place(self, number: int) -> str:
        """Return the group that has `number`, or nothing if it is not one of ours."""
        places = {self.older: OLDER, self.guard: GUARD, self.accept: ACCEPT}
        places |= dict.fromkeys(self.policies, POLICY)
        return GRANT if number in self.grants else places.get(number, "")


class GrantRule(NamedTuple):
    """A grant that is a rule."""

    number: int
    grant: Grant
    end: int
    """The first second, since 1970-01-01 UTC, in which it does not hold any more."""
    user: str = ""


def layout(settings: Settings) -> Layout:
    """Return the numbers that `settings` gives to our rules."""
    first = settings.ipfw_rule
    older = first + MAX_GRANTS + 1
    policies = (older + 1, older + 2)
    return Layout(range(first, older), older, policies, older + 3, older + 4, older + 5)


def render_grant(settings: Settings, rule: GrantRule) -> str:
    """Return the rule that is a grant. `skipto` asks no state."""
    (protocol, number), grant = rule.grant.port, rule.grant
    name = Port(protocol, number).protocol_name
    source = f"{ip_address(grant.address)}"
    key = f"{grant.address.hex()}.{protocol}.{number}"
    if grant.width is Width.FLOW:
        source += f" {grant.source_port}"
        key += f".{grant.source_port}"
    comment = f"{settings.name} {key} {rule.end}"
    if rule.user and len(f"{comment} {rule.user}") <= _MAX_COMMENT:
        comment += f" {rule.user}"
    setup = " setup" * (name == "tcp")
    to = f"skipto {layout(settings).accept} {name} from {source} to me"
    return f"{to} dst-port {number} in{setup} // {comment}"


def parse_grants(rules: Iterable[Rule], name: str) -> list[GrantRule]:
    """Return those of `rules` that are grants of ours."""
    found = (_parse_grant(rule, name) for rule in rules)
    return [one for one in found if one is not None]


def render_older(name: str, sessions: Iterable[Session]) -> list[str]:
    """Return the rules that let `sessions` go on, and no others."""
    return [
        f"allow tcp from {ip_address(remote)} {remote_port} to me dst-port {local_port}"
        f" in established // {name} {OLDER} {remote.hex()}.{remote_port}.{local_port}"
        for (_, local_port), (remote, remote_port) in sessions
    ]


def render_policy(settings: Settings, *, ipv6: bool) -> list[str]:
    """Return the rules for what is not granted. They make no state.

    `to me ... in`: neither what is forwarded nor what we send is our affair. Fragments
    need no rule: they are dropped if their first one, which has the ports, is.
    """
    bodies = []
    for network in settings.always_allow:
        if isinstance(network, IPv6Network) and not ipv6:
            continue
        for port in settings.protect:
            protocol, number = port.protocol_name, port.number
            bodies += [
                f"allow {protocol} from {network} to me dst-port {number} in",
                f"allow {protocol} from me {number} to {network} out",
            ]
    tcp = [port for port in settings.dropped if port.protocol_name == "tcp"]
    bodies += [f"{_drop(port)} setup" for port in tcp]
    bodies += [
        # The same for ports that others drop: no first packet is part of a connection.
        f"skipto {layout(settings).after} tcp from any to me in setup",
        _CHECK,
    ]
    bodies += [_drop(port) for port in settings.dropped]
    if settings.own_drop:
        bodies.append(_drop(Port(17, settings.knock_port)))
    return _commented(settings.name, POLICY, bodies)


def render_guard(settings: Settings) -> list[str]:
    """Return the rule without which `accept` would let in everything."""
    around = f"skipto {layout(settings).after} ip from any to any"
    return _commented(settings.name, GUARD, [around])


def render_accept(settings: Settings) -> list[str]:
    """Return the rules that let in what grants lead to them, and make its states."""
    bodies = [
        "allow tcp from any to me in setup keep-state",
        "allow udp from any to me in keep-state",
    ]
    return _commented(settings.name, ACCEPT, bodies)


def ours(rules: Sequence[Rule], name: str) -> dict[int, list[tuple[Rule, str]]]:
    """Return those of `rules` that are ours, with their groups, for each number.

    An old ipfw takes a comment after check-state, and forgets it. Such a rule is ours
    where it stands between others of ours.
    """
    policies = {rule.number for rule in rules if group_of(rule, name) == POLICY}
    found: dict[int, list[tuple[Rule, str]]] = {}
    for rule in rules:
        group = group_of(rule, name)
        if label_of(rule) == _CHECK and rule.set == SET and rule.number in policies:
            group = POLICY
        if group:
            found.setdefault(rule.number, []).append((rule, group))
    return found


def group_of(rule: Rule, name: str) -> str:
    """Return the group that the comment of `rule` names, or nothing if not ours."""
    owner, *words = rule.comment.split(" ")
    if owner != name or rule.set != SET:
        return ""
    if len(words) == _WORDS.get(words[0] if words else ""):
        return words[0]
    return GRANT if _parse_grant(rule, name) is not None else ""


def label_of(rule: Rule) -> str:
    """Return what tells `rule` from others of ours: its comment, if it keeps one."""
    return rule.comment or rule.text


def labels_of(rules: Iterable[str]) -> list[str]:
    """Return what `label_of` does for rules that we rendered, once they are there."""
    return [rule.partition(" // ")[2] or rule for rule in rules]


def is_complete(labels: list[str]) -> bool:
    """Tell whether rules of ours with these labels are a policy that lacks none."""
    words = [label.split() for label in labels if label != _CHECK]
    places = [f"{place}/{len(words)}" for place in range(1, len(words) + 1)]
    digests = {digest for *_, digest in words}
    return (
        labels.count(_CHECK) == len(digests) == 1
        and [place for _, _, place, _ in words] == places
    )


def parse_ifconfig(text: str) -> list[IPv6Address]:
    """Return the IPv6 addresses in what `ifconfig -a` prints."""
    found = []
    for line in text.splitlines():
        match line.split():
            case ["inet6", address, *_]:
                found.append(IPv6Address(address.partition("%")[0]))
    return found


def _parse_grant(rule: Rule, name: str) -> GrantRule | None:
    match rule.comment.split(" "):
        case [owner, key, end, *user] if owner == name and rule.set == SET:
            grant = _parse_key(key.split("."))
            if grant is not None and end.isdecimal() and len(user) <= 1:
                return GrantRule(rule.number, grant, int(end), "".join(user))
    return None


def _parse_key(words: list[str]) -> Grant | None:
    if len(words) not in {3, 4}:
        return None
    try:
        address = bytes.fromhex(words[0])
        protocol, number, *source = map(int, words[1:])
    except ValueError:
        return None
    if len(address) not in {4, 16} or protocol not in {6, 17}:
        return None
    width = Width.FLOW if source else Width.ADDRESS
    return Grant(address, Port(protocol, number), width, *source)


def _drop(port: Port) -> str:
    return f"deny {port.protocol_name} from any to me dst-port {port.number} in"


def _commented(name: str, group: str, bodies: list[str]) -> list[str]:
    digest = crc32("\n".join(bodies).encode())
    total = len(bodies) - bodies.count(_CHECK)
    found, place = [], 0
    for body in bodies:
        place += body != _CHECK
        comment = f" // {name} {group} {place}/{total} {digest:08x}"
        found.append(body if body == _CHECK else body + comment)
    return found
