"""The datagram on the wire and how a client makes one (PROTOCOL.md sections 3 and 4).

datagram := tag[4] | e[32] | encrypted client static[48] | encrypted payload | mac[16]
"""

from __future__ import annotations

from .halfsiphash import halfsiphash
from .hashing import blake2s
from .limits import EPHEMERAL_SIZE, MAC_SIZE, RANDOMNESS_SIZE, TAG_SIZE
from .named_tuple import NamedTuple
from .noise import write_first_message
from .request import Request, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .primitives import KeyPair

PROLOGUE = b"spassh 1"

_TAG_INPUT = 8


class Gate:
    """The two keys that everybody who knows the server's public key can derive.

    They keep strangers away cheaply; they prove nothing about the sender.
    """

    __slots__ = ("_mac", "mac_key", "tag_key")

    def __init__(self, server: bytes) -> None:
        """Derive both keys from the server's 32-byte public key (section 3)."""
        self.tag_key = blake2s(b"spassh 1 tag" + server, digest_size=8).digest()
        self.mac_key = blake2s(b"spassh 1 mac" + server).digest()
        # Made once: the key's own block would be half of the work.
        self._mac = blake2s(digest_size=MAC_SIZE, key=self.mac_key)

    def tag(self, ephemeral: bytes) -> bytes:
        """Return the 4-byte tag over the first 8 bytes of `ephemeral`."""
        return halfsiphash(self.tag_key, ephemeral[:_TAG_INPUT])

    def mac(self, datagram: bytes) -> bytes:
        """Return the 16-byte mac over all of `datagram` that comes before it."""
        mac = self._mac.copy()
        mac.update(datagram)
        return mac.digest()


class ClientKeys(NamedTuple):
    """What a client needs to knock at one server."""

    secret: bytes
    """The client's X25519 secret key, 32 bytes."""
    server: bytes
    """The server's X25519 public key, 32 bytes."""
    psk: bytes
    """The pre-shared key of this client and this server, 32 bytes."""


def seal(request: Request, keys: ClientKeys, randomness: bytes) -> bytes:
    """Make the datagram for `request`: 192 bytes, or 1200 with a command.

    `randomness` is 33 bytes that nobody can guess and that are never used twice.

    Raises:
        Malformed: `request` cannot be spelled.
        Unauthentic: the server's public key is a point of low order.
        ValueError: `randomness` has another size.
    """
    return seal_payload(encode(request), keys, randomness)


def seal_payload(payload: bytes, keys: ClientKeys, randomness: bytes) -> bytes:
    """Make the datagram with `payload`, of 76 or 1084 bytes, inside.

    Raises:
        Unauthentic, ValueError: as `seal`.
    """
    ephemeral, spelling = _ephemeral(randomness)
    from .primitives import fastest

    message = write_first_message(
        prologue=PROLOGUE,
        static=fastest.PrivateKey(keys.secret),
        ephemeral=ephemeral,
        ephemeral_spelling=spelling,
        responder=keys.server,
        psk=keys.psk,
        payload=payload,
        encrypt=fastest.encrypt,
    )
    gate = Gate(keys.server)
    body = (
        gate.tag(message.ephemeral)
        + message.ephemeral
        + message.static
        + message.payload
    )
    return body + gate.mac(body)


def ephemeral_spelling(randomness: bytes) -> bytes:
    """Return the 32 bytes of `e` in a datagram that is sealed with `randomness`.

    Raises:
        ValueError: as `seal`.
    """
    return _ephemeral(randomness)[1]


def _ephemeral(randomness: bytes) -> tuple[KeyPair, bytes]:
    if len(randomness) != RANDOMNESS_SIZE:
        raise ValueError(f"randomness must be {RANDOMNESS_SIZE} bytes")
    # Not at the top: the server imports this module, too, and seals nothing.
    from .primitives import fastest

    ephemeral = fastest.PrivateKey(randomness[:EPHEMERAL_SIZE])
    # Section 4.2: an X25519 public key has its top bit clear, which would tell a spassh
    # datagram from noise. X25519 ignores the bit, so it carries a random one.
    spelling = bytearray(ephemeral.public)
    spelling[-1] |= randomness[EPHEMERAL_SIZE] & 0x80
    return ephemeral, bytes(spelling)


class Parts(NamedTuple):
    """A datagram cut into its fields."""

    tag: bytes
    ephemeral: bytes
    static: bytes
    payload: bytes
    mac: bytes


def split(datagram: bytes) -> Parts:
    """Cut a datagram of a valid size into its fields."""
    at = TAG_SIZE + EPHEMERAL_SIZE
    return Parts(
        datagram[:TAG_SIZE],
        datagram[TAG_SIZE:at],
        datagram[at : at + 48],
        datagram[at + 48 : -MAC_SIZE],
        datagram[-MAC_SIZE:],
    )
