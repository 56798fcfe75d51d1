"""Let conntrack know the sessions that are older than it is.

A kernel without any firewall does not track connections. Our rules make it begin, and
then it takes the next packet of a client in an idle session for the first of a new
connection, which our drop is for: the session would hang until the server happens to
say something. So before that, the connections that the host has are entered, by
ctnetlink: linux/netfilter/nfnetlink_conntrack.h.
"""

import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from struct import pack
from typing import Final, NamedTuple

from ..ports import Port
from .netlink import NETFILTER, attribute, message, nested

SOCKET_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")

_TCP = 6
_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv6 socket names the IPv4 address at its other end."""

_PROC_ESTABLISHED = "01"
_PROC_LISTEN = "0A"

_CT_NEW = 1 << 8
# NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE: an entry that is there stays.
_FLAGS = 0x0001 | 0x0004 | 0x0200 | 0x0400
_ESTABLISHED = 3
_BE_LIBERAL = 0x08  # the window is not known
_SEEN_REPLY_ASSURED_CONFIRMED = 0x02 | 0x04 | 0x08
_TIMEOUT_SECONDS = 5 * 24 * 3600  # the kernel's own for established connections


class Session(NamedTuple):
    """The ends of a TCP connection, each an address (4 or 16 bytes) and a port."""

    local: tuple[bytes, int]
    remote: tuple[bytes, int]


def keep_sessions(protect: Iterable[Port]) -> None:
    """Enter the established connections to the ports `protect` into conntrack.

    This is a courtesy to those who are logged in: where the kernel has no ctnetlink,
    the ports are protected all the same.
    """
    ports = {port.number for port in protect if port.protocol == _TCP}
    for table in SOCKET_TABLES:
        with suppress(OSError):
            sessions = parse_sockets(_read(table))
            _enter([session for session in sessions if session.local[1] in ports])


def begun_sessions(ports: Iterable[Port]) -> frozenset[Session]:
    """Return the connections to the TCP ones among `ports` that have begun.

    Those too whose handshake is under way, and those that nobody has accepted yet.

    Raises:
        OSError: this kernel does not list them like this.
    """
    numbers = {port.number for port in ports if port.protocol == _TCP}
    # Each table has a head.
    lines = _read(SOCKET_TABLES[0])
    with suppress(FileNotFoundError):  # a kernel without IPv6
        lines += "".join(_read(SOCKET_TABLES[1]).partition("\n")[2:])
    sessions = parse_sockets(lines, begun=True)
    return frozenset(one for one in sessions if one.local[1] in numbers)


def parse_sockets(text: str, *, begun: bool = False) -> list[Session]:
    """Return the established connections in /proc/net/tcp or tcp6.

    With `begun`, in whatever state they are; what only listens is none.
    """
    found = []
    for line in text.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == _PROC_ESTABLISHED or (begun and state != _PROC_LISTEN):
            found.append(Session(_parse_end(local), _parse_end(remote)))
    return found


def render_entry(session: Session) -> bytes:
    """Return the netlink message that creates the conntrack entry of `session`."""
    local, remote = session
    flags = pack("BB", _BE_LIBERAL, _BE_LIBERAL)
    tcp = attribute(1, bytes([_ESTABLISHED]))
    tcp += attribute(4, flags) + attribute(5, flags)
    body = (
        nested(1, _tuple(remote, local))
        + nested(2, _tuple(local, remote))
        + attribute(3, pack("!I", _SEEN_REPLY_ASSURED_CONFIRMED))
        + nested(4, nested(1, tcp))
        + attribute(7, pack("!I", _TIMEOUT_SECONDS))
    )
    family = socket.AF_INET if len(local[0]) == 4 else socket.AF_INET6
    body = pack("!BBH", family, 0, 0) + body
    return message(_CT_NEW, _FLAGS, body)


def _enter(sessions: list[Session]) -> None:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, NETFILTER) as netlink:
        for session in sessions:
            netlink.send(render_entry(session))
            # The answer comes before `send` returns. Mostly it is EEXIST.
            netlink.recv(4096, socket.MSG_DONTWAIT)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _parse_end(text: str) -> tuple[bytes, int]:
    """Read an address and a port as these tables have them: words of the host."""
    digits, _, port = text.partition(":")
    address = b"".join(
        int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder)
        for at in range(0, len(digits), 8)
    )
    return address.removeprefix(_MAPPED), int(port, 16)


def _tuple(source: tuple[bytes, int], destination: tuple[bytes, int]) -> bytes:
    """Return what one direction of a connection looks like."""
    first = 1 if len(source[0]) == 4 else 3  # CTA_IP_V4_SRC or CTA_IP_V6_SRC
    addresses = attribute(first, source[0]) + attribute(first + 1, destination[0])
    ports = attribute(1, bytes([_TCP]))
    ports += attribute(2, pack("!H", source[1]))
    ports += attribute(3, pack("!H", destination[1]))
    return nested(1, addresses) + nested(2, ports)
