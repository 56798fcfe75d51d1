"""spasshd check: every mistake that can be found without starting the daemon."""

import socket
from argparse import Namespace

from .. import config, events
from ..accounts import find_account
from ..clock import wall_clock
from ..config import Config
from ..daemon import load_server_keys
from ..files import read_private
from ..firewall import FirewallError
from ..firewall.select import choose
from ..toml import ConfigError, read_toml
from ..userfiles import read_users


def run(options: Namespace) -> int:
    """Print what is right; errors go to standard error and make the status 1."""
    settings = config.load(options.config)
    problems = _problems(settings)
    users, broken = read_users(settings)
    for problem in problems + broken:
        events.error(problem, problem.hint)
    if problems or broken:
        return 1
    print(f"configuration: {settings.path}")
    print(f"users: {len(users)}")
    protected = ", ".join(map(str, settings.protect)) or "nothing"
    print(f"protected: {protected}")
    return _check_firewall(settings)


def _problems(settings: Config) -> list[ConfigError]:
    problems = []
    for part in (load_server_keys, find_account):
        try:
            part(settings)
        except ConfigError as error:
            problems.append(error)
    return problems + _missing_interfaces(settings)


def _missing_interfaces(settings: Config) -> list[ConfigError]:
    missing = [name for name in settings.interfaces if not _is_there(name)]
    if not missing:
        return []
    # Read again for the number of the line alone.
    table = read_toml(read_private(settings.path, secret=False), settings.path)
    return [
        table.error("interfaces", f"no interface '{name}'", "'ip link' lists them")
        for name in missing
    ]


def _is_there(interface: str) -> bool:
    try:
        return interface == "any" or bool(socket.if_nametoindex(interface))
    except OSError:
        return False


def _check_firewall(settings: Config) -> int:
    try:
        firewall, why = choose(settings.backend, settings.firewall, wall_clock)
    except FirewallError as error:
        events.error(error, error.hint)
        return 1
    print(f"firewall: {firewall.name} ({why})")
    return 0
