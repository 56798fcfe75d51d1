"""Grants as elements of sets of ipset, and the rules that look into these. Pure.

The sets of an instance, for each IP version V:

* NAME-aV and NAME-oV: who may reach which port, any number of times or once.
* NAME-fV-tN, or -uN: which source ports of whom may reach the TCP or UDP port N. No set
  of ipset has two ports in an element, so there is one for each port. An element
  without our comment was not granted: a rule added it for the packets that follow.
"""

import re
from ipaddress import ip_address
from typing import Final

from ..addresses import is_among
from ..ports import Port
from . import ActiveGrant, Grant, Settings, Width
from .checks import check_seconds, check_user, is_user
from .iptables_match import (
    first_to_port,
    forwards_of,
    from_networks,
    led,
    through,
    to_port,
    translation,
)
from .timed_render import always_accepting

MAX_FLOW_PORTS: Final = 64
"""With more ports to grant, packets would meet too many rules, and the kernel sets."""

BEGUN_SECONDS: Final = 10
"""How long the first packet of a connection may be repeated: a client repeats a SYN
after 1, 3 and 7 seconds."""

_LETTERS = {Width.ADDRESS: "a", Width.ONCE: "o", Width.FLOW: "f"}
_WIDTHS = {letter: width for width, letter in _LETTERS.items()}
# The last of these is what sets were called before there were widths.
_SET = re.compile(
    r"(?P<name>[a-z0-9-]{1,20}?)-(?:(?P<lasting>[ao])?[46]|f[46]-(?P<flow>[tu]\d{1,5}))"
)
# ipset names protocols where it can, which needs /etc/protocols.
_PROTOCOLS = {"tcp": 6, "6": 6, "udp": 17, "17": 17}
_ELEMENT = re.compile(
    r"add (?P<set>\S+) (?P<address>[^ ,]+),(?P<protocol>\w+):(?P<port>\d+)"
    r' timeout (?P<seconds>\d+)(?P<granted> comment "granted(?: (?P<user>[^"]+))?")?'
)


def widths_of(settings: Settings) -> frozenset[Width]:
    """Return the widths that these sets can do."""
    narrow = len(settings.grant_ports) <= MAX_FLOW_PORTS
    return frozenset(Width if narrow else {Width.ADDRESS})


def set_names(settings: Settings, version: int) -> list[str]:
    """Return the names of the sets for IP `version`. None is longer than 31 bytes."""
    name = settings.name
    lasting = [f"{name}-{letter}{version}" for letter in ("a", "o")]
    return lasting + [_flow_set(name, version, port) for port in _flow_ports(settings)]


def is_set_name(name: str, text: str) -> bool:
    """Tell whether `text` is what a set of the instance `name` is or was called."""
    match = _SET.fullmatch(text)
    return match is not None and match["name"] == name


def render_sets(settings: Settings, versions: tuple[int, ...]) -> str:
    """Create our sets. An element that is added without a timeout gets one second."""
    families = {4: "inet", 6: "inet6"}
    return "".join(
        f"create {name} hash:ip,port family {families[version]} timeout 1 comment\n"
        for version in versions
        for name in set_names(settings, version)
    )


def render_element(name: str, grant: Grant) -> tuple[str, str]:
    """Return the set that `grant` belongs to, and the element that it is."""
    address = ip_address(grant.address)
    protocol = grant.port.protocol
    if grant.width == Width.FLOW:
        place = _flow_set(name, address.version, grant.port)
        return place, f"{address},{protocol}:{grant.source_port}"
    place = f"{name}-{_LETTERS[grant.width]}{address.version}"
    return place, f"{address},{protocol}:{grant.port.number}"


def render_options(seconds: int, user: str) -> tuple[str, ...]:
    """Return what else is said of an element: its end, and who was granted it."""
    comment = f"granted {check_user(user)}".rstrip()
    return ("timeout", str(check_seconds(seconds)), "comment", comment)


def parse_save(text: str) -> list[ActiveGrant]:
    """Return the grants in what `ipset save` wrote about sets of ours."""
    return [
        _parse_element(element, of)
        for element in map(_ELEMENT.fullmatch, text.splitlines())
        if element is not None
        and element["granted"]
        and (of := _SET.fullmatch(element["set"])) is not None
        and (of["lasting"] or of["flow"])
    ]


def has_flows(settings: Settings, grant: Grant) -> bool:
    """Tell whether packets of `grant` may have let others in that follow them."""
    return grant.width != Width.FLOW and grant.port in _flow_ports(settings)


def flow_set(name: str, grant: Grant) -> str:
    """Return the set in which these are then."""
    return _flow_set(name, 4 if len(grant.address) == 4 else 6, grant.port)


