"""Users and what they may do: from the text of a users.d file to values.

Pure: text in, `User` out. Who reads the files, and as whom, is `config` and `privsep`.
"""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError, Unauthentic
from spassh.protocol.fwknop.opening import Keyring
from spassh.protocol.fwknop.openpgp import Hmac
from spassh.protocol.fwknop.openpgp import Keyring as MessageKeyring
from spassh.protocol.keys import PSK, PUBLIC, decode_key
from spassh.protocol.names import check_user

from .commands import Command
from .config import Config
from .fingerprints import read_fingerprints
from .firewall import Forward, Network, Width
from .fwknop_keys import FORMAT as FWKNOP
from .fwknop_keys import FwknopGnupgKey, FwknopKey, read_fwknop_key
from .limits import (
    MAX_FWKNOP_KEYS,
    MAX_KEYS_PER_USER,
    MAX_USERS_IN_MAIN_FILE,
)
from .ports import Port
from .toml import ConfigError, Table, read_toml

WIDTHS = {width.label: width for width in Width}
_DEFAULT_WIDTHS = (Width.FLOW.label, Width.ADDRESS.label)

_KEYS = {
    "ports",
    "forwards",
    "commands",
    "widths",
    "lifetime",
    "max_lifetime",
    "sources",
    "any_address",
    "not_before",
    "expires",
    "format",
    "gnupg",
    "key",
}
_KEY_KEYS = {"format", "public", "psk", "expires", "invite"}
_NATIVE = "native"
FORMATS = (_NATIVE, FWKNOP)
"""What the packets are that a key is for."""
_USER_FORMATS = (_NATIVE, "gnupg")


class UserKey(NamedTuple):
    """One of a user's keys."""

    public: bytes
    psk: bytes
    expires: int = 0
    """Milliseconds since 1970-01-01 UTC from which it opens nothing; 0 for never."""
    invite: bool = False
    """Whether its secret half was made here and is in an invite, which others may have
    seen. It opens as much as any other key, until the client has replaced it."""

    def is_open_invite(self, now: int) -> bool:
        """Tell whether whoever has seen the invite is let in at the time `now` (ms)."""
        return self.invite and not 0 < self.expires <= now


class User(NamedTuple):
    """One user and the most that he or she is granted."""

    name: str
    keys: tuple[UserKey, ...]
    ports: frozenset[Port]
    """Ports of this host, and those that lead to others."""
    lifetime: int
    """Seconds, when the request leaves it to the server."""
    max_lifetime: int
    """Seconds, whatever the request says."""
    sources: tuple[Network, ...]
    """Where the user's datagrams may come from; empty means anywhere."""
    any_address: bool
    """May ask to let another address in than the datagram's source."""
    widths: frozenset[Width] = frozenset({Width.FLOW, Width.ADDRESS})
    not_before: int = 0
    """Milliseconds since 1970-01-01 UTC; 0 for always."""
    expires: int = 0
    """The same; 0 for never."""
    commands: tuple[Command, ...] = ()
    forwards: tuple[Forward, ...] = ()
    """Where those of `ports` lead that are no ports of this host."""
    fwknop: tuple[FwknopKey, ...] = ()
    """Keys for packets of fwknop. `keys` are those for native ones."""
    fwknop_gnupg: tuple[FwknopGnupgKey, ...] = ()
    """The same for packets of fwknop that are made by GnuPG."""
    gnupg: frozenset[str] = frozenset()
    """The OpenPGP keys of which one has to sign each request, as fingerprints of upper
    case; none: requests are not signed."""

    @property
    def laxness(self) -> list[str]:
        """Return what those of the keys do without that do without something."""
        each = [key.laxness for key in self.fwknop]
        each += [key.laxness for key in self.fwknop_gnupg]
        return list(filter(None, each))

    @property
    def all_keys(self) -> tuple[UserKey | FwknopKey | FwknopGnupgKey, ...]:
        """Return the keys for packets of whatever format."""
        return self.keys + self.fwknop + self.fwknop_gnupg


