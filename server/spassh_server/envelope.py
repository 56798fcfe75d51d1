"""Which format a payload has, and what is inside: the formats take turns."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from spassh.protocol.errors import NotOurs
from spassh.protocol.request import Request
from spassh.protocol.signed import Signed

from .fwknop_keys import FwknopGnupgKey, FwknopKey
from .users import User, UserKey


class Target(NamedTuple):
    """Where a port is to lead, in the words of the request."""

    host: str
    """An address or a name."""
    port: int
    is_here: bool
    """Whether that is the server itself, whatever `host` says."""


class Opened(NamedTuple):
    """An authentic request, whatever format it came in."""

    request: Request
    user: User
    key: UserKey | FwknopKey | FwknopGnupgKey
    """The one of the user's keys that it was made with."""
    identity: bytes
    """What was authenticated, hashed: the same for every spelling of a datagram."""
    others: tuple[Request, ...] = ()
    """Further ports, where a format can ask for several at once."""
    target: Target | None = None
    """Where all of these ports are to lead, where a format can say that."""
    signed: Signed | None = None
    """The OpenPGP message that has the request, as long as nobody has looked at it."""
    signer: str = ""
    """The fingerprint of the OpenPGP key that has signed the request, or empty."""


class Enclosed(NamedTuple):
    """An OpenPGP message in which the whole request is, as a packet of fwknop has it.

    Nobody knows what is in it, nor when it was made, before gpg has opened it.
    """

    message: bytes
    identity: bytes
    """A hash of `message`. What is inside of it has another."""
    key: FwknopGnupgKey
    """The one that it was authenticated with. If that has no HMAC, it was not."""
    user: User | None
    """Whose key that is; None if nothing was authenticated, so that nobody knows."""


class Opener(Protocol):
    """Opens one packet format."""

    def open(self, payload: bytes) -> Opened | Enclosed:
        """Open `payload` or raise; `NotOurs` means "not my format"."""


class Envelope:
    """Tries each configured format. The first that claims a payload decides."""

    def __init__(self, openers: Sequence[Opener]) -> None:
        """Take the formats, at least one, the cheapest to reject first."""
        *self._openers, self._last = openers

    def open(self, payload: bytes) -> Opened | Enclosed:
        """Open `payload` with the format that it has.

        Raises:
            PacketError: no format accepts it.
        """
        for opener in self._openers:
            try:
                return opener.open(payload)
            except NotOurs:
                continue
        return self._last.open(payload)
