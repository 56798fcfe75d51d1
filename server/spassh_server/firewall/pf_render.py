"""What the pf back end tells pfctl, and how it reads the answer. Pure.

It is the dialect of FreeBSD. How pfctl prints a rule differs from version to version,
and it gives ports their names: what has to be read again stands in labels.

A table of pf holds addresses and nothing else. So the ends of grants are the labels of
rules that no packet meets: those of an anchor that no ruleset refers to.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple
from zlib import crc32

from ..ports import Port, parse_port
from . import Grant, Settings

_ALWAYS = "always"


class Entry(NamedTuple):
    """A grant with its end."""

    grant: Grant
    end: int
    """The first second, since 1970-01-01 UTC, in which it does not hold any more."""
    user: str


def anchor_line(name: str) -> str:
    """Return the line of pf.conf that leads to our rules."""
    return f'anchor "{name}"'


def ends_anchor(name: str) -> str:
    """Return the anchor that keeps the ends of grants. `anchor "NAME"` spares it."""
    return f"{name}/ends"


def table_name(port: Port) -> str:
    """Return the table of those that may reach `port`, in our anchor."""
    return f"granted_{port.protocol_name}_{port.number}"


def render_ruleset(settings: Settings, entries: Iterable[Entry]) -> str:
    """Return all that our anchor has. pfctl loads it in one step.

    The entries are in it although tables outlive a reload: there is no moment without.
    """
    lines = []
    for port in _grant_ports(settings):
        granted = [one.grant for one in entries if one.grant.port == port]
        hosts = sorted(str(ip_address(one.address)) for one in granted)
        words = " ".join(["{", *hosts, "}"])
        lines.append(f"table <{table_name(port)}> persist {words}")
    if settings.always_allow:
        words = " ".join(["{", *map(str, settings.always_allow), "}"])
        lines.append(f"table <{_ALWAYS}> {words}")
    return "\n".join([*lines, *render_rules(settings)]) + "\n"


def render_rules(settings: Settings) -> list[str]:
    """Return the rules of our anchor, in the order in which a packet meets them.

    What has a state, which is each connection that was let in, meets no rule at all.
    """
    bodies = [_pass(table_name(port), port) for port in _grant_ports(settings)]
    if settings.always_allow:
        bodies += [_pass(_ALWAYS, port) for port in settings.protect]
    bodies += [_block(port) for port in settings.dropped]
    if settings.own_drop:
        bodies.append(_block(Port(17, settings.knock_port)))
    digest = crc32("\n".join([*bodies, *map(str, settings.always_allow)]).encode())
    return [
        f'{body} label "{settings.name} {place}/{len(bodies)} {digest:08x}"'
        for place, body in enumerate(bodies, 1)
    ]


def render_ends(entries: Iterable[Entry]) -> str:
    """Return what the anchor of the ends has."""
    lines = ["# the ends of grants: no packet comes here"]
    for grant, end, user in entries:
        label = f"{end} {grant.port} {user}".strip()
        lines.append(f'block in from {ip_address(grant.address)} label "{label}"')
    return "\n".join(lines) + "\n"


def parse_labels(text: str) -> list[str]:
    """Return the labels of the rules that `pfctl -s rules` shows."""
    return [_label(line) for line in text.splitlines() if line.strip()]


def parse_ends(text: str) -> list[Entry]:
    """Return the grants in the anchor of the ends. What is none is left out."""
    found = []
    for line in text.splitlines():
        _, _, rest = line.partition(" from ")
        match [*rest.split()[:1], *_label(line).split()]:
            case [address, end, port, *user] if end.isdecimal() and len(user) < 2:
                try:
                    grant = Grant(ip_address(address).packed, parse_port(port))
                except ValueError:
                    continue
                found.append(Entry(grant, int(end), "".join(user)))
    return found


def parse_table(text: str) -> set[bytes]:
    """Return the addresses in what `pfctl -T show` wrote: 4 or 16 bytes each."""
    found = set()
    for word in text.split():
        try:
            found.add(ip_address(word).packed)
        except ValueError:  # a network, or a mark of the verbose output
            continue
    return found


def blockers(name: str, main: str) -> list[str] | None:
    """Return the rules that drop for good before our anchor; None if there is no such.

    Args:
        name: that of our anchor.
        main: the main ruleset, as `pfctl -s rules` shows it.
    """
    found: list[str] = []
    for line in main.splitlines():
        words = line.split()
        if words[:2] == ["anchor", f'"{name}"']:
            return found
        if words[:1] == ["block"] and "quick" in words:
            found.append(line.strip())
    return None


def is_enabled(info: str) -> bool:
    """Tell whether pf is at work, from what `pfctl -s info` wrote."""
    return any(line.split()[:2] == ["Status:", "Enabled"] for line in info.splitlines())


def _grant_ports(settings: Settings) -> list[Port]:
    return sorted(set(settings.grant_ports))


def _pass(table: str, port: Port) -> str:
    protocol = port.protocol_name
    flags = "flags S/SA " if protocol == "tcp" else ""
    return (
        f"pass in quick proto {protocol} from <{table}> to (self)"
        f" port {port.number} {flags}keep state"
    )


def _block(port: Port) -> str:
    return (
        f"block drop in quick proto {port.protocol_name} from any to (self)"
        f" port {port.number}"
    )


def _label(line: str) -> str:
    return line.partition(' label "')[2].partition('"')[0]
