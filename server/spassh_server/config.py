"""spasshd.toml: every key, its default and its bounds. See spasshd.toml(5).

Both programs read it: the listener to know what to do, the granter to know what it must
never do. So it imports no cryptography.
"""

import os
from typing import Final, NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.limits import DEFAULT_KNOCK_PORT, MAX_LIFETIME
from spassh.protocol.names import check_host

from .commands import Command
from .config_commands import read_commands
from .config_forwards import read_forwards
from .files import read_private
from .firewall import Forward, Network, Settings
from .limits import (
    MAX_ALWAYS_ALLOW,
    MAX_FWKNOP_TRANSPORTS,
    MAX_PROGRAM_WORDS,
    MAX_USERS_IN_MAIN_FILE,
)
from .ports import Port
from .toml import ConfigError, Table, read_toml
from .transports import UDP, Transport, parse_transport

DEFAULT_PATH: Final = "/etc/spassh/spasshd.toml"

DEFAULT_MARK: Final = 0x2000_0000

BACKENDS: Final = ("auto", "nftables", "iptables", "ipfw", "pf")
MANAGE: Final = ("drop", "accept")
LOGS: Final = ("auto", "stderr", "journal", "syslog", "json")
_MAX_INTERFACES: Final = 16
_NAME_BYTES: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Config(NamedTuple):
    """What spasshd.toml says. All paths are absolute."""

    path: str
    interfaces: tuple[str, ...]
    knock_port: int
    fwknop: bool
    """Whether packets of fwknop are captured, for users that have keys for them."""
    fwknop_transports: tuple[Transport, ...]
    """By what else than UDP to the knock port they may come."""
    address: str
    """The server's name or address in invites; empty means the host's name."""
    backend: str
    protect: tuple[Port, ...]
    manage: str
    """Who owns the drop: "drop" for us, "accept" for somebody else."""
    always_allow: tuple[Network, ...]
    firewall_name: str
    mark: int
    ipset: bool
    ipfw_path: str
    ipfw_rule: int
    pfctl_path: str
    forward: tuple[Forward, ...]
    grant_ports: tuple[Port, ...]
    lifetime: int
    max_lifetime: int
    max_grants: int
    command: tuple[Command, ...]
    on_open: tuple[str, ...]
    """A program and its arguments, or nothing."""
    on_close: tuple[str, ...]
    hook_user: str
    hook_timeout: int
    log: str
    user: str
    """Account name or numeric uid that the listener becomes."""
    key_file: str
    users_dir: str
    state_dir: str
    run_dir: str
    gpg_path: str
    gnupg_dir: str
    """The GnuPG home with the server's OpenPGP key, if there is one."""

    @property
    def firewall(self) -> Settings:
        """The part that a firewall back end is told."""
        return Settings(
            name=self.firewall_name,
            protect=self.protect,
            knock_port=self.knock_port,
            mark=self.mark,
            ipset=self.ipset,
            own_drop=self.manage == "drop",
            always_allow=self.always_allow,
            grant_ports=self.all_ports,
            forwards=self.forward,
            programs=(self.ipfw_path, self.pfctl_path),
            ipfw_rule=self.ipfw_rule,
        )

    @property
    def forward_ports(self) -> tuple[Port, ...]:
        """The ports that lead to other hosts."""
        return tuple(dict.fromkeys(forward.port for forward in self.forward))

    @property
    def all_ports(self) -> tuple[Port, ...]:
        """Every port that anybody can be granted."""
        return tuple(dict.fromkeys(self.grant_ports + self.forward_ports))


_DEFAULT_PORTS = (Port(6, 22),)
_KEYS = set(Config._fields) - {"path"} | {"users"}


