"""End the connections of a client, for those whose access is taken away at once.

A connection that conntrack forgets begins anew with its next packet, which then meets
the drop: whoever calls this takes the grants of the client back before. A local socket
that is destroyed sends a reset, and the server behind it notices at once: sock_diag(7),
linux/inet_diag.h and linux/netfilter/nfnetlink_conntrack.h.
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from struct import Struct, pack
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import Final, NamedTuple

from ..addresses import is_among, place
from ..ports import Port
from . import FirewallError
from .netlink import NETFILTER, Netlink, attribute, nested, parse_attributes

_TCP = 6
_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}
_MAPPED: Final = bytes(10) + b"\xff\xff"
"""How an IPv6 socket names the IPv4 address at its other end."""

# ctnetlink
_CT_GET, _CT_DELETE = 1 << 8 | 1, 1 << 8 | 2
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _ID, _ZONE, _FILTER = 1, 2, 3, 4, 12, 18, 25
_SEEN_REPLY = 1 << 1
_TCP_ALIVE = frozenset({3, 4, 5})  # ESTABLISHED, FIN_WAIT, CLOSE_WAIT
_MATCH_SOURCE = 1 << 0
_MOST_QUERIES: Final = 4
"""From more addresses on, we read all entries once: each query walks through all."""

# sock_diag
_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_BYTECODE, _JUMP_ALWAYS, _REMOTE_IS = 1, 1, 8
_TCP_OPEN = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11, 12))
"""All but LISTEN, TIME_WAIT and CLOSE."""
_REQUEST = Struct("=BBBxI48s")  # family, protocol, extensions, states, socket
_ANSWER = Struct("=B3x48s20x")  # family, socket
_SOCKET = Struct("!HH16s16s12x")  # local port, remote port, local and remote address
_JUMP = Struct("=BBH")  # operation, where to if so, if not
_CONDITION = Struct("=BBHBB2xi")  # the same; family, bits, port
_QUERY_ADDRESSES: Final = 256
"""How many of them go into one query: where to jump to is a number of 16 bits."""

# rtnetlink
_ROUTE = 0
_GET_ROUTE = 26
_ROUTE_HEADER = Struct("=BB5xB4x")  # family, bits of the destination, type of the route
_DESTINATION = 1
_TO_THIS_HOST = 2

# What a kernel says that lacks the thing.
_UNSUPPORTED = frozenset(
    {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOENT}
)


class End(NamedTuple):
    """One end of a connection."""

    address: bytes
    port: int


class Connection(NamedTuple):
    """A connection as the server sees it, after all translation of addresses."""

    protocol: int
    client: End
    server: End


class Flow(NamedTuple):
    """An entry of conntrack."""

    connection: Connection
    asked: End
    """What the client connects to: not the server if that is behind this host."""
    is_alive: bool
    """Both sides have spoken, and it is not over."""
    name: bytes
    """The attributes by which the kernel finds just this entry."""


def end_sessions(addresses: frozenset[bytes], ports: tuple[Port, ...]) -> int:
    """End the connections of clients to this host, and those forwarded through it.

    Where the kernel cannot destroy sockets, the server has to be silent until the
    client speaks: otherwise conntrack takes the rest for a connection that it began.

    Args:
        addresses: the clients', each of 4 or 16 bytes. The first address of a /64
            stands for all of it.
        ports: which ones to end, as the client sees them.

    Returns:
        How many were ended.

    Raises:
        FirewallError: it could not be done.
    """
    try:
        flows = find_flows(addresses, ports)
        # The sockets first: then conntrack still knows what their resets belong to.
        ended = _destroy_sockets(addresses, ports, {flow.connection for flow in flows})
        ended |= _forget(flows)
    except OSError as error:
        raise FirewallError(f"cannot end connections: {error.strerror}") from error
    return len(ended)


def render_flow_query(family: int, direction: int, address: bytes = b"") -> bytes:
    """Ask for the entries of conntrack of `family`.

    With an IPv4 `address`, it is for those whose packets in `direction` are of it. The
    answer may have others in it: kernels before 5.8 know no such filter, and those
    after it take one for an IPv6 address the wrong way round.
    """
    query = pack("!BBH", family, 0, 0)
    if address:
        flags = attribute(direction, pack("=I", _MATCH_SOURCE))
        source = nested(1, attribute(1, address))
        query += nested(direction, source) + nested(_FILTER, flags)
    return query


def parse_flow(body: bytes, direction: int) -> Flow | None:
    """Read an entry of conntrack whose packets in `direction` are the client's.

    Returns:
        It, or None if it is of a protocol that has no ports.

    Raises:
        OSError: this is no such entry.
    """
    found = parse_attributes(body[4:])
    try:
        client, asked, protocol = _parse_tuple(found[direction])
        server, _, _ = _parse_tuple(found[_ORIGINAL + _REPLY - direction])
        status = int.from_bytes(found[_STATUS], "big")
        # Without a name, the kernel would delete all entries that there are.
        name = nested(_ORIGINAL, found[_ORIGINAL]) + attribute(_ID, found[_ID])
    except KeyError:
        return None
    if _ZONE in found:
        name += attribute(_ZONE, found[_ZONE])
    is_alive = bool(status & _SEEN_REPLY)
    if protocol == _TCP:
        is_alive &= _tcp_state(found.get(_PROTOINFO, b"")) in _TCP_ALIVE
    return Flow(Connection(protocol, client, server), asked, is_alive, name)


def render_socket_query(family: int, addresses: Iterable[bytes]) -> bytes:
    """Ask for the open TCP sockets of `family` whose other end is among `addresses`.

    The first address of a /64 stands for all of it. The kernel runs a small program for
    each socket: who reaches its end is listed, who jumps beyond it is not.
    """
    program = b""
    for address in addresses:
        size = _CONDITION.size + len(address)
        is_whole = len(address) == 16 and address == place(address)
        bits = 64 if is_whole else 8 * len(address)
        condition = _CONDITION.pack(
            _REMOTE_IS, size, size + _JUMP.size, _FAMILIES[len(address)], bits, -1
        )
        # If so, to the end; if not, to the next condition, or beyond the end.
        to_end = _JUMP.pack(_JUMP_ALWAYS, _JUMP.size, _JUMP.size + len(program))
        program = condition + address + (to_end + program if program else b"")
    request = _REQUEST.pack(family, _TCP, 0, _TCP_OPEN, b"")
    return request + attribute(_BYTECODE, program)


def parse_socket(body: bytes) -> tuple[Connection, bytes]:
    """Read a socket; return its connection, and what asks to destroy it.

    Raises:
        OSError: this is no socket.
    """
    try:
        family, identity = _ANSWER.unpack_from(body)
    except StructError as error:
        raise OSError(errno.EBADMSG, "sock_diag: an answer is cut short") from error
    port, remote_port, local, remote = _SOCKET.unpack(identity)
    server = End(_plain(family, local), port)
    client = End(_plain(family, remote), remote_port)
    request = _REQUEST.pack(family, _TCP, 0, 0, identity)
    return Connection(_TCP, client, server), request


def find_flows(addresses: frozenset[bytes], ports: tuple[Port, ...]) -> list[Flow]:
    """Return what conntrack has of the clients' connections to `ports`."""
    found: list[Flow] = []
    # Of a connection that is older than conntrack, the server may have spoken first.
    for way in (_ORIGINAL, _REPLY):
        for query, wanted in _flow_queries(addresses, way):
            found += _read_flows(query, way, wanted)
    return [
        flow
        for flow in found
        if Port(flow.connection.protocol, flow.asked.port) in ports
        and (flow.asked != flow.connection.server or _is_ours(flow.asked.address))
    ]


