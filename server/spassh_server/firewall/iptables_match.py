"""What our rules of iptables ask of a packet, as text. Pure."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address
from itertools import groupby
from typing import Final

from ..ports import Port
from . import Forward, Grant, Settings

_MULTIPORT: Final = 15
"""Ports that fit into one `-m multiport`."""


def to_port(port: Port, source_port: int = 0) -> str:
    """Return what matches the packets to `port`, from any source port if that is 0."""
    protocol = port.protocol_name
    source = f" --sport {source_port}" * bool(source_port)
    return f"-p {protocol} -m {protocol}{source} --dport {port.number}"


def to_ports(ports: Iterable[Port]) -> list[str]:
    """Return what matches the packets to any of `ports`: as few matches as can be."""
    found = []
    for protocol, same in groupby(sorted(ports), lambda port: port.protocol_name):
        numbers = [str(port.number) for port in same]
        for at in range(0, len(numbers), _MULTIPORT):
            some = ",".join(numbers[at : at + _MULTIPORT])
            found.append(f"-p {protocol} -m multiport --dports {some}")
    return found


def first_to_port(port: Port, source_port: int = 0) -> str:
    """Return what matches those of them that may begin a connection."""
    packets = to_port(port, source_port)
    if port.protocol_name == "tcp":
        return f"{packets} --syn"
    return f"{packets} -m conntrack ! --ctstate ESTABLISHED"


def in_session(port: Port, more: str = "") -> str:
    """Return what matches packets to `port` that are part of a connection.

    Not RELATED: that is what a helper (FTP, SIP) expects because of bytes that a
    stranger sent, and it may name any port. ICMP errors are no tcp or udp.

    And no bare SYN, which is never part of a connection: conntrack takes one on the
    addresses and ports of a connection that lingers for a part of it, and the server's
    socket, which has gone, would take it for a new connection.

    Args:
        port: where to.
        more: what else is asked of the connection.
    """
    whole = " ! --syn" * (port.protocol_name == "tcp")
    return f"{to_port(port)}{whole} -m conntrack --ctstate ESTABLISHED{more}"


def from_networks(settings: Settings, version: int) -> list[str]:
    """Return what matches those of IP `version` who need no grant."""
    kind = IPv4Network if version == 4 else IPv6Network
    networks = [one for one in settings.always_allow if isinstance(one, kind)]
    # mypy: all are of one kind, which is what collapse_addresses asks for.
    collapsed = collapse_addresses(networks)  # type: ignore[type-var]
    return [f"-s {network}" for network in collapsed]


def through(forward: Forward, source_port: int = 0) -> str:
    """Return what matches the packets of clients that are on their way to its host."""
    packets = to_port(inner_port(forward), source_port)
    return f"-d {ip_address(forward.address)} {packets}"


def led(forward: Forward) -> str:
    """Return what else makes them those that came for its port, to `-m conntrack`."""
    return f" --ctorigdstport {forward.port.number} --ctdir ORIGINAL"


def inner_port(forward: Forward) -> Port:
    """Return the port of the inner host."""
    return Port(forward.port.protocol, forward.number)


def translation(forward: Forward) -> str:
    """Return the target that sends a connection to the inner host."""
    address = ip_address(forward.address)
    host = f"[{address}]" if address.version == 6 else f"{address}"
    return f"-j DNAT --to-destination {host}:{forward.number}"


def forwards_of(settings: Settings, version: int) -> Iterator[Forward]:
    """Yield the forwards for clients of IP `version`."""
    length = 4 if version == 4 else 16
    return (one for one in settings.forwards if len(one.address) == length)


def forward_of(settings: Settings, grant: Grant) -> Forward | None:
    """Return where the port of `grant` leads to, or None if it is one of this host."""
    for forward in settings.forwards:
        if (forward.port, len(forward.address)) == (grant.port, len(grant.address)):
            return forward
    return None
