"""Whether the kernel tracks connections, so that a session is an established one."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ..firewall import FirewallError
from ..firewall.kill import find_flows, tells_flows
from .sockets import Session

_COUNT: Final = "/proc/sys/net/netfilter/nf_conntrack_count"
_MOST: Final = "/proc/sys/net/netfilter/nf_conntrack_max"

MOST_SESSIONS: Final = 256
"""How many sessions are looked up."""


class Tracking(NamedTuple):
    """What conntrack is like."""

    entries: int | None
    """How many there are; None where there is no conntrack, or none to be seen."""
    most: int | None
    """How many there can be."""
    sessions: int = 0
    """How many sessions were looked up."""
    unknown: tuple[Session, ...] = ()
    """Those of them that conntrack does not know."""


def look_at_conntrack(sessions: Iterable[Session]) -> Tracking:
    """Look whether conntrack is there, has room, and knows the `sessions`."""
    entries, most = _number(_COUNT), _number(_MOST)
    some = list(sessions)[:MOST_SESSIONS]
    if entries is None or not some or not tells_flows():
        return Tracking(entries, most)
    clients = frozenset(session.client for session in some)
    ports = tuple({session.port for session in some})
    try:
        flows = find_flows(clients, ports)
    except (OSError, FirewallError):
        return Tracking(entries, most)
    # If only the server's half is tracked, it is no established connection.
    known = {
        (flow.connection.client.address, flow.connection.client.port)
        for flow in flows
        if flow.is_alive
    }
    unknown = [one for one in some if (one.client, one.client_port) not in known]
    return Tracking(entries, most, len(some), tuple(unknown))


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
