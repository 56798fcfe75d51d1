"""The TCP connections of a BSD host: netstat lists them, tcpdrop(8) ends one.

ipfw and pf judge packets by the states that they made, and they make none for a
connection that is older than their rules. Nor can ipfw end a connection.
"""

import json
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from ..addresses import is_among
from ..ports import Port
from . import FirewallError
from .run import find, run
from .sessions import Session

_TCP = 6
_MAPPED = bytes(10) + b"\xff\xff"


def established(ports: Iterable[Port]) -> list[Session]:
    """List the established connections to the TCP ones among `ports` of this host.

    Raises:
        FirewallError: netstat is not there, or is not that of FreeBSD.
    """
    text = run("netstat", "--libxo", "json", "-n", "-p", "tcp")
    numbers = {port.number for port in ports if port.protocol == _TCP}
    return [one for one in parse_netstat(text) if one.local[1] in numbers]


def end(sessions: Iterable[Session]) -> int:
    """End `sessions`; return how many there were.

    Raises:
        FirewallError: tcpdrop is not there, or refused. What is gone is no error.
    """
    if find("tcpdrop") is None:
        raise FirewallError(
            "tcpdrop not found, and no connection ends without it",
            "end the user's sshd process instead",
        )
    ended = 0
    for session in sessions:
        ends = (session.local, session.remote)
        words = [word for one, port in ends for word in (_spell(one), str(port))]
        run("tcpdrop", *words)
        ended += 1
    return ended


def end_all(addresses: frozenset[bytes], ports: Iterable[Port]) -> int:
    """End the connections of `addresses` to `ports`; count them.

    Each has 4 or 16 bytes, and the first address of a /64 stands for all of it.

    Raises:
        FirewallError: they cannot be listed, or cannot be ended.
    """
    found = established(ports)
    return end([one for one in found if is_among(one.remote[0], addresses)])


def parse_netstat(text: bytes) -> list[Session]:
    """Return the established connections in the JSON of netstat.

    Raises:
        FirewallError: it is not what the netstat of FreeBSD writes.
    """
    try:
        sockets = json.loads(text)["statistics"].get("socket", [])
        return [
            Session(_end(one["local"]), _end(one["remote"]))
            for one in sockets
            if one.get("tcp-state", "").strip() == "ESTABLISHED"
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FirewallError("netstat wrote what is not its JSON") from error


def _end(one: dict[str, Any]) -> tuple[bytes, int]:
    # A link-local address comes with its interface, which tables do not know.
    host, _, _ = str(one["address"]).strip().partition("%")
    return ip_address(host).packed.removeprefix(_MAPPED), int(one["port"])


def _spell(address: bytes) -> str:
    return str(ip_address(address))
