"""What a user's authentic request is worth. Pure, and it never raises."""

from ipaddress import ip_address
from typing import NamedTuple

from spassh.protocol.request import Request

from .addresses import grantable
from .firewall import Grant
from .ports import Port
from .users import User


class Approval(NamedTuple):
    """Let `grant` through for `seconds`."""

    user: str
    grant: Grant
    seconds: int


class Refusal(NamedTuple):
    """The request is authentic and still not granted; `reason` names the rule."""

    user: str
    address: bytes
    reason: str


def decide(request: Request, source: bytes, user: User) -> Approval | Refusal:
    """Judge the `request` of `user` that came from the address `source`.

    Everything is refused that no rule allows. A lifetime over the user's cap is cut to
    the cap: less than was asked for can do no harm, and the client learns nothing new.
    """
    address = request.address or source
    broken = _broken_rule(request, source, address, user)
    if broken:
        return Refusal(user.name, address, broken)
    seconds = min(request.lifetime or user.lifetime, user.max_lifetime)
    grant = Grant(address, Port(request.protocol, request.port))
    return Approval(user.name, grant, seconds)


def _broken_rule(request: Request, source: bytes, address: bytes, user: User) -> str:
    """Return the first rule that the request breaks, or nothing."""
    rules = (
        (not request.command, "commands are not allowed"),
        (not request.source_port, "this server grants addresses, not single flows"),
        (
            not user.sources or _inside(source, user),
            "the packet's source is not in the user's sources",
        ),
        (
            address == source or user.any_address,
            "the address to allow is not the packet's source",
        ),
        (grantable(address), "not an address of one host"),
    )
    for kept, reason in rules:
        if not kept:
            return reason
    port = Port(request.protocol, request.port)
    return "" if port in user.ports else f"{port} is not in the user's ports"


def _inside(source: bytes, user: User) -> bool:
    host = ip_address(source)
    return any(host in network for network in user.sources)
