"""Sends packets of fwknop in other ways than by UDP to its port.

It is imported for a profile that names such a way, and by no other login.
"""

from __future__ import annotations

import _socket as socket
import errno
import os

from .errors import ProfileError, lower_reason
from .fwknop_way import HTTP, RAW, UDP, Way
from .sockets import Socket
from .source import Source, open_wide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .profile import Profile
    from .resolve import Address

TIMEOUT: Final = 5
"""Seconds for a connection, and for the packet in it."""

_LEAST_PORT: Final = 10_000
"""Of the ports that are taken by chance, as fwknop does."""

_TO_PATH: Final = bytes.maketrans(b"+/", b"-_")


def send(packet: bytes, address: Address, profile: Profile, way: Way) -> Source:
    """Send `packet` to the IPv4 `address`; return where a connection will come from.

    Raises:
        ProfileError: the way takes root or scapy, and there is none.
        OSError: there is no way to that address, or nobody takes the packet there.
    """
    port = _random_port() if way.rand_port else profile.port
    if way.transport in RAW:
        return _send_raw(packet, address, port, profile.path, way)
    if way.transport == UDP:
        return _send_udp(packet, address, port, way)
    if way.transport == HTTP:
        packet = request(packet, profile.name or str(address), way)
    try:
        return _send_tcp(packet, address, port, way)
    except OSError as error:
        # In these words, for it is not about the port that ssh wants.
        what = f"tcp/{port} takes no packet: {lower_reason(error)}"
        raise OSError(errno.EIO, what) from error


def request(packet: bytes, host: str, way: Way) -> bytes:
    """Return the request of HTTP with `packet` as its path, as fwknop makes it."""
    lines = (
        f"GET /{packet.translate(_TO_PATH).decode('ascii')} HTTP/1.0",
        f"User-Agent: {way.http_user_agent}",
        "Accept: */*",
        f"Host: {host}",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def _send_udp(packet: bytes, address: Address, port: int, way: Way) -> Source:
    from contextlib import suppress

    with Socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", way.source_port))
        sock.connect(address.at_port(port))
        source = Source(sock.getsockname())
        # fwknopd listens with libpcap, and the port may be closed.
        with suppress(ConnectionRefusedError):
            sock.send(packet)
        return source


def _send_tcp(packet: bytes, address: Address, port: int, way: Way) -> Source:
    with Socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        if way.source_port:
            # The last connection from there may not be forgotten yet.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", way.source_port))
        sock.connect(address.at_port(port))
        sock.sendall(packet)
        return Source(sock.getsockname())


def _send_raw(
    packet: bytes, address: Address, port: int, path: str, way: Way
) -> Source:
    # Where a connection would come from, and the packet if it is not told otherwise.
    udp, source = open_wide(address, port)
    udp.close()
    try:
        sock = Socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError as error:
        raise ProfileError(
            path,
            f"'transport': {way.transport} takes root",
            "run ssh as root, or take another transport",
        ) from error
    with sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        spoofed = way.spoof_source
        origin = socket.inet_ntoa(spoofed) if spoofed else str(source.address[0])
        try:
            from .raw_packet import build
        except ImportError as error:
            raise ProfileError(
                path,
                f"'transport': {way.transport} takes scapy, which is not there",
                "install python3-scapy, or with pip: spassh[raw]",
            ) from error
        ends = (origin, str(address))
        data = build(way.transport, packet, ends, (way.source_port, port))
        sock.sendto(data, (str(address), 0))
    return source


def _random_port() -> int:
    return _LEAST_PORT + int.from_bytes(os.urandom(4)) % (65536 - _LEAST_PORT)
