"""spasshd check: every mistake that can be found without starting the daemon."""

import os
import socket
from argparse import Namespace

from .. import config, events
from ..accounts import find_account
from ..clock import now_ms, wall_clock
from ..config import Config
from ..daemon import load_server_keys
from ..firewall import Firewall, FirewallError, Width
from ..firewall.select import choose
from ..privsep.programs import find_accounts
from ..toml import ConfigError
from ..userfiles import read_users
from ..users import User


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
    print(f"interfaces: {', '.join(settings.interfaces)}")
    for warning in _foreign_state(settings):
        print(f"warning: {warning}")
    for name in _missing_interfaces(settings):
        print(f"note: no interface '{name}' now: 'spasshd run' waits for it")
    everybody = list(users.by_name.values())
    for name in _with_invites(everybody, now_ms()):
        print(f"note: {name} has the key of an invite: 'spassh enroll' replaces it")
    return _check_firewall(settings, everybody)


def _with_invites(users: list[User], now: int) -> list[str]:
    """Return who has keys that somebody may have seen on their way to the client."""
    return [
        user.name for user in users if any(key.is_open_invite(now) for key in user.keys)
    ]


def _problems(settings: Config) -> list[ConfigError]:
    problems = []
    for part in (load_server_keys, find_account, find_accounts):
        try:
            part(settings)
        except ConfigError as error:
            problems.append(error)
    return problems


def _foreign_state(settings: Config) -> list[str]:
    """Say if state_dir is not the listener's: spasshd.service makes it for _spassh."""
    try:
        owner = os.stat(settings.state_dir).st_uid
    except OSError:
        return []
    account = find_account(settings)
    if owner == account.uid:
        return []
    what = f"state_dir belongs to uid {owner}, and 'user' is {settings.user}"
    return [f"{what}: as a service, spasshd may not start"]


def _missing_interfaces(settings: Config) -> list[str]:
    """Return the interfaces that are waited for: a typing error, or a VPN to come."""
    return [name for name in settings.interfaces if not _is_there(name)]


def _is_there(interface: str) -> bool:
    try:
        return interface == "any" or bool(socket.if_nametoindex(interface))
    except OSError:
        return False


def _check_firewall(settings: Config, users: list[User]) -> int:
    try:
        firewall, why = choose(settings.backend, settings.firewall, wall_clock)
        warnings = firewall.warnings() + _unusable(firewall, users)
    except FirewallError as error:
        events.error(error, error.hint)
        return 1
    print(f"firewall: {firewall.name} ({why})")
    print(f"widths: {', '.join(width.label for width in sorted(firewall.widths))}")
    for warning in warnings:
        print(f"warning: {warning}")
    return 0


def _unusable(firewall: Firewall, users: list[User]) -> list[str]:
    """Name the users who could be granted nothing, or nothing without a source port."""
    warnings = []
    for user in users:
        usable = user.widths & firewall.widths
        names = ", ".join(width.label for width in sorted(user.widths))
        if not usable:
            warnings.append(
                f"{firewall.name} can do none of the widths of {user.name}: {names}"
            )
        elif usable == {Width.FLOW}:
            warnings.append(
                f"{user.name} is let in only where no NAT rewrites source ports"
            )
    return warnings
