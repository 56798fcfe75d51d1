"""Grants as rules of iptables that carry their own end, as text and back. Pure."""

from ipaddress import ip_address
from time import gmtime, strftime
from typing import Final, NamedTuple

from ..ports import parse_port
from . import FirewallError, Grant, Settings, Width
from .checks import check_user, check_width
from .iptables_hooks import Hook, forward_hook, input_hook, lead_hook
from .iptables_match import (
    first_to_port,
    forward_of,
    forwards_of,
    from_networks,
    led,
    through,
    to_port,
    to_ports,
    translation,
)

WIDTHS: Final = frozenset({Width.FLOW, Width.ADDRESS})
"""What can be such a rule: it cannot delete itself when it has matched."""


class TimedGrant(NamedTuple):
    """A grant that is a rule of its own, which carries its own end."""

    grant: Grant
    end: int
    """The first second, since 1970-01-01 UTC, in which it does not hold any more."""
    user: str = ""


def render_timed(settings: Settings, timed: TimedGrant) -> dict[Hook, str]:
    """Return the rules that are a grant, one for each chain that has one of them.

    Their comment says all that they stand for.
    """
    grant = timed.grant
    port, source_port = grant.port, grant.source_port
    source = f"-s {ip_address(grant.address)}"
    end = _end(settings.name, timed)
    forward = forward_of(settings, grant)
    if forward is None:
        packets = f"{source} {to_port(port, source_port)}"
        return {input_hook(settings): f"{packets} {end} -j ACCEPT"}
    path = f"{source} {through(forward, source_port)} -m conntrack{led(forward)}"
    begin = f"{source} {first_to_port(port, source_port)}"
    return {
        forward_hook(settings): f"{path} {end} -j ACCEPT",
        lead_hook(settings): f"{begin} {end} {translation(forward)}",
    }


def parse_timed(comment: str, name: str) -> TimedGrant | None:
    """Return the grant that the rule with this `comment` is, or None if it is none."""
    owner, *words = comment.split(" ")
    if owner != name or len(words) not in {4, 5}:
        return None
    port, address, end, of, *user = words
    try:
        grant = _grant(port, address, of)
        return TimedGrant(grant, int(end), check_user("".join(user)))
    except (ValueError, KeyError, FirewallError):
        return None


def always_accepting(settings: Settings, version: int) -> list[str]:
    """Return the rules that accept those who need no grant, to ports of this host."""
    return [
        f"{source} {packets} -j ACCEPT"
        for source in from_networks(settings, version)
        for packets in to_ports({*settings.dropped, *settings.grant_ports})
    ]


def always_leading(settings: Settings, version: int) -> list[str]:
    """Return the rules that send them on to inner hosts."""
    return [
        f"{source} {first_to_port(forward.port)} {translation(forward)}"
        for forward in forwards_of(settings, version)
        for source in from_networks(settings, version)
    ]


def always_passing(settings: Settings, version: int) -> list[str]:
    """Return the rules that accept them on their way there."""
    return [
        f"{source} {through(forward)} -m conntrack{led(forward)} -j ACCEPT"
        for forward in forwards_of(settings, version)
        for source in from_networks(settings, version)
    ]


def _end(name: str, timed: TimedGrant) -> str:
    """Return what matches until the end of a grant, and says all about it."""
    (address, port, width, source_port), end, user = timed
    # The second that --datestop names is the last in which the rule matches, in UTC.
    last = strftime("%Y-%m-%dT%H:%M:%S", gmtime(end - 1))
    of = f"{width.label}:{source_port}" if source_port else width.label
    words = [
        name,
        port,
        ip_address(address),
        end,
        of,
        *([check_user(user)] * bool(user)),
    ]
    comment = " ".join(map(str, words))
    return f'-m time --datestop {last} -m comment --comment "{comment}"'


def _grant(port: str, address: str, of: str) -> Grant:
    """Read a grant from the words for it.

    Raises:
        ValueError: they make no sense.
        FirewallError: they contradict each other.
    """
    label, _, source_port = of.partition(":")
    width = Width[label.upper()]
    grant = Grant(
        ip_address(address).packed, parse_port(port), width, int(source_port or 0)
    )
    check_width(grant, WIDTHS)
    return grant
