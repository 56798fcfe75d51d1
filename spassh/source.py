"""Where a connection comes from: the address that knocked, and perhaps its port."""

from __future__ import annotations

import _socket as socket
import errno
import sys

from .protocol.named_tuple import NamedTuple
from .resolve import Address, SocketAddress
from .sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TRIES: Final = 8
"""How many port numbers to try: one that UDP has to spare may be in use for TCP."""

# Linux lets the port be chosen when the destination is known, so that one source port
# can serve many destinations. socket has the name since Python 3.12 only.
_IP_BIND_ADDRESS_NO_PORT = 24


class Source(NamedTuple):
    """Where a connection has to come from, so that the server lets it in."""

    address: SocketAddress
    """Whatever its port."""
    tcp: Socket | None = None
    """The socket that has the port which the knock named, if it named one."""

    @property
    def port(self) -> int:
        """The source port that the knock names, or 0."""
        return int(self.address[1]) if self.tcp else 0

    def take(self, family: int) -> Socket:
        """Return a TCP socket that is bound to this source."""
        if self.tcp:
            return self.tcp
        sock = Socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self.address[0], 0, *self.address[2:]))
        except OSError:
            sock.close()
            raise
        return sock

    def close(self) -> None:
        """Give the port back, unless somebody has taken the socket."""
        if self.tcp:
            self.tcp.close()


def spare_port() -> int:
    """Return a number that is probably spare for UDP and for TCP, or 0."""
    try:
        with Socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 0))
            return int(sock.getsockname()[1])
    except OSError:
        return 0


def open_wide(address: Address, knock_port: int) -> tuple[Socket, Source]:
    """Return a UDP socket that leads to `address`, and where it knocks from.

    Raises:
        OSError: this computer has no way to that address.
    """
    udp = Socket(address.family, socket.SOCK_DGRAM)
    try:
        udp.connect(address.at_port(knock_port))
        return udp, Source(udp.getsockname())
    except OSError:
        udp.close()
        raise


def open_narrow(
    address: Address, knock_port: int, port: int = 0
) -> tuple[Socket, Source]:
    """Return such a socket, and a TCP socket that has the same port number.

    By it the server sees whether a NAT on the way rewrites ports.

    Args:
        address: where to.
        knock_port: to which UDP port.
        port: the number to take, if it is to spare.

    Raises:
        OSError: this computer has no way to that address, or no port number to spare.
    """
    for _ in range(_TRIES):
        udp = Socket(address.family, socket.SOCK_DGRAM)
        tcp = Socket(address.family, socket.SOCK_STREAM)
        try:
            udp.bind(("", port))
            udp.connect(address.at_port(knock_port))
            source = udp.getsockname()
            tcp.bind(source)
        except OSError as error:
            udp.close()
            tcp.close()
            if error.errno != errno.EADDRINUSE:
                raise
            port = 0
        else:
            return udp, Source(source, tcp)
    raise OSError(errno.EADDRINUSE, "no source port to spare")