class Users:
    """All users, found by the public key of a datagram in constant time."""

    def __init__(self, users: list[User]) -> None:
        """Index `users`. A key's first owner keeps it; `duplicates` has the rest."""
        self.by_name = {user.name: user for user in users}
        self.duplicates: list[tuple[str, str]] = []
        self._by_key: dict[bytes, tuple[UserKey, User]] = {}
        self.fwknop: list[tuple[FwknopKey, User]] = []
        """Every key for packets of fwknop that is tried, and whose it is."""
        self.fwknop_gnupg: list[tuple[FwknopGnupgKey, User]] = []
        """The same of those whose packets are made by GnuPG."""
        self.untried: list[str] = []
        """Users of whom not all of these are, because there are too many in all."""
        for user in users:
            self._add_fwknop(user)
            for key in user.keys:
                owner = self._by_key.setdefault(key.public, (key, user))[1]
                if owner is not user:
                    self.duplicates.append((user.name, owner.name))

        self.fwknop_keyring = Keyring(key.keys for key, _ in self.fwknop)
        self.fwknop_messages = MessageKeyring(key.hmac for key, _ in self.fwknop_gnupg)

    def _add_fwknop(self, user: User) -> None:
        owners = {key.keys: owner for key, owner in self.fwknop}
        for key in user.fwknop:
            if self._is_tried(user, owners.get(key.keys, user)):
                self.fwknop.append((key, user))
        for one in user.fwknop_gnupg:
            met = [owner for key, owner in self.fwknop_gnupg if key.meets(one)]
            if self._is_tried(user, [*met, user][0]):
                self.fwknop_gnupg.append((one, user))

    def _is_tried(self, user: User, owner: User) -> bool:
        """Tell whether a key that is the owner's is one of the user's, and has room."""
        if owner is not user:
            self.duplicates.append((user.name, owner.name))
        elif len(self.fwknop) + len(self.fwknop_gnupg) >= MAX_FWKNOP_KEYS:
            self.untried.append(user.name)
        else:
            return True
        return False

    def owner_of_message(
        self, hmac: Hmac, signer: str
    ) -> tuple[FwknopGnupgKey, User] | None:
        """Return the key of a packet of fwknop, and whose it is, if somebody's.

        Args:
            hmac: what the packet was authenticated with; without a key, the signer
                alone says whose it is.
            signer: the fingerprint of the OpenPGP key that has signed it.
        """
        wanted = FwknopGnupgKey(hmac, frozenset({signer}))
        for key, user in self.fwknop_gnupg:
            if key.meets(wanted):
                return key, user
        return None

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
        return found[0].psk

    def owner(self, public: bytes) -> tuple[UserKey, User]:
        """Return the key that `psk` found, and whose it is."""
        return self._by_key[public]


def shared_problems(users: Users, path_of: Callable[[str], str]) -> list[ConfigError]:
    """Return what is wrong with users together; `path_of` says where one is written."""
    problems = []
    for user, owner in users.duplicates:
        what = f"belongs to {owner} already"
        hint = "each key has one user"
        problems.append(ConfigError(path_of(user), 0, "key", what, hint))
    for user in dict.fromkeys(users.untried):
        what = f"there are more than {MAX_FWKNOP_KEYS} keys for packets of fwknop"
        hint = "a native key costs nothing for the packets of others"
        problems.append(ConfigError(path_of(user), 0, "key", what, hint))
    return problems


def lax_keys(users: Iterable[User]) -> list[str]:
    """Return a warning for each key that does without what fwknop 2 has."""
    return [
        f"a key of {user.name} takes packets of fwknop without {laxness}"
        for user in users
        for laxness in user.laxness
    ]


def parse_user(
    name: str, text: str, path: str, config: Config, taken: Collection[str] = ()
) -> User:
    """Read one user's file. The names `taken` are in the configuration file already.

    Raises:
        ConfigError: it is broken; the error has file, line, key and remedy.
    """
    try:
        check_user(name)
    except TextFormError as error:
        raise ConfigError(path, 0, "", str(error), "rename the file") from error
    if name in taken:
        where = f"{name} is in {config.path} as well"
        raise ConfigError(path, 0, "", where, "take one of them out")
    return _user(name, read_toml(text, path), config)


def parse_main_users(
    text: str, config: Config
) -> tuple[list[User], list[ConfigError], list[str]]:
    """Read the tables [users.NAME] of the configuration file with this `text`.

    Returns:
        The users, what is wrong with the others, and the names of those.

    Raises:
        ConfigError: the file is broken as a whole.
    """
    table = read_toml(text, config.path)
    users: list[User] = []
    problems: list[ConfigError] = []
    broken: list[str] = []
    for name, entry in table.named_tables("users", MAX_USERS_IN_MAIN_FILE).items():
        try:
            users.append(_user(check_user(name), entry, config))
        except TextFormError as error:
            problems.append(table.error("users", str(error), "rename the table"))
        except ConfigError as error:
            problems.append(error)
            broken.append(name)
    return users, problems, broken