def tells_flows() -> bool:
    """Tell whether this kernel says at all what conntrack has."""
    query = render_flow_query(socket.AF_INET, _ORIGINAL)
    try:
        with Netlink(NETFILTER) as netlink:
            next(netlink.dump(_CT_GET, query), None)
    except OSError:
        return False
    return True


def _flow_queries(
    addresses: frozenset[bytes], direction: int
) -> Iterator[tuple[bytes, frozenset[bytes]]]:
    """Yield what to ask for, and whose entries to take from the answer."""
    for size, family in _FAMILIES.items():
        wanted = frozenset(one for one in addresses if len(one) == size)
        if family == socket.AF_INET and len(wanted) <= _MOST_QUERIES:
            for address in wanted:
                query = render_flow_query(family, direction, address)
                yield query, frozenset({address})
        elif wanted:
            yield render_flow_query(family, direction), wanted


def _read_flows(
    query: bytes, direction: int, wanted: frozenset[bytes]
) -> Iterator[Flow]:
    # The beginning of the client's address is in an entry, and cheap to find.
    marks = {one[:8] for one in wanted}
    with Netlink(NETFILTER) as netlink:
        try:
            for body in netlink.dump(_CT_GET, query):
                if not any(mark in body for mark in marks):
                    continue
                flow = parse_flow(body, direction)
                if flow is not None and is_among(
                    flow.connection.client.address, wanted
                ):
                    yield flow
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise


