"""How a server opens a datagram (PROTOCOL.md section 6), cheapest check first.

This is apart from `packet` because the client never opens one, and what it does not
import it does not wait for.
"""

from collections.abc import Callable
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple

from .crypto import PrivateKey, decrypt
from .errors import NotOurs, Unauthentic
from .limits import DATAGRAM_SIZES, MAC_SIZE
from .noise import read_first_message
from .packet import PROLOGUE, Gate, split
from .request import Request, decode
from .signed import Signed, decode_signed, is_signed

_CLIENTS = 4096
"""Of so many clients the shared secret is remembered: 200 bytes for each."""
_NOBODYS = bytes(32)
"""In the place of keys of a client that is not known."""


class ServerKeys:
    """The server's key pair, and the gate keys that follow from its public half."""

    __slots__ = ("gate", "private", "shared")

    def __init__(self, secret: bytes) -> None:
        """Take the server's X25519 secret key, 32 bytes."""
        self.private = PrivateKey(secret)
        self.gate = Gate(self.private.public)
        # The same for every packet of a client, and a quarter of the work on each.
        self.shared = lru_cache(_CLIENTS)(self.private.exchange)

    @property
    def public(self) -> bytes:
        """The server's X25519 public key, 32 bytes."""
        return self.private.public


class Opened(NamedTuple):
    """An authentic datagram."""

    request: Request
    """Of a signed request, the time alone: the rest is in the message."""
    client: bytes
    """The client's public key, 32 bytes."""
    identity: bytes
    """The handshake hash, 32 bytes: what makes this datagram this one."""
    signed: Signed | None = None
    """The OpenPGP message with the request, if it is a signed one."""


class _Client:
    """Who has made a datagram, as far as the handshake asks for it.

    One that is not known takes the same steps as one that is, with keys that are
    nobody's. Else whoever sends a packet in the name of a public key could tell from
    how busy the server is then whether it is that of a client (PROTOCOL.md 6.1).
    """

    __slots__ = ("_find_psk", "_keys", "unknown")

    def __init__(self, keys: ServerKeys, find_psk: Callable[[bytes], bytes]) -> None:
        self._keys = keys
        self._find_psk = find_psk
        self.unknown: Unauthentic | None = None
        """Why nothing of it is accepted, whatever else comes out."""

    def psk(self, client: bytes) -> bytes:
        try:
            return self._find_psk(client)
        except Unauthentic as error:
            self.unknown = error
            return _NOBODYS

    def shared(self, client: bytes) -> bytes:
        # Of a client, this is remembered.
        return _NOBODYS if self.unknown else self._keys.shared(client)


def open_datagram(
    datagram: bytes,
    keys: ServerKeys,
    find_psk: Callable[[bytes], bytes],
    *,
    tagged: bool = False,
) -> Opened:
    """Open `datagram`, or raise. Time and replay are not looked at here.

    `find_psk` maps a client's public key to the pre-shared key (32 bytes) and raises
    `Unauthentic` for a client that is not known. `tagged` says that the tag was looked
    at already: in Python that takes longer than all the other hashes together.

    Raises:
        NotOurs: size, mac or tag are wrong: no more than two hashes were computed.
        Unauthentic: the handshake does not hold.
        Malformed: the payload breaks a rule.
    """
    if len(datagram) not in DATAGRAM_SIZES:
        raise NotOurs("size")
    if not compare_digest(keys.gate.mac(datagram[:-MAC_SIZE]), datagram[-MAC_SIZE:]):
        raise NotOurs("mac")
    parts = split(datagram)
    # The same datagrams must be refused where no kernel filter has checked the tag, or
    # the two would differ on what a datagram is.
    if not tagged and not compare_digest(keys.gate.tag(parts.ephemeral), parts.tag):
        raise NotOurs("tag")
    client = _Client(keys, find_psk)
    try:
        message = read_first_message(
            prologue=PROLOGUE,
            static=keys.private,
            shared=client.shared,
            find_psk=client.psk,
            ephemeral=parts.ephemeral,
            sealed_static=parts.static,
            sealed_payload=parts.payload,
            decrypt=decrypt,
        )
    except Unauthentic:
        if client.unknown is None:
            raise
        raise client.unknown from None
    if client.unknown is not None:
        raise client.unknown
    if is_signed(message.payload):
        time, inside = decode_signed(message.payload)
        signed = Signed(inside, parts.ephemeral)
        return Opened(Request(time), message.client, message.hash, signed)
    return Opened(decode(message.payload), message.client, message.hash)
