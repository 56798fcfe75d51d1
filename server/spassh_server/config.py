"""spasshd.toml: every key, its default and its bounds. See spasshd.toml(5).

Both programs read it: the listener to know what to do, the granter to know what it must
never do. So it imports no cryptography.
"""

import os
from typing import Final, NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.limits import DEFAULT_KNOCK_PORT, MAX_LIFETIME
from spassh.protocol.names import check_host

from .files import read_private
from .firewall import Settings
from .ports import Port
from .toml import ConfigError, Table, read_toml

DEFAULT_PATH: Final = "/etc/spassh/spasshd.toml"

DEFAULT_MARK: Final = 0x2000_0000

BACKENDS: Final = ("auto", "nftables", "iptables")
_MAX_INTERFACES: Final = 16
_NAME_BYTES: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Config(NamedTuple):
    """What spasshd.toml says. All paths are absolute."""

    path: str
    interfaces: tuple[str, ...]
    knock_port: int
    address: str
    """The server's name or address in invites; empty means the host's name."""
    backend: str
    protect: tuple[Port, ...]
    firewall_name: str
    mark: int
    ipset: bool
    grant_ports: tuple[Port, ...]
    lifetime: int
    max_lifetime: int
    max_grants: int
    user: str
    """Account name or numeric uid that the listener becomes."""
    key_file: str
    users_dir: str
    state_dir: str
    run_dir: str

    @property
    def firewall(self) -> Settings:
        """The part that a firewall back end is told."""
        return Settings(
            self.firewall_name, self.protect, self.knock_port, self.mark, self.ipset
        )


_DEFAULT_PORTS = (Port(6, 22),)
_KEYS = set(Config._fields) - {"path"}


def load(path: str) -> Config:
    """Read the configuration file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    path = os.path.abspath(path)
    return parse(read_private(path, secret=False), path)


def parse(text: str, path: str) -> Config:
    """Read the configuration from the text of the file `path` (absolute).

    Raises:
        ConfigError: something in it is wrong.
    """
    table = read_toml(text, path)
    table.only(_KEYS)
    directory = os.path.dirname(path)

    def place(key: str, default: str) -> str:
        return os.path.join(directory, table.string(key, default))

    protect = table.ports("protect", ())
    grant_ports = table.ports("grant_ports", protect or _DEFAULT_PORTS)
    for port in protect:
        if port not in grant_ports:
            raise table.error(
                "grant_ports",
                f"{port} is protected, and nobody could be granted it",
                f'add "{port}" here, or take it out of protect',
            )
    max_lifetime = table.integer("max_lifetime", 300, 1, MAX_LIFETIME)
    return Config(
        path=path,
        interfaces=_interfaces(table),
        knock_port=table.integer("knock_port", DEFAULT_KNOCK_PORT, 1, 65535),
        address=_address(table),
        backend=table.choice("backend", "auto", BACKENDS),
        protect=protect,
        firewall_name=_firewall_name(table),
        mark=_mark(table),
        ipset=table.boolean("ipset", default=True),
        grant_ports=grant_ports,
        lifetime=table.integer("lifetime", min(15, max_lifetime), 1, max_lifetime),
        max_lifetime=max_lifetime,
        max_grants=table.integer("max_grants", 1024, 1, 65536),
        user=table.string("user", "_spassh"),
        key_file=place("key_file", "server.key"),
        users_dir=place("users_dir", "users.d"),
        state_dir=place("state_dir", "state"),
        run_dir=place("run_dir", "run"),
    )


def _interfaces(table: Table) -> tuple[str, ...]:
    names = table.strings("interfaces", ("any",))
    usable = all(0 < len(name) < 16 and name.isprintable() for name in names)
    if not names or len(names) > _MAX_INTERFACES or not usable or "/" in "".join(names):
        raise table.error(
            "interfaces",
            "expected a list of interface names",
            'write interfaces = ["any"] or ["eth0"]',
        )
    return names


def _address(table: Table) -> str:
    if not table.has("address"):
        return ""
    try:
        return check_host(table.string("address"))
    except TextFormError as error:
        raise table.error(
            "address", str(error), 'write address = "server.example.org"'
        ) from error


def _firewall_name(table: Table) -> str:
    name = table.string("firewall_name", "spassh")
    if len(name) > 20 or not _NAME_BYTES.issuperset(name) or not name[0].isalpha():
        raise table.error(
            "firewall_name",
            "expected a letter, then up to 19 of a-z 0-9 -",
            'write firewall_name = "spassh"',
        )
    return name


def _mark(table: Table) -> int:
    mark = table.integer("mark", DEFAULT_MARK, 1, 0x8000_0000)
    if mark & (mark - 1):
        raise table.error(
            "mark", "expected a number with one bit set", "write mark = 0x20000000"
        )
    return mark


__all__ = ["BACKENDS", "DEFAULT_PATH", "Config", "ConfigError", "load", "parse"]