def _forget(flows: list[Flow]) -> set[Connection]:
    """Have conntrack forget `flows`; return those that were alive."""
    ended = set()
    with Netlink(NETFILTER) as netlink:
        for flow in flows:
            header = render_flow_query(_FAMILIES[len(flow.asked.address)], _ORIGINAL)
            if _was_done(netlink, _CT_DELETE, header + flow.name) and flow.is_alive:
                ended.add(flow.connection)
    return ended


def _destroy_sockets(
    addresses: frozenset[bytes], ports: tuple[Port, ...], wanted: set[Connection]
) -> set[Connection]:
    """Destroy the sockets of `wanted` connections and those from `addresses`.

    Conntrack does not know of a connection that no rule has ever asked about, and
    sockets do not know which port the client asked for.
    """
    ipv4 = [one for one in addresses if len(one) == 4]
    # A socket of IPv6 may have an IPv4 address at its other end.
    asked = ((socket.AF_INET, ipv4), (socket.AF_INET6, list(addresses)))
    ended = set()
    with Netlink(_SOCK_DIAG) as netlink:
        for family, whose in asked:
            for connection, request in _sockets(netlink, family, whose):
                port = Port(_TCP, connection.server.port)
                if (port in ports or connection in wanted) and _was_done(
                    netlink, _DESTROY, request
                ):
                    ended.add(connection)
    return ended


def _sockets(
    netlink: Netlink, family: int, addresses: list[bytes]
) -> list[tuple[Connection, bytes]]:
    found = []
    try:
        for at in range(0, len(addresses), _QUERY_ADDRESSES):
            some = addresses[at : at + _QUERY_ADDRESSES]
            answer = netlink.dump(_BY_FAMILY, render_socket_query(family, some))
            found += [parse_socket(body) for body in answer]
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise
    return found


def _was_done(netlink: Netlink, kind: int, body: bytes) -> bool:
    """Tell whether there was something to end, and the kernel could."""
    try:
        netlink.ask(kind, body)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _is_ours(address: bytes) -> bool:
    """Tell whether packets to `address` end at this host: a router has others."""
    query = _ROUTE_HEADER.pack(_FAMILIES[len(address)], 8 * len(address), 0)
    with Netlink(_ROUTE) as netlink:
        try:
            answers = netlink.ask(_GET_ROUTE, query + attribute(_DESTINATION, address))
        except OSError:
            return False  # there is no route to it
    return any(
        len(answer) >= _ROUTE_HEADER.size
        and _ROUTE_HEADER.unpack_from(answer)[2] == _TO_THIS_HOST
        for answer in answers
    )


def _parse_tuple(data: bytes) -> tuple[End, End, int]:
    """Return source, destination and protocol of the packets in one direction.

    Raises:
        KeyError: they have no ports.
        OSError: this is no such thing.
    """
    found = parse_attributes(data)
    addresses, transport = parse_attributes(found[1]), parse_attributes(found[2])
    source = 1 if 1 in addresses else 3
    ports = [int.from_bytes(transport[kind], "big") for kind in (2, 3)]
    return (
        End(addresses[source], ports[0]),
        End(addresses[source + 1], ports[1]),
        int.from_bytes(transport[1], "big"),
    )


def _tcp_state(protoinfo: bytes) -> int:
    tcp = parse_attributes(parse_attributes(protoinfo).get(1, b""))
    return int.from_bytes(tcp.get(1, b""), "big")


def _plain(family: int, address: bytes) -> bytes:
    return address[:4] if family == socket.AF_INET else address.removeprefix(_MAPPED)
