"""The knock: one sealed datagram, sent from the address that will dial."""

from __future__ import annotations

import errno

from .errors import ProfileError
from .profile import SIGNED, Keys, Profile
from .protocol.errors import Unauthentic
from .protocol.limits import RANDOMNESS_SIZE
from .protocol.packet import ClientKeys, seal
from .protocol.request import TCP, Request
from .resolve import Address
from .schedule import SLOW_MS
from .sockets import Socket
from .source import Source, open_narrow, open_wide, spare_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from .signing import Signer

_LEAVE_IT_TO_THE_SERVER: Final = 0


class Knocker:
    """Knocks at one server for one TCP port."""

    __slots__ = (
        "_keys",
        "_now_ms",
        "_port",
        "_randomness",
        "_ready",
        "_ready_port",
        "_signer",
        "knock_port",
    )

    def __init__(
        self,
        profile: Profile,
        keys: Keys,
        port: int,
        now_ms: Callable[[], int],
        randomness: Callable[[int], bytes],
        *,
        narrow: bool = True,
    ) -> None:
        """Prepare for knocks at the TCP `port`, the first of them `narrow` or not.

        Raises:
            ProfileError: the server's key is none that anybody could have, or nobody
                signs what has to be signed.
        """
        self.knock_port = profile.port
        self._keys = ClientKeys(keys.secret, keys.server, keys.psk)
        self._port = port
        self._now_ms = now_ms
        self._randomness = randomness
        self._signer: Signer | None = None
        if profile.format == SIGNED:
            # Who does without it does not load it.
            from .signing import Signer

            self._signer = Signer(profile)
        self._ready_port = spare_port() if narrow else 0
        try:
            # Ahead of time: the name server may still be thinking.
            self._ready = self._seal(self._ready_port)
        except Unauthentic as error:
            raise ProfileError(
                profile.path,
                f"'server': {error}",
                "ask the server's administrator for a new invite",
            ) from error

    def _seal(self, source_port: int) -> bytes:
        request = Request(
            time=self._now_ms(),
            protocol=TCP,
            port=self._port,
            lifetime=_LEAVE_IT_TO_THE_SERVER,
            source_port=source_port,
        )
        signer, size = self._signer, RANDOMNESS_SIZE
        if signer is None:
            return seal(request, self._keys, self._randomness(size))
        datagram = signer.seal(request, self._keys, self._randomness(size))
        if self._now_ms() - request.time > SLOW_MS:
            request = request._replace(time=self._now_ms())
            datagram = signer.seal(request, self._keys, self._randomness(size))
        return datagram

    def knock(self, address: Address, *, narrow: bool) -> Source:
        """Send a datagram that was never sent before; return where it came from.

        Args:
            address: whom to knock at.
            narrow: whether to ask for a connection from a single source port.

        Raises:
            OSError: this computer has no way to that address.
        """
        # A new socket for each: an ICMP error that answers the last knock says nothing
        # (spasshd has no socket, so closed ports are its normal state), and a changed
        # route gives a changed source.
        udp, source = self._open(address, narrow=narrow)
        try:
            udp.send(self._datagram(source.port))
        except ConnectionRefusedError:
            pass
        except OSError:
            source.close()
            raise
        finally:
            udp.close()
        return source

    def _open(self, address: Address, *, narrow: bool) -> tuple[Socket, Source]:
        if narrow:
            try:
                return open_narrow(address, self.knock_port, self._ready_port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # This computer is short of ports, and a wide knock needs none.
        return open_wide(address, self.knock_port)

    def _datagram(self, source_port: int) -> bytes:
        """Return the one that was sealed ahead, if it fits, and else a new one."""
        ready, ready_port = self._ready, self._ready_port
        self._ready, self._ready_port = b"", 0
        if ready and ready_port == source_port:
            return ready
        return self._seal(source_port)
