"""The rules for ports of this host that lead to other hosts. Pure.

The first packet of a granted connection is sent on to the inner host in `prerouting`,
where a grant for one connection is used up. Which connections we sent there is kept for
a while in the sets `led4` and `led6`, so that `forward` can tell them from those that
others send to the same place. Packets of strangers stay, and meet the drop of `input`.

Only the first packet of a connection comes to `prerouting`. If the inner host has been
silent for longer than we keep that, who still repeats it is known by a grant alone.
"""

from ipaddress import ip_address
from itertools import chain as chained
from typing import Final

from . import Forward, Settings, Width
from .nftables_render import (
    FIRST,
    PRIORITY,
    WHOLE,
    Chain,
    Hook,
    always_matches,
    clear_mark,
    lasting_matches,
    once_matches,
    render_networks,
    render_ports,
    set_mark,
)
from .nftables_sets import FAMILIES, VERSIONS, leads

TO_PRIORITY: Final = -110
FROM_PRIORITY: Final = 90
"""Just before everybody's translation (-100 and 100): the first one counts."""


def forward_chains(settings: Settings, widths: frozenset[Width]) -> list[Chain]:
    """Return the chains for forwarded packets: none if nothing is forwarded."""
    if not settings.forwards:
        return []
    versions = [version for version in VERSIONS if leads(settings, version)]
    translation = ["fib daddr type != local accept"]
    for version in versions:
        translation += _translation(settings, widths, version)
    hidden = [
        f"{_path(one)} {_led(one)} masquerade"
        for one in settings.forwards
        if one.masquerade
    ]
    # A chain has to be there before a rule leads to it.
    return [
        *(Chain(f"lead{version}", [_lead(settings, version)]) for version in versions),
        Chain("prerouting", translation, Hook("nat", "prerouting", TO_PRIORITY)),
        Chain(
            "forward", _forward(settings, widths), Hook("filter", "forward", PRIORITY)
        ),
        *(
            Chain("postrouting", hidden, Hook("nat", "postrouting", FROM_PRIORITY))
            for _ in hidden[:1]
        ),
    ]


def _translation(
    settings: Settings, widths: frozenset[Width], version: int
) -> list[str]:
    """Return the rules that lead first packets of granted connections to other hosts.

    Once comes last: who may come in anyway uses nothing up.
    """
    ports = render_ports(one.port for one in _forwards(settings, version))
    return [
        f"meta l4proto . th dport {ports} {match} goto lead{version}"
        for match in chained(
            lasting_matches(version),
            always_matches(settings, version),
            once_matches(settings, widths, version),
        )
    ]


def _lead(settings: Settings, version: int) -> str:
    """Return the rule that leads to other hosts and keeps who was led."""
    family = FAMILIES[version]
    targets = ", ".join(
        f"{port.protocol} . {port.number} : {ip_address(address)} . {number}"
        for port, address, number, _ in _forwards(settings, version)
    )
    return (
        f"{_keep(version)} dnat {family} to meta l4proto . th dport map {{ {targets} }}"
    )


def _forward(settings: Settings, widths: frozenset[Width]) -> list[str]:
    """Return the rules for packets of those connections, in both directions.

    All of them are marked, not only the first: the rules of Docker let no answers pass
    but those of its own containers.
    """
    accept = f"{set_mark(settings)} accept"
    rules = [clear_mark(settings)]
    for forward in settings.forwards:
        path = _path(forward)
        # As in `input`: a connection that lingers lets no other begin in its place.
        whole = f"{WHOLE} " * (forward.port.protocol_name == "tcp")
        rules += [
            f"{path} {_led(forward)} {accept}",
            f"{path} {whole}ct state established {accept}",
            *(f"{path} {one} {accept}" for one in _granted(settings, widths, forward)),
            f"{_way_back(forward)} ct state established {accept}",
        ]
        if settings.own_drop:
            rules.append(f"{path} drop")
    return rules


def _granted(
    settings: Settings, widths: frozenset[Width], forward: Forward
) -> list[str]:
    """Return what matches who may begin a connection, in one that was sent there.

    Once comes last, behind what is established: who may pass anyway uses nothing up.
    """
    version = _version(forward)
    family = FAMILIES[version]
    address = f"{family} saddr . meta l4proto . ct original proto-dst"
    flow = f"{family} saddr . th sport . meta l4proto . ct original proto-dst"
    matches = [f"{address} @granted{version}", f"{flow} @flow{version}"]
    networks = render_networks(settings, version)
    if networks:
        matches.append(f"{family} saddr {networks}")
    if Width.ONCE in widths:
        first = f"{FIRST} " * (forward.port.protocol_name == "tcp")
        matches.append(
            f"{first}{address} @once{version} {_keep(version)}"
            f" delete @once{version} {{ {address} }}"
        )
    return matches


def _path(forward: Forward) -> str:
    """Return what matches the packets of clients on their way to the inner host."""
    return f"{_end(forward, 'd')} ct direction original {_origin(forward)}"


def _way_back(forward: Forward) -> str:
    """Return what matches the packets of the inner host on their way to clients."""
    return f"{_end(forward, 's')} ct direction reply {_origin(forward)}"


def _end(forward: Forward, side: str) -> str:
    """Return what matches the inner host; `side` is s for source, or d."""
    family = FAMILIES[_version(forward)]
    return (
        f"{family} {side}addr {ip_address(forward.address)}"
        f" {forward.port.protocol_name} {side}port {forward.number}"
    )


def _origin(forward: Forward) -> str:
    """Return what matches a connection that was begun to a port of this host."""
    return f"ct status dnat ct original proto-dst {forward.port.number}"


def _led(forward: Forward) -> str:
    """Return what matches the packets of connections that we have just sent there."""
    version = _version(forward)
    return f"{_connection(version)} @led{version}"


def _keep(version: int) -> str:
    """Return the statement by which we know them."""
    return f"add @led{version} {{ {_connection(version)} }}"


def _connection(version: int) -> str:
    return f"{FAMILIES[version]} saddr . th sport . meta l4proto"


def _forwards(settings: Settings, version: int) -> list[Forward]:
    return [one for one in settings.forwards if _version(one) == version]


def _version(forward: Forward) -> int:
    return ip_address(forward.address).version
