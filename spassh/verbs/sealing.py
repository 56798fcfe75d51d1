"""Requests of verbs, sealed for the server of a profile."""

import os
from typing import Protocol

from ..errors import ProfileError
from ..fwknop import FwknopSealer
from ..profile import SIGNED, Profile, load_keys
from ..protocol.errors import Unauthentic
from ..protocol.limits import RANDOMNESS_SIZE
from ..protocol.packet import ClientKeys, seal
from ..protocol.request import Request
from ..resolve import Address
from ..signing import Signer
from ..source import Source, open_wide


class AnySealer(Protocol):
    """Makes datagrams of whatever format the profile says."""

    def seal(self, request: Request) -> bytes:
        """Return a datagram that was never there before.

        Raises:
            ProfileError: the server's key is none that anybody could have.
            Malformed: there is no such request.
        """
        ...

    def check(self, address: Address) -> None:
        """See that the server hears what is sent there; raise OSError if not."""
        ...

    def deliver(self, packet: bytes, address: Address) -> Source:
        """Send it; return where it came from.

        Raises:
            ProfileError: its way takes root, or a library that is missing.
            OSError: there is no way to that address.
        """
        ...


def sealer_for(profile: Profile, home: str) -> AnySealer:
    """Return what makes datagrams for the server of `profile`.

    Raises:
        ProfileError: a key is missing or damaged.
    """
    if profile.fwknop:
        return FwknopSealer(profile, profile.fwknop, os.urandom)
    return Sealer(profile, home)


class Sealer:
    """Seals requests with the keys of a profile."""

    def __init__(self, profile: Profile, home: str) -> None:
        """Load the keys.

        Raises:
            ProfileError: one of them is missing or damaged.
        """
        self._profile = profile
        keys = load_keys(profile, home)
        self._keys = ClientKeys(keys.secret, keys.server, keys.psk)
        self._signer = Signer(profile) if profile.format == SIGNED else None

    def seal(self, request: Request) -> bytes:
        """Return a datagram that was never there before.

        Raises:
            ProfileError: the server's key is none that anybody could have, or nobody
                signs what has to be signed.
            Malformed: there is no such request.
        """
        randomness = os.urandom(RANDOMNESS_SIZE)
        try:
            if self._signer is not None:
                return self._signer.seal(request, self._keys, randomness)
            return seal(request, self._keys, randomness)
        except Unauthentic as error:
            raise ProfileError(
                self._profile.path,
                f"'server': {error}",
                "ask the server's administrator for a new invite",
            ) from error

    def check(self, address: Address) -> None:
        """See that the server hears what is sent there: it does."""

    def deliver(self, packet: bytes, address: Address) -> Source:
        """Send it; return where it came from.

        Raises:
            OSError: there is no way to that address.
        """
        udp, source = open_wide(address, self._profile.port)
        with udp:
            udp.send(packet)
        return source
