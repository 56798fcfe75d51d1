"""Knocks at an fwknopd, where a profile says that the server is one."""

from __future__ import annotations

import _socket as socket
import errno
import os

from .errors import ProfileError
from .protocol.errors import Malformed
from .protocol.fwknop.message import (
    ACCESS,
    COMMAND,
    LOCAL_NAT_ACCESS,
    NAT_ACCESS,
    TIMEOUT_ACCESS,
    TIMEOUT_LOCAL_NAT_ACCESS,
    TIMEOUT_NAT_ACCESS,
    Message,
)
from .protocol.fwknop.packet import RANDOMNESS_SIZE, SALT_SIZE, rand, seal
from .protocol.request import TCP, Request
from .resolve import Address
from .schedule import SLOW_MS
from .source import Source, open_wide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .fwknop_profile import Fwknop
    from .outside import Outside
    from .profile import Profile
    from .signing import Pen


class FwknopSealer:
    """Makes packets of fwknop for one server."""

    __slots__ = ("_fwknop", "_outside", "_pen", "_profile", "_randomness")

    def __init__(
        self, profile: Profile, fwknop: Fwknop, randomness: Callable[[int], bytes]
    ) -> None:
        """Take the profile and what it has for an fwknopd.

        Raises:
            ProfileError: it has OpenPGP keys, and there is no GnuPG here.
        """
        self._profile = profile
        self._pen: Pen | None = None
        if fwknop.signer:
            # Who does without it does not load it.
            from .signing import Pen

            self._pen = Pen(profile.path, fwknop.signer, fwknop.recipient)
        self._fwknop = fwknop
        self._randomness = randomness
        self._outside: Outside | None = None
        if fwknop.way.resolve_url:
            from .outside import Outside

            self._outside = Outside(fwknop.way.resolve_url, ipv4=True)

    def seal(self, request: Request) -> bytes:
        """Return a packet that was never there before.

        Raises:
            Malformed: fwknop has no such request.
            ProfileError: gpg does not sign it, or not in a way that fwknop reads.
            ResolveError: nobody says which address to let in.
        """
        fresh = self._randomness(RANDOMNESS_SIZE)
        message = self._message(request, rand(fresh[SALT_SIZE:]))
        mine = self._fwknop
        if self._pen is not None:
            return self._sign(self._pen, message)
        return seal(message, mine.keys, fresh[:SALT_SIZE], mine.digest)

    def _sign(self, pen: Pen, message: Message) -> bytes:
        from .protocol.fwknop.openpgp import Hmac, enclose
        from .protocol.fwknop.text import spell

        keys = self._fwknop.keys
        made = pen.sign(spell(message, self._fwknop.digest))
        try:
            return enclose(made, Hmac(keys.hmac, keys.hmac_digest))
        except Malformed as error:
            raise ProfileError(
                self._profile.path,
                f"fwknopd does not take what gpg makes of these keys: {error}",
                "its key has to be RSA of 2048 to 4096 bits, or Elgamal of 2048"
                if str(error) != "too long"
                else "sign with a smaller key, or ask for less",
            ) from error

    def check(self, address: Address) -> None:
        """See that fwknopd hears what is sent there.

        Raises:
            OSError: it does not.
        """
        if address.family != socket.AF_INET:
            code = errno.EAFNOSUPPORT
            raise OSError(code, os.strerror(code))

    def deliver(self, packet: bytes, address: Address) -> Source:
        """Send `packet`; return where it came from, or a connection will.

        Raises:
            ProfileError: the way takes root or scapy, and there is none.
            OSError: there is no way to that address.
        """
        if not self._fwknop.way.is_usual:
            from .transport import send

            return send(packet, address, self._profile, self._fwknop.way)
        udp, source = open_wide(address, self._profile.port)
        try:
            udp.send(packet)
        except ConnectionRefusedError:
            pass  # fwknopd listens with libpcap, and the port may be closed.
        finally:
            udp.close()
        return source

    def _message(self, request: Request, digits: str) -> Message:
        message = Message(
            digits,
            self._profile.user,
            request.time // 1000,
            COMMAND,
            request.address or self._fwknop.address or self._own_address(),
        )
        if request.command:
            # Not at the top: a login has no command.
            from shlex import join

            # fwknopd gives it to a shell.
            return message._replace(command=join(request.command))
        kinds = (ACCESS, TIMEOUT_ACCESS)
        if self._fwknop.is_local:
            kinds = (LOCAL_NAT_ACCESS, TIMEOUT_LOCAL_NAT_ACCESS)
        elif self._fwknop.target is not None:
            kinds = (NAT_ACCESS, TIMEOUT_NAT_ACCESS)
        return message._replace(
            type=kinds[request.lifetime > 0],
            ports=((request.protocol, request.port),),
            target=self._fwknop.target,
            timeout=request.lifetime,
        )

    def _own_address(self) -> bytes:
        """Return the address that was asked for; empty for the packet's own source."""
        return self._outside.wait() if self._outside else b""


class FwknopKnocker:
    """Knocks at one fwknopd for one TCP port."""

    __slots__ = ("_is_signed", "_now_ms", "_port", "_ready", "_sealer", "knock_port")

    def __init__(
        self,
        profile: Profile,
        fwknop: Fwknop,
        port: int,
        now_ms: Callable[[], int],
        randomness: Callable[[int], bytes],
    ) -> None:
        """Prepare for knocks at the TCP `port`."""
        self.knock_port = profile.port
        self._is_signed = bool(fwknop.signer)
        self._sealer = FwknopSealer(profile, fwknop, randomness)
        self._port = port
        self._now_ms = now_ms
        # Ahead of time: the name server may still be thinking.
        self._ready = b"" if fwknop.way.resolve_url else self._seal()

    def _seal(self) -> bytes:
        request = Request(self._now_ms(), protocol=TCP, port=self._port)
        packet = self._sealer.seal(request)
        if self._is_signed and self._now_ms() - request.time > SLOW_MS:
            packet = self._sealer.seal(request._replace(time=self._now_ms()))
        return packet

    def knock(self, address: Address, *, narrow: bool) -> Source:
        """Send a packet that was never sent before; return where it came from.

        Args:
            address: whom to knock at.
            narrow: of no use: fwknop has no word for a source port.

        Raises:
            OSError: this computer has no way to that address, or fwknopd has none.
            SpasshError: as `FwknopSealer.seal` and `deliver`.
        """
        del narrow
        self._sealer.check(address)
        packet, self._ready = self._ready or self._seal(), b""
        return self._sealer.deliver(packet, address)
