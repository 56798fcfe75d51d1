"""Users and what they may do: from the text of a users.d file to values.

Pure: text in, `User` out. Who reads the files, and as whom, is `config` and `privsep`.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError, Unauthentic
from spassh.protocol.keys import PSK, PUBLIC, decode_key
from spassh.protocol.names import check_user

from .config import Config
from .limits import MAX_KEYS_PER_USER
from .ports import Port
from .toml import ConfigError, Table, read_toml

Network = IPv4Network | IPv6Network

_KEYS = {"ports", "lifetime", "max_lifetime", "sources", "any_address", "key"}
_KEY_KEYS = {"public", "psk"}


class UserKey(NamedTuple):
    """One of a user's keys."""

    public: bytes
    psk: bytes


class User(NamedTuple):
    """One user and the most that he or she is granted."""

    name: str
    keys: tuple[UserKey, ...]
    ports: frozenset[Port]
    lifetime: int
    """Seconds, when the request leaves it to the server."""
    max_lifetime: int
    """Seconds, whatever the request says."""
    sources: tuple[Network, ...]
    """Where the user's datagrams may come from; empty means anywhere."""
    any_address: bool
    """May ask to let another address in than the datagram's source."""


class Users:
    """All users, found by the public key of a datagram in constant time."""

    def __init__(self, users: list[User]) -> None:
        """Index `users`. A key's first owner keeps it; `duplicates` has the rest."""
        self.by_name = {user.name: user for user in users}
        self.duplicates: list[tuple[str, str]] = []
        self._by_key: dict[bytes, tuple[bytes, User]] = {}
        for user in users:
            for key in user.keys:
                owner = self._by_key.setdefault(key.public, (key.psk, user))[1]
                if owner is not user:
                    self.duplicates.append((user.name, owner.name))

    def __len__(self) -> int:
        return len(self.by_name)

    def psk(self, public: bytes) -> bytes:
        """Return the pre-shared key that goes with a client's public key.

        Raises:
            Unauthentic: nobody has that key.
        """
        found = self._by_key.get(public)
        if found is None:
            raise Unauthentic("unknown client key")
        return found[0]

    def owner(self, public: bytes) -> User:
        """Return the user whose key `psk` found."""
        return self._by_key[public][1]


def parse_user(name: str, text: str, path: str, config: Config) -> User:
    """Read one user's file.

    Raises:
        ConfigError: it is broken; the error has file, line, key and remedy.
    """
    table = read_toml(text, path)
    try:
        check_user(name)
    except TextFormError as error:
        raise ConfigError(path, 0, "", str(error), "rename the file") from error
    table.only(_KEYS)
    ports = table.ports("ports", config.grant_ports)
    foreign = [str(port) for port in ports if port not in config.grant_ports]
    if foreign:
        raise table.error(
            "ports",
            f"{foreign[0]} is not in grant_ports of {config.path}",
            f'add "{foreign[0]}" there and restart spasshd, or take it out here',
        )
    lifetime = table.integer("lifetime", config.lifetime, 1, config.max_lifetime)
    return User(
        name,
        _keys(table),
        frozenset(ports),
        lifetime,
        table.integer("max_lifetime", lifetime, lifetime, config.max_lifetime),
        _sources(table),
        table.boolean("any_address", default=False),
    )


def _keys(table: Table) -> tuple[UserKey, ...]:
    entries = table.tables("key", MAX_KEYS_PER_USER)
    if not entries:
        raise table.error(
            "key", "the user has no key", "add one with 'spasshd user add'"
        )
    keys: list[UserKey] = []
    for entry in entries:
        entry.only(_KEY_KEYS)
        public = _decode(entry, "public", PUBLIC)
        # A point of low order would make every handshake with it fail: say so now.
        try:
            PrivateKey(bytes(32)).exchange(public)
        except Unauthentic as error:
            raise entry.error(
                "public", "not a usable key", "make another with 'spassh keygen'"
            ) from error
        if any(key.public == public for key in keys):
            raise entry.error("public", "is listed twice", "take one of them out")
        keys.append(UserKey(public, _decode(entry, "psk", PSK)))
    return tuple(keys)


def _decode(entry: Table, key: str, kind: str) -> bytes:
    try:
        return decode_key(kind, entry.string(key))
    except TextFormError as error:
        raise entry.error(key, str(error), "copy the key again, whole") from error


def _sources(table: Table) -> tuple[Network, ...]:
    networks = []
    for text in table.strings("sources", ()):
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise table.error(
                "sources", str(error), 'write a network such as "192.0.2.0/24"'
            ) from error
    if table.has("sources") and not networks:
        # Taking the last network out must not let the whole world in.
        raise table.error(
            "sources", "is an empty list", "take the line out to allow every source"
        )
    return tuple(networks)
