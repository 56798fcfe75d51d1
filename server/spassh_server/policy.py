"""What a user's authentic request is worth. Pure, and it never raises."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from .addresses import grantable
from .commands import Command, match
from .config_forwards import leads_nowhere, leads_to
from .datagram import Datagram
from .envelope import Opened, Target
from .firewall import Grant, Width
from .ports import Port
from .users import User


class Approval(NamedTuple):
    """Let `grant` through for `seconds`."""

    user: str
    grant: Grant
    seconds: int


class Approvals(NamedTuple):
    """Let each of several grants through that one packet asks for."""

    each: tuple[Approval, ...]


class Order(NamedTuple):
    """Run `argv`, which `command` allows."""

    user: str
    address: bytes
    command: Command
    argv: tuple[str, ...]


class Refusal(NamedTuple):
    """The request is authentic and still not granted; `reason` names the rule."""

    user: str
    address: bytes
    reason: str


Rule = tuple[bool, str, str]
"""One rule that a request has to keep: whether it is kept, what it asks for, and what
is wrong if it is not, which is the reason of a refusal. A bare tuple, for each packet
goes through ten of them."""


def decide_all(
    opened: Opened, datagram: Datagram, now: int, widths: frozenset[Width]
) -> Approval | Approvals | Order | Refusal:
    """Judge everything that `opened` asks for, each request as by `decide`.

    Of several ports, one that is refused has all refused: it is one packet.
    """
    decision = decide(opened, datagram, now, widths)
    if not opened.others or not isinstance(decision, Approval):
        return decision
    approvals = [decision]
    for request in opened.others:
        one = opened._replace(request=request)
        decision = decide(one, datagram, now, widths)
        if not isinstance(decision, Approval):
            return decision
        approvals.append(decision)
    return Approvals(tuple(approvals))


def decide(
    opened: Opened, datagram: Datagram, now: int, widths: frozenset[Width]
) -> Approval | Order | Refusal:
    """Judge what `opened` asks for first at the time `now` (ms).

    Everything is refused that no rule allows. A lifetime over the user's cap is cut to
    the cap: less than was asked for can do no harm, and the client learns nothing new.

    Args:
        opened: the request, and whose it is.
        datagram: what the request came in; its source is what it claims to be.
        now: milliseconds since 1970-01-01 UTC.
        widths: what the packet filter of this host can enforce.
    """
    address = opened.request.address or datagram.source
    for kept, _, broken in rules(opened, datagram, now):
        if not kept:
            return Refusal(opened.user.name, address, broken)
    if opened.request.command:
        return _order(opened, address)
    return _approval(opened, datagram, now, widths)


def rules(opened: Opened, datagram: Datagram, now: int) -> Iterator[Rule]:
    """Yield the rules for this request in their order. The first broken one decides.

    What is asked for is judged in the end, by `choose_width` or by `commands.match`.
    """
    request, user = opened.request, opened.user
    source = datagram.source
    address = request.address or source
    yield (
        user.not_before <= now,
        "the user's beginning is past",
        "the user is not allowed in yet",
    )
    yield (
        not user.expires or now < user.expires,
        "the user has not expired",
        "the user has expired",
    )
    key = opened.key
    yield (
        not key.expires or now < key.expires,
        "the user's key has not expired",
        "the user's key has expired",
    )
    if user.gnupg:
        yield (
            opened.signer in user.gnupg,
            "the request is signed by an OpenPGP key of the user's",
            "the request is signed by none of the user's OpenPGP keys"
            if opened.signer
            else "the request is not signed, and the user's have to be",
        )
    else:
        yield (
            opened.signed is None,
            "the request is not signed, nor has it to be",
            "the request is signed, and the user has no OpenPGP key here",
        )
    yield (
        not user.sources or _inside(source, user),
        "the packet's source is one of the user's",
        "the packet's source is not in the user's sources",
    )
    # Of a command as well: the granter takes no message without such an address.
    yield (
        grantable(address),
        "the address to allow is one host's",
        "not an address of one host",
    )
    if request.command:
        yield (bool(user.commands), "the user has commands", "commands are not allowed")
        return
    yield (
        address == source or user.any_address,
        "the address to allow is the packet's source, or the user may name any",
        "the address to allow is not the packet's source",
    )
    port = Port(request.protocol, request.port)
    yield (
        port in user.ports,
        f"{port} is in the user's ports",
        f"{port} is not in the user's ports",
    )
    yield (
        not leads_nowhere(user.forwards, port, address),
        f"{port} is this host's, or leads to a host of the address's family",
        f"{port} leads to no host of the address's family",
    )
    if opened.target is not None:
        yield _leads_there(user, port, opened.target)


def _leads_there(user: User, port: Port, target: Target) -> Rule:
    """Return the rule that a request which says where a port leads has to keep."""
    # "Here" is a name of the client's for this host, and no address of a forward.
    if target.is_here:
        led_on = any(one.port == port for one in user.forwards)
        kept = target.port == port.number and not led_on
        where = f"port {target.port} of this host"
    else:
        kept = leads_to(user.forwards, port, target.host, target.port)
        where = f"{target.host} port {target.port}"
    return (kept, f"{port} leads to {where}", f"{port} does not lead to {where}")


def _order(opened: Opened, address: bytes) -> Order | Refusal:
    user, argv = opened.user, opened.request.command
    command = match(user.commands, argv)
    if command is None:
        reason = "the command is none of the user's commands"
        return Refusal(user.name, address, reason)
    return Order(user.name, address, command, argv)


def _approval(
    opened: Opened, datagram: Datagram, now: int, widths: frozenset[Width]
) -> Approval | Refusal:
    request, user = opened.request, opened.user
    address = request.address or datagram.source
    width = choose_width(opened, datagram, widths)
    if width is None:
        return Refusal(user.name, address, _no_width(opened, datagram, widths))
    seconds = min(request.lifetime or user.lifetime, user.max_lifetime)
    for expires in filter(None, (user.expires, opened.key.expires)):
        # Nothing lives on behind the end of who asked for it, but for a second.
        seconds = min(seconds, (expires - now + 999) // 1000)
    port = Port(request.protocol, request.port)
    source_port = request.source_port if width is Width.FLOW else 0
    return Approval(user.name, Grant(address, port, width, source_port), seconds)


def choose_width(
    opened: Opened, datagram: Datagram, widths: frozenset[Width]
) -> Width | None:
    """Return the narrowest width that works for this request, or None."""
    usable = opened.user.widths & widths
    if Width.FLOW in usable and _names_its_port(opened, datagram):
        return Width.FLOW
    return min(usable - {Width.FLOW}, default=None)


def _names_its_port(opened: Opened, datagram: Datagram) -> bool:
    """Tell whether the client will connect from the source port that it names.

    The datagram comes from the same number. A NAT that rewrites ports gives itself away
    by that, unless the datagram comes from another host than the connection will.
    """
    named, address = opened.request.source_port, opened.request.address
    elsewhere = address not in {b"", datagram.source}
    return named != 0 and (elsewhere or named == datagram.source_port)


def _no_width(opened: Opened, datagram: Datagram, widths: frozenset[Width]) -> str:
    """Say why there is no width for this request."""
    wanted = opened.user.widths
    if not wanted & widths:
        return "the packet filter has none of the user's widths"
    if not opened.request.source_port:
        return "the user's widths take a source port, and the request names none"
    return (
        f"a NAT rewrites ports: {opened.request.source_port} became"
        f" {datagram.source_port}"
    )


def _inside(source: bytes, user: User) -> bool:
    host = ip_address(source)
    return any(host in network for network in user.sources)
