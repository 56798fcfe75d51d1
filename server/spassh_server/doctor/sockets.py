"""Who listens on this host, and which sessions there are, through psutil."""

import socket
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

import psutil

from ..ports import Port

_PROTOCOLS = {socket.SOCK_STREAM: 6, socket.SOCK_DGRAM: 17}


class Listener(NamedTuple):
    """A socket that waits for whoever comes."""

    port: Port
    address: bytes
    """4 or 16 bytes; all zero for any."""
    program: str
    """Its name, or empty if that is not known."""


class Session(NamedTuple):
    """An established TCP connection to a port of this host."""

    port: Port
    client: bytes
    client_port: int


def read_sockets(ports: Iterable[Port]) -> tuple[list[Listener], list[Session]]:
    """Return all listeners, and the sessions at `ports`.

    Raises:
        psutil.Error, OSError: the system does not tell.
    """
    listeners, sessions, names = [], [], dict[int, str]()
    wanted = set(ports)
    for one in psutil.net_connections("inet"):
        if not one.laddr:
            continue
        port = Port(_PROTOCOLS[one.type], one.laddr.port)
        is_tcp = one.type == socket.SOCK_STREAM
        if one.status == psutil.CONN_LISTEN or (not is_tcp and not one.raddr):
            program = _name(one.pid, names)
            listeners.append(Listener(port, _packed(one.laddr.ip), program))
        elif one.raddr and port in wanted and one.status == psutil.CONN_ESTABLISHED:
            sessions.append(Session(port, _packed(one.raddr.ip), one.raddr.port))
    return sorted(set(listeners)), sessions


def own_addresses() -> list[bytes]:
    """Return the addresses of all interfaces, 4 or 16 bytes each.

    Raises:
        OSError: the system does not tell.
    """
    return [
        _packed(one.address)
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family in {socket.AF_INET, socket.AF_INET6}
    ]


def down_interfaces(names: Iterable[str]) -> list[str]:
    """Return those of the interfaces `names` that are there and not up."""
    stats = psutil.net_if_stats()
    return [name for name in names if name in stats and not stats[name].isup]


def _packed(text: str) -> bytes:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.packed


def _name(pid: int | None, names: dict[int, str]) -> str:
    if pid is None:
        return ""
    if pid not in names:
        try:
            names[pid] = psutil.Process(pid).name()
        except psutil.Error:
            names[pid] = ""
    return names[pid]