def _user(name: str, table: Table, config: Config) -> User:
    table.only(_KEYS)
    lifetime = table.integer("lifetime", config.lifetime, 1, config.max_lifetime)
    not_before, expires = table.moment("not_before"), table.moment("expires")
    if not_before and expires and expires <= not_before:
        raise table.error("expires", "is not after not_before", "write a later one")
    entries = _key_tables(table)
    fwknop, fwknop_gnupg = _fwknop_keys(entries, config)
    return User(
        name,
        _native_keys(entries),
        _ports(table, config),
        lifetime,
        table.integer("max_lifetime", lifetime, lifetime, config.max_lifetime),
        _sources(table),
        table.boolean("any_address", default=False),
        _widths(table),
        not_before,
        expires,
        _commands(table, config),
        _forwards(table, config),
        fwknop,
        fwknop_gnupg,
        _openpgp_keys(table),
    )


def _ports(table: Table, config: Config) -> frozenset[Port]:
    own = table.ports("ports", config.grant_ports)
    led_on = table.ports("forwards", ())
    for key, ports, allowed, where in (
        ("ports", own, config.grant_ports, "grant_ports"),
        ("forwards", led_on, config.forward_ports, "any [[forward]]"),
    ):
        foreign = [str(port) for port in ports if port not in allowed]
        if foreign:
            raise table.error(
                key,
                f"{foreign[0]} is not in {where} of {config.path}",
                f'add "{foreign[0]}" there and restart spasshd, or take it out here',
            )
    return frozenset(own + led_on)


def _forwards(table: Table, config: Config) -> tuple[Forward, ...]:
    ports = table.ports("forwards", ())
    return tuple(one for one in config.forward if one.port in ports)


def _widths(table: Table) -> frozenset[Width]:
    names = table.strings("widths", _DEFAULT_WIDTHS)
    if not names or any(name not in WIDTHS for name in names):
        raise table.error(
            "widths",
            f"expected a list of {', '.join(WIDTHS)}",
            'write widths = ["flow", "address"]',
        )
    return frozenset(WIDTHS[name] for name in names)


def _commands(table: Table, config: Config) -> tuple[Command, ...]:
    known = {command.name: command for command in config.command}
    names = table.strings("commands", ())
    for name in names:
        if name not in known:
            raise table.error(
                "commands",
                f"no [[command]] of {config.path} is called {name[:64]!r}",
                "add one there and restart spasshd, or take the name out here",
            )
    return tuple(known[name] for name in dict.fromkeys(names))


def _key_tables(table: Table) -> list[tuple[str, Table]]:
    """Return the tables [[key]], each with the format that it is for."""
    entries = table.tables("key", MAX_KEYS_PER_USER)
    if not entries:
        raise table.error(
            "key", "the user has no key", "add one with 'spasshd user add'"
        )
    return [(entry.choice("format", _NATIVE, FORMATS), entry) for entry in entries]


def _native_keys(entries: list[tuple[str, Table]]) -> tuple[UserKey, ...]:
    keys: list[UserKey] = []
    for kind, entry in entries:
        if kind != _NATIVE:
            continue
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
        psk, expires = _decode(entry, "psk", PSK), entry.moment("expires")
        invite = entry.boolean("invite", default=False)
        keys.append(UserKey(public, psk, expires, invite))
    return tuple(keys)


def _openpgp_keys(table: Table) -> frozenset[str]:
    wanted = table.choice("format", _NATIVE, _USER_FORMATS) == "gnupg"
    if not wanted and table.strings("gnupg", ()):
        raise table.error(
            "gnupg", "nobody looks at it", 'write format = "gnupg" as well'
        )
    return read_fingerprints(table) if wanted else frozenset()


def _fwknop_keys(
    entries: list[tuple[str, Table]], config: Config
) -> tuple[tuple[FwknopKey, ...], tuple[FwknopGnupgKey, ...]]:
    keys: list[FwknopKey] = []
    by_gnupg: list[FwknopGnupgKey] = []
    for kind, entry in entries:
        if kind != FWKNOP:
            continue
        if not config.fwknop:
            raise entry.error(
                "format",
                f"packets of fwknop are not taken: see {config.path}",
                "write fwknop = true there and restart spasshd",
            )
        key = read_fwknop_key(entry)
        if isinstance(key, FwknopGnupgKey):
            is_there = any(map(key.meets, by_gnupg))
            by_gnupg.append(key)
        else:
            is_there = any(one.keys == key.keys for one in keys)
            keys.append(key)
        if is_there:
            raise entry.error("format", "is listed twice", "take one of them out")
    return tuple(keys), tuple(by_gnupg)


def _decode(entry: Table, key: str, kind: str) -> bytes:
    try:
        return decode_key(kind, entry.string(key))
    except TextFormError as error:
        raise entry.error(key, str(error), "copy the key again, whole") from error


def _sources(table: Table) -> tuple[Network, ...]:
    networks = table.networks("sources")
    if table.has("sources") and not networks:
        # Taking the last network out must not let the whole world in.
        raise table.error(
            "sources", "is an empty list", "take the line out to allow every source"
        )
    return networks