def load(path: str) -> Config:
    """Read the configuration file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    path = os.path.abspath(path)
    text = read_private(path, secret=False)
    config = parse(text, path)
    if has_users(text, path):
        # The keys in it are nobody else's business.
        read_private(path, secret=True)
    return config


def has_users(text: str, path: str) -> bool:
    """Tell whether the configuration in `text` has users of its own."""
    return read_toml(text, path).has("users")


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
    forward = read_forwards(table)
    for one in forward:
        if one.port in grant_ports:
            raise table.error(
                "forward",
                f"{one.port} is in grant_ports, and so a port of this host",
                "take it out of grant_ports, or forward another port",
            )
    table.named_tables("users", MAX_USERS_IN_MAIN_FILE)
    max_lifetime = table.integer("max_lifetime", 300, 1, MAX_LIFETIME)
    knock_port = table.integer("knock_port", DEFAULT_KNOCK_PORT, 1, 65535)
    return Config(
        path=path,
        interfaces=_interfaces(table),
        knock_port=knock_port,
        fwknop=table.boolean("fwknop", default=False),
        fwknop_transports=_fwknop_transports(table, knock_port),
        address=_address(table),
        backend=table.choice("backend", "auto", BACKENDS),
        protect=protect,
        manage=table.choice("manage", "drop", MANAGE),
        always_allow=_always_allow(table),
        firewall_name=_firewall_name(table),
        mark=_mark(table),
        ipset=table.boolean("ipset", default=True),
        ipfw_path=_program(table, "ipfw_path", "/sbin/ipfw"),
        ipfw_rule=table.integer("ipfw_rule", 100, 1, 60_000),
        pfctl_path=_program(table, "pfctl_path", "/sbin/pfctl"),
        forward=forward,
        grant_ports=grant_ports,
        lifetime=table.integer("lifetime", min(15, max_lifetime), 1, max_lifetime),
        max_lifetime=max_lifetime,
        max_grants=table.integer("max_grants", 4096, 1, 65536),
        command=read_commands(table),
        on_open=_hook(table, "on_open"),
        on_close=_hook(table, "on_close"),
        hook_user=table.string("hook_user", "nobody"),
        hook_timeout=table.integer("hook_timeout", 10, 1, 600),
        log=table.choice("log", "auto", LOGS),
        user=table.string("user", "_spassh"),
        key_file=place("key_file", "server.key"),
        users_dir=place("users_dir", "users.d"),
        state_dir=place("state_dir", "state"),
        run_dir=place("run_dir", "run"),
        gpg_path=_program(table, "gpg_path", "/usr/bin/gpg"),
        gnupg_dir=place("gnupg_dir", "gnupg"),
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


def _fwknop_transports(table: Table, knock_port: int) -> tuple[Transport, ...]:
    key = "fwknop_transports"
    try:
        found = [parse_transport(text) for text in table.strings(key, ())]
    except ValueError as error:
        raise table.error(key, str(error), f'write {key} = ["http/80"]') from error
    if found and not table.boolean("fwknop", default=False):
        raise table.error(
            key, "packets of fwknop are not taken", "write fwknop = true as well"
        )
    if Transport(UDP, knock_port) in found:
        raise table.error(
            key, f"udp/{knock_port} is the knock port", "take it out: it is captured"
        )
    if len(found) > MAX_FWKNOP_TRANSPORTS:
        what = f"more than {MAX_FWKNOP_TRANSPORTS}"
        raise table.error(key, what, "take some out, or write udp/any")
    return tuple(dict.fromkeys(found))


def _always_allow(table: Table) -> tuple[Network, ...]:
    networks = table.networks("always_allow")
    if len(networks) > MAX_ALWAYS_ALLOW:
        raise table.error(
            "always_allow", f"more than {MAX_ALWAYS_ALLOW}", "write larger networks"
        )
    for network in networks:
        if not network.prefixlen:
            raise table.error(
                "always_allow",
                f"{network} is everybody",
                "take the port out of protect instead",
            )
    return networks


def _program(table: Table, key: str, default: str) -> str:
    path = table.string(key, default)
    if not os.path.isabs(path):
        raise table.error(key, "not an absolute path", f'write {key} = "{default}"')
    return path


def _hook(table: Table, key: str) -> tuple[str, ...]:
    words = table.strings(key, ())
    if words and not os.path.isabs(words[0]):
        raise table.error(
            key, "not an absolute path", f'write {key} = ["/usr/local/sbin/program"]'
        )
    if len(words) > MAX_PROGRAM_WORDS or any("\0" in word for word in words):
        raise table.error(key, "not a program and its arguments", "shorten it")
    return words


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
