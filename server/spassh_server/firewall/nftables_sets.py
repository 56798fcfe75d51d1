"""The sets of our table, and the grants in them, as text for nftables and back. Pure.

Protocols are numbers: their names would need /etc/protocols. Every text is built from
the alphabets of `Settings.name` and of user names, numbers and addresses.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from ..ports import Port
from . import ActiveGrant, Grant, Settings, Width
from .checks import check_seconds, check_user, check_width, is_user

VERSIONS: Final = (4, 6)
FAMILIES: Final = {4: "ip", 6: "ip6"}

BEGUN_SECONDS: Final = 10
"""How long the first packet of a connection may be repeated: a client repeats a SYN
after 1, 3 and 7 seconds.
"""

TRIAL: Final = "trial"
"""The set of the ports that are dropped for a while: see `Firewall.hold`."""

_NAMES: Final = {Width.FLOW: "flow", Width.ONCE: "once", Width.ADDRESS: "granted"}
_WIDTHS: Final = frozenset(_NAMES)


class Set(NamedTuple):
    """A set of our table."""

    name: str
    types: tuple[str, ...]
    """Of what an element consists."""
    seconds: int
    """How long an element stays if whoever adds it does not say."""
    width: Width | None = None
    """Whose grants it holds. Otherwise it is for our rules alone."""

    @property
    def is_dynamic(self) -> bool:
        """Whether rules add elements to it, or delete them."""
        return self.width in {Width.ONCE, None}

    @property
    def is_once(self) -> bool:
        """Whether an element matches a single packet."""
        return self.width == Width.ONCE


def sets(settings: Settings, widths: frozenset[Width]) -> list[Set]:
    """Return the sets that our rules need."""
    found = []
    for version in VERSIONS:
        address = f"ipv{version}_addr"
        port = ("inet_proto", "inet_service")
        flow = (address, "inet_service", *port)
        # No element is for ever: one that was added without a timeout gets this one.
        found += [
            Set(f"{_NAMES[width]}{version}", types, 15, width)
            for width, types in (
                (Width.ADDRESS, (address, *port)),
                (Width.FLOW, flow),
                (Width.ONCE, (address, *port)),
            )
            if width in widths
        ]
        if Width.ONCE in widths:
            found.append(Set(f"begun{version}", flow, BEGUN_SECONDS))
        if leads(settings, version):
            types = (address, "inet_service", "inet_proto")
            found.append(Set(f"led{version}", types, BEGUN_SECONDS))
    return found


def leads(settings: Settings, version: int) -> bool:
    """Tell whether there are forwards of IP `version`."""
    length = 4 if version == 4 else 16
    return any(len(forward.address) == length for forward in settings.forwards)


def render_set(table: str, wanted: Set) -> str:
    """Create a set, unless it is there."""
    size, dynamic = ("size 65535; ", ", dynamic") if wanted.is_dynamic else ("", "")
    # Of two first packets on two processors, both may find the element before either
    # deletes it. So it is a bucket with one token, which is taken under a lock.
    once = " limit rate 1/week burst 1 packets;" * wanted.is_once
    return (
        f"add set {table} {wanted.name} {{ type {' . '.join(wanted.types)};"
        f" {size}flags timeout{dynamic}; timeout {wanted.seconds}s;{once} }}"
    )


def render_trial_set(name: str) -> str:
    """Create the set of ports on trial, unless it is there. No element is for ever."""
    return (
        f"add set inet {name} {TRIAL} {{ type inet_proto . inet_service;"
        " flags timeout; timeout 1s; }"
    )


def render_hold(name: str, ports: Iterable[Port], seconds: int) -> str:
    """Have the ports in that set for `seconds` from now, whatever it has."""
    place = f"element inet {name} {TRIAL}"
    lines = []
    for port in ports:
        key = f"{port.protocol} . {port.number}"
        full = f"{{ {key} timeout {check_seconds(seconds)}s }}"
        # As for a grant that is extended.
        lines += [f"add {place} {full}", f"delete {place} {{ {key} }}"]
        lines.append(f"add {place} {full}")
    return "\n".join(lines) + "\n"


def is_as_wanted(listed: dict[str, Any], wanted: Set) -> bool:
    """Tell whether a set, as libnftables lists it, is like `wanted`."""
    flags = listed.get("flags", [])
    # Newer versions list "dynamic", and need no list for a single flag.
    flags = {flags} if isinstance(flags, str) else set(flags)
    return (
        listed.get("type") == list(wanted.types)
        and flags - {"dynamic"} == {"timeout"}
        and listed.get("timeout") == wanted.seconds
        and ("stmt" in listed) == wanted.is_once
    )


def set_of(grant: Grant) -> str:
    """Return the name of the set that `grant` is in."""
    return f"{_NAMES[grant.width]}{4 if len(grant.address) == 4 else 6}"


def render_grant(name: str, grant: Grant, seconds: int, user: str) -> str:
    """Add an element that is not there.

    Not as `render_extended` does it: a packet that looks it up in the very moment may
    meet the first element before it is deleted, and the second one lets in another.
    """
    return f"add {_place(name, grant)} {_element(grant, seconds, user)}\n"


def render_extended(name: str, grant: Grant, seconds: int, user: str) -> str:
    """Set the timeout of an element that is there, or was until just now.

    Adding what is there changes nothing before Linux 6.12, and deleting what has just
    expired would fail: hence all three.
    """
    place, key = _place(name, grant), _key(grant)
    full = _element(grant, seconds, user)
    return f"add {place} {full}\ndelete {place} {{ {key} }}\nadd {place} {full}\n"


def render_revoke(name: str, grant: Grant) -> str:
    """Delete an element that is there, or was until just now."""
    place, key = _place(name, grant), _key(grant)
    return f"add {place} {{ {key} timeout 1s }}\ndelete {place} {{ {key} }}\n"


def render_kept(name: str, active: Iterable[ActiveGrant]) -> str:
    """Add the grants to sets that have none."""
    return "".join(
        f"add {_place(name, grant)} {_element(grant, seconds, user)}\n"
        for grant, seconds, user in active
        if seconds > 0
    )


def parse_set(listed: dict[str, Any], width: Width) -> list[ActiveGrant]:
    """Return the grants in a set for `width` as libnftables lists it."""
    return [_parse_element(element, width) for element in listed.get("elem", [])]


def _parse_element(listed: dict[str, Any], width: Width) -> ActiveGrant:
    # An element that somebody else added to last for ever has no wrapper around it.
    element = listed.get("elem") or {"val": listed}
    address, *source, protocol, number = element["val"]["concat"]
    port = Port(protocol, number)
    grant = Grant(ip_address(address).packed, port, width, *source)
    comment = element.get("comment", "")
    user = comment if is_user(comment) else ""
    return ActiveGrant(grant, element.get("expires", 0), user)


def _place(name: str, grant: Grant) -> str:
    return f"element inet {name} {set_of(grant)}"


def _key(grant: Grant) -> str:
    check_width(grant, _WIDTHS)
    address, port, width, source_port = grant
    source = f"{source_port} . " if width == Width.FLOW else ""
    return f"{ip_address(address)} . {source}{port.protocol} . {port.number}"


def _element(grant: Grant, seconds: int, user: str) -> str:
    comment = f' comment "{check_user(user)}"' if user else ""
    return f"{{ {_key(grant)} timeout {check_seconds(seconds)}s{comment} }}"
