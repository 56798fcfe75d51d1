"""What the nftables back end tells the kernel, and how it reads the answer. Pure.

Protocols are numbers in sets: their names would need /etc/protocols. Every text is
built from the alphabet of `Settings.name`, numbers and addresses.
"""

from ipaddress import ip_address
from typing import Any, Final

from ..ports import Port
from . import ActiveGrant, Grant, Settings
from .checks import check_seconds

PRIORITY: Final = -10
"""Just before everybody's filter chains (0), and after mangle (-150), whose rules may
set the mark: what we clear stays cleared, and what we set is still set for the others.
"""

_VERSIONS = (4, 6)
_DATA_BITS = 0xFFFFFFFF


def render_table(settings: Settings, *, anew: bool) -> str:
    """Create the table, or renew the rules of the one that is there and keep its sets.

    Args:
        settings: what to protect.
        anew: whether to delete the table that is there, and the grants in it.
    """
    table = f"inet {settings.name}"
    hook = f"type filter hook input priority {PRIORITY}; policy accept;"
    lines = [f"add table {table}"]
    if anew:
        lines += [f"delete table {table}", f"add table {table}"]
    for version in _VERSIONS:
        # No element is for ever: one that was added without a timeout gets this one.
        lines.append(
            f"add set {table} granted{version} {{"
            f" type {' . '.join(set_type(version))}; flags timeout; timeout 15s; }}"
        )
    lines += [
        f"add chain {table} input {{ {hook} }}",
        f"flush chain {table} input",
    ]
    rules = render_rules(settings)
    for rule, comment in zip(rules, render_comments(settings), strict=True):
        lines.append(f'add rule {table} input {rule} comment "{comment}"')
    return "\n".join(lines) + "\n"


def render_rules(settings: Settings) -> list[str]:
    """Return the rules of our chain, in the order in which a packet meets them.

    The input hook has no fragments to slip through: IPv4 is reassembled before it, and
    so is IPv6 as soon as a rule looks at `ct`. `meta l4proto`, `th dport` and so `tcp
    dport` look behind the extension headers of IPv6.
    """
    # Who marks packets elsewhere on this host must not be able to open foreign chains.
    rules = [f"meta mark set meta mark and {_DATA_BITS ^ settings.mark:#x}"]
    rules += [
        f"{family} saddr . meta l4proto . th dport @granted{version}"
        f" meta mark set meta mark or {settings.mark:#x} accept"
        for version, family in ((4, "ip"), (6, "ip6"))
    ]
    for protocol in sorted({port.protocol_name for port in settings.protect}):
        numbers = sorted(
            {p.number for p in settings.protect if p.protocol_name == protocol}
        )
        ports = f"{protocol} dport {{ {', '.join(map(str, numbers))} }}"
        # Not "related": that is what a helper (FTP, SIP) expects because of bytes that
        # a stranger sent, and it may name any port. ICMP errors are no tcp or udp.
        # A bare SYN is never part of a connection: conntrack takes one on the addresses
        # and ports of a connection that lingers for a part of it, and the server's
        # socket, which has gone, would take it for a new connection.
        whole = "tcp flags & (fin | syn | rst | ack) != syn " * (protocol == "tcp")
        rules += [f"{ports} {whole}ct state established accept", f"{ports} drop"]
    rules.append(f"udp dport {settings.knock_port} drop")
    return rules


def render_comments(settings: Settings) -> list[str]:
    """Return the comments of our rules: by them we see that the chain is whole."""
    count = len(render_rules(settings))
    return [f"{settings.name} {number}/{count}" for number in range(1, count + 1)]


def render_query(name: str, grant: Grant) -> str:
    """Ask for an element. It is an error if there is none."""
    return f"get element inet {name} {_set_of(grant)} {{ {_key(grant)} }}\n"


def render_grant(name: str, grant: Grant, seconds: int) -> str:
    """Set the timeout of an element, whether it is there or not.

    Adding what is there changes nothing before Linux 6.12, and deleting what has just
    expired would fail: hence all three.
    """
    where = f"element inet {name} {_set_of(grant)}"
    full = f"{{ {_key(grant)} timeout {check_seconds(seconds)}s }}"
    return (
        f"add {where} {full}\ndelete {where} {{ {_key(grant)} }}\nadd {where} {full}\n"
    )


def render_revoke(name: str, grant: Grant) -> str:
    """Delete an element, whether it is there or not."""
    where = f"element inet {name} {_set_of(grant)}"
    return (
        f"add {where} {{ {_key(grant)} timeout 1s }}\n"
        f"delete {where} {{ {_key(grant)} }}\n"
    )


def render_remove(name: str) -> str:
    """Delete the table, whether it is there or not."""
    return f"add table inet {name}\ndelete table inet {name}\n"


def set_type(version: int) -> list[str]:
    """Return the types of which an element of the set for IP `version` consists."""
    return [f"ipv{version}_addr", "inet_proto", "inet_service"]


def parse_set(listed: dict[str, Any]) -> list[ActiveGrant]:
    """Return the grants in a set as libnftables lists it."""
    return [_parse_element(element) for element in listed.get("elem", [])]


def _parse_element(listed: dict[str, Any]) -> ActiveGrant:
    # An element that somebody else added to last for ever has no wrapper around it.
    element = listed.get("elem") or {"val": listed}
    address, protocol, number = element["val"]["concat"]
    grant = Grant(ip_address(address).packed, Port(protocol, number))
    return ActiveGrant(grant, element.get("expires", 0))


def _set_of(grant: Grant) -> str:
    return f"granted{ip_address(grant.address).version}"


def _key(grant: Grant) -> str:
    port = grant.port
    return f"{ip_address(grant.address)} . {port.protocol} . {port.number}"
