"""What the ipfw back end tells ipfw, and how it reads the answer. Pure.

Our rules fill four numbers, and every packet meets them in this order:

    first      lead     a first packet that is granted goes straight to `accept`
    first + 1  policy   always_allow, check-state, and the drops
    first + 2  policy   its next generation, while one takes over from the other
    first + 3  accept   lets in what is granted, and keeps the states

A state dies with the rule that made it. So the rules that make states depend on nothing
but our name, and stay: grants are entries of the tables that they look into.

How ipfw prints a rule differs from version to version. What has to be read again stands
in the comments of our rules: their group, their place in it, and a digest of the group.
"""

from ipaddress import ip_address
from typing import Final, NamedTuple
from zlib import crc32

from ..ports import Port
from . import Grant, Settings, Width
from .sessions import Session

SET: Final = 30
"""The set that our rules are in: what is deleted is ours, whatever its number."""

KEYS: Final = {
    Width.ADDRESS: "src-ip,proto,dst-port",
    Width.FLOW: "src-ip,proto,src-port,dst-port",
}
"""What a table of grants looks at, for each width that there is a table for."""

LEAD: Final = "lead"
POLICY: Final = "policy"
ACCEPT: Final = "accept"

MAX_VALUE: Final = 0xFFFF_FFFF
"""The end of a grant is the value of its entry. ipfw takes more modulo 2**32."""

_PROTOCOLS = ("tcp", "udp")
_DISABLED = "# DISABLED "


class Rule(NamedTuple):
    """A rule as `ipfw -S list` shows it."""

    number: int
    set: int
    text: str
    """Without number, set and comment."""
    comment: str
    disabled: bool


class Layout(NamedTuple):
    """Where our rules stand."""

    lead: int
    policies: tuple[int, int]
    accept: int
    after: int
    """The first number that is not ours."""


def layout(settings: Settings) -> Layout:
    """Return the numbers that `settings` gives to our rules."""
    first = settings.ipfw_rule
    return Layout(first, (first + 1, first + 2), first + 3, first + 4)


def table_name(name: str, width: Width) -> str:
    """Return the name of the table that holds the grants of `width`."""
    return f"{name}-{width.label}"


def state_name(name: str) -> str:
    """Return what our states are called: not "any" or "default", which mean more."""
    return f":{name}-granted"


def older_name(name: str) -> str:
    """Return the name of the table of the connections that are older than our rules."""
    return f"{name}-older"


def render_tables(name: str) -> dict[str, str]:
    """Return the names of our tables, each with its type."""
    tables = {table_name(name, width): f"flow:{keys}" for width, keys in KEYS.items()}
    return tables | {older_name(name): f"flow:{KEYS[Width.FLOW]}"}


def render_lead(settings: Settings) -> list[str]:
    """Return the rules that part what is granted from all other first packets.

    `skipto` asks no state. A rule with keep-state would: it would take a bare SYN for a
    part of any connection that lingers on the same addresses and ports, and so let the
    client whose grant is over begin anew.
    """
    accept = layout(settings).accept
    bodies = [
        f"skipto {accept} {match}{' setup' * (protocol == 'tcp')}"
        for match, protocol in _granted(settings.name)
    ]
    return _commented(settings.name, LEAD, bodies)


def render_policy(settings: Settings) -> list[str]:
    """Return the rules for what is not granted. They keep no state.

    `to me ... in`: neither what is forwarded nor what we send is our affair. Fragments
    need no rule: they are dropped if their first one, which has the ports, is.
    """
    name = settings.name
    bodies = []
    for network in settings.always_allow:
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
        # It has our name: the states of other rules are theirs to look up.
        f"check-state {state_name(name)}",
        f"allow tcp from any to me flow table({older_name(name)}) in established",
    ]
    bodies += [_drop(port) for port in settings.dropped]
    if settings.own_drop:
        bodies.append(_drop(Port(17, settings.knock_port)))
    return _commented(name, POLICY, bodies)


