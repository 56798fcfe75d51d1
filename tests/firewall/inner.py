"""A third namespace: a host behind the server, which is its only way out.

    client namespace        server namespace              inner namespace
      192.0.2.2    ==veth0==  192.0.2.1    10.9.0.1  ==veth1==  10.9.0.5
      2001:db8::2             2001:db8::1  fd00:9::1            fd00:9::5

The server forwards packets, and has no rules of its own.
"""

import ctypes
import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import Self

from firewall.network import (
    FAMILIES,
    PATIENCE,
    SERVER,
    VERSIONS,
    Network,
    Session,
    sh,
)

INNER = {4: "10.9.0.5", 6: "fd00:9::5"}
GATEWAY = {4: "10.9.0.1", 6: "fd00:9::1"}
FORWARDING = {
    4: "/proc/sys/net/ipv4/ip_forward",
    6: "/proc/sys/net/ipv6/conf/all/forwarding",
}

_BITS = {4: 24, 6: 64}
_MACS = {"server": "02:00:00:00:01:01", "inner": "02:00:00:00:01:05"}
_CLONE_NEWNET = 0x40000000
_numbers = count()


class Inner:
    """The inner host. Inside `with`, it listens on TCP `port` of both families."""

    def __init__(self, network: Network, port: int = 22) -> None:
        self._network = network
        self._port = port
        self._name = f"in{os.getpid()}x{next(_numbers)}"
        self._sockets: list[socket.socket] = []
        self._listeners: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        sh("ip", "netns", "add", self._name)
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the namespace."""
        for sock in (*self._sockets, *self._listeners.values()):
            sock.close()
        sh("ip", "netns", "del", self._name)

    def session(
        self,
        source: str,
        port: int,
        source_port: int = 0,
        *,
        to: str = "",
        patience: float = PATIENCE,
    ) -> Session | None:
        """Connect from `source` to `port` of the server, or of the host `to`.

        Returns None if nobody answers.
        """
        near = dial(self._network, source, port, source_port, to)
        if not is_connected(near, patience):
            return None
        far, _ = self._listeners[near.family].accept()
        self._sockets.append(far)
        return Session(near, far)

    def peer(self, session: Session) -> str:
        """Return the address that the inner host sees."""
        host: str = session._far.getpeername()[0]
        return host

    def out(self, version: int) -> socket.socket:
        """Return a socket of the inner host."""
        with self._inside():
            sock = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
        self._sockets.append(sock)
        return sock

    def _make(self) -> None:
        near = ["veth1", "address", _MACS["server"], "type", "veth"]
        far = ["peer", "name", "veth1", "address", _MACS["inner"], "netns", self._name]
        sh("ip", "link", "add", *near, *far)
        _configure([], GATEWAY, INNER, _MACS["inner"])
        _configure(["-n", self._name], INNER, GATEWAY, _MACS["server"])
        for version in VERSIONS:
            route = f"-{version} route add default via {GATEWAY[version]}"
            sh("ip", "-n", self._name, *route.split())
            with open(FORWARDING[version], "w", encoding="ascii") as switch:
                switch.write("1")
        with self._inside():
            for family in FAMILIES.values():
                self._listeners[family] = _listener(family, self._port)

    @contextmanager
    def _inside(self) -> Iterator[None]:
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self._name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _move(there)
            yield
        finally:
            _move(here)
            os.close(here)
            os.close(there)


def dial(
    network: Network, source: str, port: int, source_port: int = 0, to: str = ""
) -> socket.socket:
    """Begin to connect from `source` to `port` of the server, or of the host `to`."""
    version = 6 if ":" in source else 4
    with network.client():
        sock = network._keep(socket.socket(FAMILIES[version], socket.SOCK_STREAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((source, source_port))
    sock.setblocking(False)
    sock.connect_ex((to or SERVER[version], port))
    return sock


def is_connected(sock: socket.socket, patience: float) -> bool:
    """Tell whether a connection that was begun is there after `patience` seconds."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    answered = poll.poll(patience * 1000)
    return bool(answered) and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _listener(family: int, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    sock.listen()
    sock.settimeout(PATIENCE)
    return sock


def _configure(
    where: list[str], own: dict[int, str], other: dict[int, str], mac: str
) -> None:
    """Bring up an end of veth1. It knows its neighbour: to ask would take time."""
    lines = ["link set lo up", "link set veth1 up"]
    for version in VERSIONS:
        nodad = " nodad" * (version == 6)
        lines += [
            f"addr add {own[version]}/{_BITS[version]} dev veth1{nodad}",
            f"neigh add {other[version]} lladdr {mac} dev veth1",
        ]
    sh("ip", *where, "-batch", "-", text="\n".join(lines))


def _move(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
