"""Which login over the network a verb was started from, by the processes above it.

A variable of the environment would do where nobody means harm. But the processes cannot
be made up, and sudo(8) passes on no variables.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

import psutil

from .ports import Port

_TCP = 6


class Login(NamedTuple):
    """A connection to this host that a process above us serves."""

    address: bytes
    """The client's address: 4 or 16 bytes."""
    port: Port
    """The port of this host."""
    began: int
    """Milliseconds of the monotonic clock, not later than the connection began."""


class Above(NamedTuple):
    """A process above us, and its connections."""

    age: float
    """Seconds since it was started."""
    connections: tuple[tuple[int, str], ...]
    """Of each the port of this host and the client's address."""


def find_login(above: Iterable[Above], ports: Iterable[Port], now: int) -> Login | None:
    """Return the connection to one of `ports` that is the nearest to us, or None.

    Args:
        above: the processes, beginning with the nearest.
        ports: where to log in.
        now: milliseconds of the monotonic clock.
    """
    numbers = {port.number for port in ports if port.protocol == _TCP}
    ages: dict[tuple[int, str], float] = {}
    for process in above:
        for one in process.connections:
            # sshd has two processes for a login, of which the older has begun with it.
            if one[0] in numbers:
                ages[one] = max(process.age, ages.get(one, 0.0))
    for (number, address), age in ages.items():
        packed = _packed(address)
        return Login(packed, Port(_TCP, number), now - int(age * 1000))
    return None


def processes_above() -> list[Above]:
    """Return the processes above this one, as far as they can be seen."""
    found = []
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            found.append(Above(_age(process), _connections(process)))
    return found


def _age(process: psutil.Process) -> float:
    """Return the seconds since a process was started, to a hundredth."""
    started = process.create_time()
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.time_ns() / 1e9 - started
    # Linux counts from the boot. psutil has added a time of that in whole seconds.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - (started - psutil.boot_time())


def _connections(process: psutil.Process) -> tuple[tuple[int, str], ...]:
    # psutil before 6, which Debian 12 has, has the older name.
    read = getattr(process, "net_connections", None) or process.connections
    return tuple(
        (one.laddr.port, one.raddr.ip)
        for one in read("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.raddr
    )


def _packed(address: str) -> bytes:
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped.packed
    return parsed.packed
