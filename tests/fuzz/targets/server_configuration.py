"""spasshd.toml is read within its bounds, or a `ConfigError` of one line says why not.

So it is for the users in it, and for the part of it that is read when it is broken.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from unittest.mock import patch

from unit.server.fwknop_parties import TABLE

from spassh.protocol.limits import MAX_LIFETIME
from spassh_server import salvage
from spassh_server.config import Config, parse
from spassh_server.toml import ConfigError
from spassh_server.users import Users, lax_keys, parse_main_users, shared_problems

_PATH = "/etc/spassh/spasshd.toml"
_EVERYTHING = """\
interfaces = ["eth0"]
knock_port = 62201
fwknop = true
protect = ["tcp/22"]
grant_ports = ["tcp/22", "udp/53"]
always_allow = ["192.0.2.0/24"]
lifetime = 15
max_lifetime = 300
backend = "nftables"
firewall_name = "spassh"
mark = "0x1"
on_open = ["/bin/true"]

[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
to_port = 22

[[command]]
name = "reboot"
argv = ["/sbin/reboot", "{when:now|later}"]

[users.ada]
ports = ["tcp/22"]
commands = ["reboot"]
[[users.ada.key]]
"""


def seeds() -> Iterator[tuple[str, bytes]]:
    whole = _EVERYTHING + TABLE.partition("[[key]]\n")[2]
    yield "everything", whole.encode()
    yield "nothing", b""
    yield "an unknown key", b'protcet = ["tcp/22"]\n'


def check(data: bytes) -> None:
    text = data.decode("utf-8", "ignore")
    try:
        config = parse(text, _PATH)
    except ConfigError as error:
        _is_clear(error)
    else:
        _is_bounded(config)
        _users(text, config)
    with patch.object(salvage, "read_private", lambda *_, **__: text):
        _is_bounded(salvage.salvage(_PATH))


def _users(text: str, config: Config) -> None:
    try:
        found, problems, broken = parse_main_users(text, config)
    except ConfigError as error:
        _is_clear(error)
        return
    for problem in problems:
        _is_clear(problem)
    assert len(broken) <= len(problems)
    users = Users(found)
    for problem in shared_problems(users, lambda name: f"/users.d/{name}.toml"):
        _is_clear(problem)
    lax_keys(found)
    for user in found:
        assert user.ports <= set(config.grant_ports)
        assert 0 < user.lifetime <= user.max_lifetime <= config.max_lifetime
        assert {one.name for one in user.commands} <= {
            one.name for one in config.command
        }


def _is_bounded(config: Config) -> None:
    assert 0 < config.knock_port < 1 << 16
    assert 0 < config.lifetime <= config.max_lifetime <= MAX_LIFETIME
    assert set(config.protect) <= set(config.grant_ports)
    places = (config.state_dir, config.run_dir, config.users_dir)
    assert all(Path(one).is_absolute() for one in places)
    ports = chain(config.grant_ports, config.forward_ports)
    assert all(0 < port.number < 1 << 16 for port in ports)


def _is_clear(error: ConfigError) -> None:
    assert str(error).startswith("/")
    assert error.hint
