"""Names to addresses, in the background: it costs no time beside the imports."""

from __future__ import annotations

import _socket as socket
import _thread
import os

from .errors import ResolveError, lower_reason
from .protocol.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

RESOLVE_TIMEOUT: Final = 15
"""Seconds to wait for the name servers. glibc asks each of them twice for 5 s."""

_NOBODY_KNOWS: Final = (socket.EAI_AGAIN, socket.EAI_FAIL)
"""The name servers did not say that the name is wrong."""

_SEE_NETWORK: Final = "see that the network is up and that the name server answers"
_SEE_NAME: Final = "see that the name is spelled right, and HostName in ssh_config(5)"

SocketAddress: TypeAlias = "tuple[Any, ...]"
"""What the socket module takes and gives: the address, the port, and more in IPv6."""


class Address(NamedTuple):
    """One address of a host, with the port in it."""

    family: int
    sockaddr: SocketAddress

    def __str__(self) -> str:
        """Spell the address without its port."""
        return str(self.sockaddr[0])

    def at_port(self, port: int) -> SocketAddress:
        """Return the socket address of another port of the same host."""
        return (self.sockaddr[0], port, *self.sockaddr[2:])


def interleave(addresses: list[Address]) -> list[Address]:
    """Return them with the families in turn, each in its own order.

    Where one family is dead, the second try is of the other (RFC 8305 section 4).
    """
    preferred = addresses[0].family if addresses else None
    first = [one for one in addresses if one.family == preferred]
    others = [one for one in addresses if one.family != preferred]
    return [
        one
        for at in range(max(len(first), len(others)))
        for one in (*first[at : at + 1], *others[at : at + 1])
    ]


class Resolving:
    """The question that is under way from the moment this is made."""

    __slots__ = ("_addresses", "_done", "_error", "_host", "_port")

    def __init__(self, host: str, port: int) -> None:
        """Start asking for the addresses of `host`."""
        self._host = host
        self._port = port
        self._addresses: list[Address] = []
        self._error: OSError | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()
        _thread.start_new_thread(self._ask, ())

    def _ask(self) -> None:
        try:
            # As bytes, like ssh does: Python would load its IDNA tables for a string.
            for family, _, _, _, sockaddr in socket.getaddrinfo(
                os.fsencode(self._host), self._port, type=socket.SOCK_STREAM
            ):
                address = Address(int(family), sockaddr)
                if address not in self._addresses:
                    self._addresses.append(address)
        except OSError as error:
            self._error = error
        finally:
            self._done.release()

    def wait(self, timeout: float = RESOLVE_TIMEOUT) -> list[Address]:
        """Return the addresses in the order in which to try them.

        Raises:
            ResolveError: there are none, or nobody answered in time.
        """
        if not self._done.acquire(timeout=timeout):
            raise ResolveError(
                f"cannot resolve {self._host}: no answer within {timeout:g} s",
                _SEE_NETWORK,
            )
        self._done.release()
        if self._addresses:
            return interleave(self._addresses)
        reason = lower_reason(self._error) if self._error else "no address"
        nobody_knows = self._error and self._error.errno in _NOBODY_KNOWS
        raise ResolveError(
            f"cannot resolve {self._host}: {reason}",
            _SEE_NETWORK if nobody_knows else _SEE_NAME,
        ) from self._error
