"""Grants as rules of iptables that carry their own time, as text and back. Pure."""

from ipaddress import ip_address
from math import ceil, floor
from time import gmtime, strftime
from typing import Final, NamedTuple

from spassh.protocol.limits import WINDOW_MS

from ..ports import parse_port
from . import FirewallError, Grant, Settings, Width
from .checks import check_seconds, check_user, check_width
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

SLACK_SECONDS: Final = WINDOW_MS // 1000
"""How long before it is given a grant holds already. NTP sets clocks back by a little,
and that must not end a grant. Who is set back by more than this has, before or after,
a clock with which no packet of a client with the right time is fresh."""


class TimedGrant(NamedTuple):
    """A grant that is a rule of its own, which carries its own beginning and end."""

    grant: Grant
    start: int
    """The first second, since 1970-01-01 UTC, in which it holds."""
    end: int
    """The first second, since 1970-01-01 UTC, in which it does not hold any more."""
    user: str = ""

    def holds(self, now: float) -> bool:
        """Tell whether the kernel lets it in at `now`."""
        return self.start <= now < self.end


class Held(NamedTuple):
    """When the ports on trial are dropped."""

    start: int
    """The first second, since 1970-01-01 UTC, in which they are."""
    end: int
    """The first second, since 1970-01-01 UTC, in which they are not any more."""


NEVER: Final = Held(0, 1)


def held_at(now: float, seconds: int) -> Held:
    """Return what drops the ports for `seconds` from `now` on.

    A clock that is set back beyond the slack ends it, and does not prolong it.
    """
    end = ceil(now + check_seconds(seconds))
    return Held(max(1, floor(now) - SLACK_SECONDS), end)


def during(held: Held) -> str:
    """Return what matches in that time. What has no such clock matches never."""
    return f"-m time --datestart {_date(held.start)} --datestop {_date(held.end - 1)}"


def given_at(now: float, grant: Grant, seconds: int, user: str) -> TimedGrant:
    """Return `grant` as it is given at `now` for `seconds`."""
    start = max(0, floor(now) - SLACK_SECONDS)
    return TimedGrant(grant, start, ceil(now + check_seconds(seconds)), user)


def render_timed(settings: Settings, timed: TimedGrant) -> dict[Hook, str]:
    """Return the rules that are a grant, one for each chain that has one of them.

    Their comment says all that they stand for.
    """
    grant = timed.grant
    port, source_port = grant.port, grant.source_port
    source = f"-s {ip_address(grant.address)}"
    when = _when(settings.name, timed)
    forward = forward_of(settings, grant)
    if forward is None:
        packets = f"{source} {to_port(port, source_port)}"
        return {input_hook(settings): f"{packets} {when} -j ACCEPT"}
    path = f"{source} {through(forward, source_port)} -m conntrack{led(forward)}"
    begin = f"{source} {first_to_port(port, source_port)}"
    return {
        forward_hook(settings): f"{path} {when} -j ACCEPT",
        lead_hook(settings): f"{begin} {when} {translation(forward)}",
    }


def parse_timed(comment: str, name: str) -> TimedGrant | None:
    """Return the grant that the rule with this `comment` is, or None if it is none."""
    owner, *words = comment.split(" ")
    if owner != name or len(words) not in {5, 6}:
        return None
    port, address, start, end, of, *user = words
    try:
        grant = _grant(port, address, of)
        return TimedGrant(grant, int(start), int(end), check_user("".join(user)))
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


def _when(name: str, timed: TimedGrant) -> str:
    """Return what matches while a grant holds, and says all about it."""
    (address, port, width, source_port), start, end, user = timed
    # Both are seconds in which the rule matches, the first and the last, in UTC.
    first, last = _date(start), _date(end - 1)
    of = f"{width.label}:{source_port}" if source_port else width.label
    words = [
        name,
        port,
        ip_address(address),
        start,
        end,
        of,
        *([check_user(user)] * bool(user)),
    ]
    comment = " ".join(map(str, words))
    dates = f"-m time --datestart {first} --datestop {last}"
    return f'{dates} -m comment --comment "{comment}"'


def _date(at: int) -> str:
    """Return a second since 1970-01-01 UTC as iptables wants it."""
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(at))


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
