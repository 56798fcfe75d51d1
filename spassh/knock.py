"""The knock: one sealed datagram, sent from the address that will dial."""

import socket
from collections.abc import Callable
from typing import Final

from .errors import ProfileError
from .profile import Keys, Profile
from .protocol.errors import Unauthentic
from .protocol.limits import RANDOMNESS_SIZE
from .protocol.packet import ClientKeys, seal
from .protocol.request import TCP, Request
from .resolve import Address, SocketAddress

_LEAVE_IT_TO_THE_SERVER: Final = 0


class Knocker:
    """Knocks at one server for one TCP port."""

    __slots__ = ("_keys", "_now_ms", "_port", "_randomness", "_ready", "knock_port")

    def __init__(
        self,
        profile: Profile,
        keys: Keys,
        port: int,
        now_ms: Callable[[], int],
        randomness: Callable[[int], bytes],
    ) -> None:
        """Prepare for knocks that ask for the TCP `port`.

        Raises:
            ProfileError: the server's key is none that anybody could have.
        """
        self.knock_port = profile.port
        self._keys = ClientKeys(keys.secret, keys.server, keys.psk)
        self._port = port
        self._now_ms = now_ms
        self._randomness = randomness
        try:
            # Ahead of time: the name server may still be thinking.
            self._ready = self._seal()
        except Unauthentic as error:
            raise ProfileError(
                profile.path,
                f"'server': {error}",
                "ask the server's administrator for a new invite",
            ) from error

    def _seal(self) -> bytes:
        request = Request(
            time=self._now_ms(),
            protocol=TCP,
            port=self._port,
            lifetime=_LEAVE_IT_TO_THE_SERVER,
        )
        return seal(request, self._keys, self._randomness(RANDOMNESS_SIZE))

    def knock(self, address: Address) -> SocketAddress:
        """Send a datagram that was never sent before; return where it came from.

        Raises:
            OSError: this computer has no way to that address.
        """
        datagram, self._ready = self._ready or self._seal(), b""
        # A new socket for each: an ICMP error that answers the last knock says nothing
        # (spasshd has no socket, so closed ports are its normal state), and a changed
        # route gives a changed source.
        with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            sock.connect(address.at_port(self.knock_port))
            try:  # noqa: SIM105 - contextlib costs a millisecond
                sock.send(datagram)
            except ConnectionRefusedError:
                pass
            source: SocketAddress = sock.getsockname()
            return source
