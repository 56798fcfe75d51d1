"""The server, the users and the packets that the tests share."""

from collections.abc import Iterator
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from itertools import count
from typing import Any

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh.protocol.limits import RANDOMNESS_SIZE
from spassh.protocol.opening import ServerKeys
from spassh.protocol.packet import ClientKeys, seal, seal_payload
from spassh.protocol.request import Request
from spassh.protocol.signed import encode_signed
from spassh_server import config
from spassh_server.config import Config
from spassh_server.datagram import Datagram
from spassh_server.envelope import Opened
from spassh_server.firewall import Width
from spassh_server.ports import Port
from spassh_server.users import User, UserKey

NOW = 1_767_225_600_000  # 2026-01-01 00:00:00 UTC
SSH = Port(6, 22)
HERE = ip_address("192.0.2.7").packed
THERE = ip_address("198.51.100.9").packed
HERE6 = ip_address("2001:db8::7").packed

SERVER = ServerKeys(bytes(range(32)))
CLIENT_SECRET = bytes(range(32, 64))
CLIENT = PrivateKey(CLIENT_SECRET).public
CLIENT_PSK = bytes(range(64, 96))
STRANGER_SECRET = bytes(range(96, 128))

EVERY_WIDTH = frozenset(Width)

CONFIG: Config = config.parse("", "/etc/spassh/spasshd.toml")

_randomness: Iterator[bytes] = (
    blake2b(str(number).encode(), digest_size=RANDOMNESS_SIZE).digest()
    for number in count()
)


def user(name: str = "ada", **changes: Any) -> User:
    """Make a user with the defaults of an empty configuration, but for `changes`."""
    whole = User(
        name,
        keys=(UserKey(CLIENT, CLIENT_PSK),),
        ports=frozenset({SSH}),
        lifetime=15,
        max_lifetime=15,
        sources=(),
        any_address=False,
    )
    if "sources" in changes:
        changes["sources"] = tuple(map(ip_network, changes["sources"]))
    return whole._replace(**changes)


def datagram(source: bytes = HERE, source_port: int = 40_000) -> Datagram:
    """Return what a request came in, as far as policy looks at it."""
    return Datagram(source, source_port, b"")


def opened(request: Request | None = None, whose: User | None = None) -> Opened:
    """Return an authentic request of `whose`, made with the first key."""
    person = user() if whose is None else whose
    return Opened(request or access(), person, person.keys[0], bytes(32))


def access(**changes: Any) -> Request:
    """Make a request for ssh, but for `changes`."""
    return Request(NOW, 6, 22)._replace(**changes)


def sealed(
    request: Request | None = None,
    *,
    secret: bytes = CLIENT_SECRET,
    server: bytes = SERVER.public,
    psk: bytes = CLIENT_PSK,
) -> bytes:
    """Make a datagram as the client does; no two calls make the same."""
    keys = ClientKeys(secret, server, psk)
    return seal(access() if request is None else request, keys, next(_randomness))


def sealed_message(
    message: bytes = b"m", *, time: int = NOW, psk: bytes = CLIENT_PSK
) -> bytes:
    """Make a datagram with an OpenPGP message, of whatever worth."""
    keys = ClientKeys(CLIENT_SECRET, SERVER.public, psk)
    return seal_payload(encode_signed(time, message), keys, next(_randomness))


def key(number: int) -> UserKey:
    """Return the `number`-th of many keys."""
    # Not in the first byte: X25519 ignores three bits of it.
    secret = bytes([0, number]).ljust(32, b"\0")
    return UserKey(PrivateKey(secret).public, bytes([number]) * 32)


def key_table(number: int) -> str:
    """Spell the `number`-th key as an entry of a user's file."""
    its = key(number)
    return (
        f'[[key]]\npublic = "{encode_key(PUBLIC, its.public)}"\n'
        f'psk = "{encode_key(PSK, its.psk)}"\n'
    )