def render_forget(text: str, addresses: frozenset[bytes]) -> str:
    """Delete what rules added for `addresses`.

    Args:
        text: what `ipset save` wrote about a set of flows.
        addresses: those of clients, or the first one of a /64 for all of it.
    """
    return "".join(
        f"del {element['set']} {element['address']},{element['protocol']}:"
        f"{element['port']}\n"
        for element in map(_ELEMENT.fullmatch, text.splitlines())
        if element is not None
        and not element["granted"]
        and is_among(ip_address(element["address"]).packed, addresses)
    )


def accepting(settings: Settings, version: int) -> list[str]:
    """Return the rules that accept what may begin a connection to this host.

    Who may come in anyway uses nothing up.
    """
    name = settings.name
    rules = [
        f"-m set --match-set {name}-a{version} src,dst -j ACCEPT",
        *always_accepting(settings, version),
    ]
    elsewhere = {forward.port for forward in forwards_of(settings, version)}
    for port in _flow_ports(settings):
        if port not in elsewhere:
            flow = _flow_set(name, version, port)
            accept = f"{to_port(port)} -m set --match-set {flow} src,src -j ACCEPT"
            rules += [accept, *_use_up(name, version, port), accept]
    return rules


def noting(settings: Settings, version: int) -> list[str]:
    """Return the rules that note who may be sent on, in the set of the port's flows.

    The rules that such a packet meets later cannot see what it asked for. A packet that
    begins no connection, because the inner host was silent to an earlier one, comes
    here as well: a grant is for that one, too.
    """
    name = settings.name
    rules = []
    for forward in forwards_of(settings, version):
        port = forward.port
        flow = _flow_set(name, version, port)
        first = first_to_port(port)
        noted = f"{first} -m set --match-set {flow} src,src -j RETURN"
        note = _add(flow)
        address = f"{first} -m set --match-set {name}-a{version} src,dst"
        rules += [
            noted,
            *(f"{net} {first} {note}" for net in from_networks(settings, version)),
            f"{address} {note}",
            noted,
            *_use_up(name, version, port),
        ]
    return rules


def leading(settings: Settings, version: int) -> list[str]:
    """Return the rules that send connections of these on to inner hosts."""
    return [
        f"{first_to_port(forward.port)} -m set --match-set"
        f" {_flow_set(settings.name, version, forward.port)} src,src"
        f" {translation(forward)}"
        for forward in forwards_of(settings, version)
    ]


def passing(settings: Settings, version: int) -> list[str]:
    """Return the rules that accept the packets of these on their way there."""
    return [
        f"{through(forward)} -m conntrack{led(forward)} -m set --match-set"
        f" {_flow_set(settings.name, version, forward.port)} src,src -j ACCEPT"
        for forward in forwards_of(settings, version)
    ]


def _use_up(name: str, version: int, port: Port) -> list[str]:
    """Return the rules that make a grant for one connection one for its source port.

    The same packet may come again for a while, in case the answer was lost. If the set
    of flows is full, the packet is not accepted. Of two first packets that are here in
    the same microsecond, on two processors, both may find the grant.
    """
    once = f"{name}-o{version} src,dst"
    found = f"{first_to_port(port)} -m set --match-set {once}"
    return [
        f"{found} {_add(_flow_set(name, version, port))}",
        f"{found} -j SET --del-set {once}",
    ]


def _add(flow: str) -> str:
    """Return the target that lets the packets that follow into a set of flows."""
    return f"-j SET --add-set {flow} src,src --exist --timeout {BEGUN_SECONDS}"


def _flow_ports(settings: Settings) -> list[Port]:
    """Return the ports that have a set of flows: those of forwards in any case."""
    forwarded = {forward.port for forward in settings.forwards}
    narrow = Width.FLOW in widths_of(settings)
    return sorted(forwarded | set(settings.grant_ports if narrow else ()))


def _flow_set(name: str, version: int, port: Port) -> str:
    return f"{name}-f{version}-{port.protocol_name[0]}{port.number}"


def _parse_element(element: re.Match[str], of: re.Match[str]) -> ActiveGrant:
    """Read an element of the set whose name is `of`."""
    number = Port(_PROTOCOLS[element["protocol"]], int(element["port"]))
    address = ip_address(element["address"]).packed
    if of["flow"]:
        port = Port(number.protocol, int(of["flow"][1:]))
        grant = Grant(address, port, Width.FLOW, number.number)
    else:
        grant = Grant(address, number, _WIDTHS[of["lasting"]])
    user = element["user"] or ""
    return ActiveGrant(grant, int(element["seconds"]), user if is_user(user) else "")
