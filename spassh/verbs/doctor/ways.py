"""Which ways out of this computer there are, and who says that there is none.

A UDP socket that is connected gets the errors of the routers on the way, and on Linux
with who has sent them: ip(7), IP_RECVERR.
"""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception
from typing import Final, NamedTuple

from ...errors import lower_reason
from ...protocol.limits import ACCESS_DATAGRAM
from ...resolve import Address
from ...sockets import Socket
from ...source import open_wide

# linux/in.h, linux/in6.h and linux/errqueue.h; socket does not name them all.
_RECEIVE_ERRORS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 11),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25),
}
_ERROR_QUEUE: Final = 0x2000
_EXTENDED_ERROR: Final = Struct("=IBBBxII")  # errno, origin, type, code, info, data
_BY_OTHERS: Final = frozenset({2, 3})  # ICMP and ICMPv6
_V4, _V6 = Struct("!HH4s"), Struct("!HHI16s")  # family, port, ..., address
_MOST_ERRORS: Final = 8


class Complaint(NamedTuple):
    """An error about a datagram."""

    address: str
    """To whom it was sent."""
    number: int
    """An errno."""
    reason: str
    sender: str = ""
    """Who says so; empty if that is this computer, or not known."""

    @property
    def is_refusal(self) -> bool:
        """Whether the host itself has got the datagram, and has no use for it."""
        by_host = self.sender in {"", self.address}
        return self.number == errno.ECONNREFUSED and by_host


def find_source(address: Address) -> tuple[str, str]:
    """Return where packets to `address` come from, or "" and why there is no way."""
    try:
        udp, source = open_wide(address, int(address.sockaddr[1]))
    except OSError as error:
        return "", lower_reason(error)
    udp.close()
    return str(source.address[0]), ""


class Noise:
    """A datagram of the size of a knock that says nothing, and what comes of it."""

    def __init__(self, address: Address, knock_port: int) -> None:
        """Send it to the UDP port. What goes wrong is what `complaints` returns."""
        self._address = address
        self._complaints: list[Complaint] = []
        self._socket: Socket | None = None
        self.source = self.reason = ""
        """The address that it came from, or why there is no way."""
        try:
            self._socket, source = open_wide(address, knock_port)
        except OSError as error:
            self.reason = lower_reason(error)
            return
        self.source = str(source.address[0])
        if sys.platform == "linux":
            self._socket.setsockopt(
                *_RECEIVE_ERRORS[socket.AddressFamily(address.family)], 1
            )
        try:
            self._socket.send(os.urandom(ACCESS_DATAGRAM))
        except OSError as error:
            self._add(error)

    def close(self) -> None:
        """Hear no more of it."""
        if self._socket is not None:
            self._socket.close()

    def complaints(self) -> list[Complaint]:
        """Return what anybody has said about it so far."""
        if self._socket is not None:
            self._complaints += _read_errors(self._socket, str(self._address))
        return self._complaints

    def _add(self, error: OSError) -> None:
        number = error.errno or 0
        self._complaints.append(
            Complaint(str(self._address), number, lower_reason(error))
        )


def _read_errors(sock: Socket, address: str) -> Iterator[Complaint]:
    """Yield the errors that wait, a bounded number, without waiting for more."""
    for _ in range(_MOST_ERRORS):
        try:
            if sys.platform != "linux":
                sock.recv(1, socket.MSG_DONTWAIT)
                continue
            _, messages, _, _ = sock.recvmsg(1, 512, _ERROR_QUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            yield Complaint(address, error.errno or 0, lower_reason(error))
            continue
        for level, kind, data in messages:
            if (level, kind) in _RECEIVE_ERRORS.values():
                yield _complaint(address, data)


def _complaint(address: str, data: bytes) -> Complaint:
    """Read a struct sock_extended_err, and the address of who has sent it."""
    try:
        number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
        sender = _sender(data[_EXTENDED_ERROR.size :]) if origin in _BY_OTHERS else ""
    except StructError:
        return Complaint(address, 0, "an answer that makes no sense")
    return Complaint(address, number, _words(number), sender)


def _sender(data: bytes) -> str:
    family = int.from_bytes(data[:2], sys.byteorder)
    if family == socket.AF_INET:
        return socket.inet_ntop(family, _V4.unpack_from(data)[2])
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, _V6.unpack_from(data)[3])
    return ""


def _words(number: int) -> str:
    return lower_reason(OSError(number, os.strerror(number)))
