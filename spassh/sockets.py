"""Sockets that `with` closes, without the 7 ms that the socket module takes to load.

That module is written in Python around `_socket`, which has all that we need: what it
adds is names for numbers, and what is here (ADR 0025).
"""

from __future__ import annotations

import _socket
from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Socket(_socket.socket):
    """A socket of the system."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_socket(self, other: _socket.socket) -> None:
        """Send another socket over this one, with a byte because there must be one."""
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("@i", other.fileno()))
        self.sendmsg([b"\0"], [rights])
