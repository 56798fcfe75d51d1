"""Which login over the network a verb was started from, by the processes above it.

A variable of the environment would do where nobody means harm. But the processes cannot
be made up, and sudo(8) passes on no variables.
"""

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

import psutil

from .ports import Port
from .privsep.message import Connection

_TCP = 6


def find_login(
    above: Iterable[Iterable[Connection]], ports: Iterable[Port]
) -> Connection | None:
    """Return the connection to one of `ports` that is the nearest to us, or None.

    Args:
        above: the connections of each process, beginning with the nearest.
        ports: where to log in.
    """
    numbers = {port.number for port in ports if port.protocol == _TCP}
    for connections in above:
        for one in connections:
            if one.port in numbers:
                return one
    return None


def connections_above() -> list[list[Connection]]:
    """Return the connections of the processes above this one, as far as one sees."""
    found = []
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            found.append(_connections(process))
    return found


def _connections(process: psutil.Process) -> list[Connection]:
    # psutil before 6, which Debian 12 has, has the older name.
    read = getattr(process, "net_connections", None) or process.connections
    return [
        Connection(_packed(one.raddr.ip), one.raddr.port, one.laddr.port)
        for one in read("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.raddr
    ]


def _packed(address: str) -> bytes:
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped.packed
    return parsed.packed