def render_accept(settings: Settings) -> list[str]:
    """Return the rules that let in what is granted, and make its states."""
    state = state_name(settings.name)
    bodies = [
        f"allow {match}{' setup' * (protocol == 'tcp')} keep-state {state}"
        for match, protocol in _granted(settings.name)
    ]
    return _commented(settings.name, ACCEPT, bodies)


def render_file(number: int, rules: list[str]) -> str:
    """Return what `ipfw /dev/stdin` reads to add `rules`."""
    return "".join(f"add {number} set {SET} {rule}\n" for rule in rules)


def render_older(name: str, sessions: list[Session]) -> str:
    """Return what `ipfw /dev/stdin` reads to let `sessions` go on, and no others."""
    table = older_name(name)
    lines = [f"table {table} flush"]
    for (_, local_port), (remote, remote_port) in sessions:
        key = f"{ip_address(remote)},6,{remote_port},{local_port}"
        lines.append(f"table {table} add {key} 1")
    return "\n".join(lines) + "\n"


def render_key(grant: Grant) -> str:
    """Return the key that `grant` has in the table of its width."""
    protocol, number = grant.port
    words = [str(ip_address(grant.address)), str(protocol)]
    if grant.width is Width.FLOW:
        words.append(str(grant.source_port))
    return ",".join([*words, str(number)])


def parse_table(text: str, width: Width) -> dict[Grant, int]:
    """Return the grants that `ipfw table NAME list` shows, each with its end.

    What is no grant is not ours to judge: without a value there is 0, long over.
    """
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        grant = _parse_key(key, width)
        if grant is not None and value.strip().isdecimal():
            found[grant] = int(value)
    return found


def parse_rules(text: str) -> list[Rule]:
    """Return the rules that `ipfw -S list` shows."""
    found = []
    for line in text.splitlines():
        rule, _, comment = line.removeprefix(_DISABLED).partition(" // ")
        words = rule.split()
        if len(words) < 3 or words[1] != "set" or not words[0].isdecimal():
            continue
        found.append(
            Rule(
                int(words[0]),
                int(words[2]),
                " ".join(words[3:]),
                comment.strip(),
                line.startswith(_DISABLED),
            )
        )
    return found


def group_of(rule: Rule, name: str) -> str:
    """Return the group that `rule` is of, or nothing if it is not ours."""
    match rule.comment.split():
        case [owner, group, _, _] if owner == name and rule.set == SET:
            return group if group in {LEAD, POLICY, ACCEPT} else ""
    return ""


def is_complete(comments: list[str]) -> bool:
    """Tell whether rules of ours with these comments are a group that lacks none."""
    words = [comment.split() for comment in comments]
    places = [f"{place}/{len(words)}" for place in range(1, len(words) + 1)]
    digests = {digest for *_, digest in words}
    return len(digests) == 1 and [place for _, _, place, _ in words] == places


def comment_of(rule: str) -> str:
    """Return the comment of a rule that we rendered."""
    return rule.rpartition(" // ")[2]


def _granted(name: str) -> list[tuple[str, str]]:
    """Return what matches a granted packet, with its protocol, for each table."""
    return [
        (f"{protocol} from any to me flow table({table}) in", protocol)
        for table in (table_name(name, width) for width in KEYS)
        for protocol in _PROTOCOLS
    ]


def _drop(port: Port) -> str:
    return f"deny {port.protocol_name} from any to me dst-port {port.number} in"


def _commented(name: str, group: str, bodies: list[str]) -> list[str]:
    digest = crc32("\n".join(bodies).encode())
    return [
        f"{body} // {name} {group} {place}/{len(bodies)} {digest:08x}"
        for place, body in enumerate(bodies, 1)
    ]


def _parse_key(key: str, width: Width) -> Grant | None:
    words = key.split(",")
    if len(words) != len(KEYS[width].split(",")):
        return None
    try:
        address = ip_address(words[0]).packed
        protocol, *source, number = map(int, words[1:])
    except ValueError:
        return None
    if protocol not in {6, 17}:
        return None
    return Grant(address, Port(protocol, number), width, *source)
