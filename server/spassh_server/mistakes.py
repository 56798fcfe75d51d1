"""Mistakes that can be found without starting the daemon: for `check` and `doctor`."""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .accounts import find_account
from .config import Config
from .daemon import load_server_keys
from .firewall import Firewall, Width
from .privsep.programs import find_accounts
from .toml import ConfigError
from .users import User


def find_problems(settings: Config) -> list[ConfigError]:
    """Return what keeps the daemon from starting: keys, accounts, programs."""
    problems = []
    for part in (load_server_keys, find_account, find_accounts):
        try:
            part(settings)
        except ConfigError as error:
            problems.append(error)
    return problems


def foreign_state(settings: Config) -> list[str]:
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


def missing_interfaces(settings: Config) -> list[str]:
    """Return the interfaces that are waited for: a typing error, or a VPN to come."""
    return [name for name in settings.interfaces if not _is_there(name)]


def unusable_widths(firewall: Firewall, users: Iterable[User]) -> list[str]:
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


def without_gpg(settings: Config, users: Iterable[User]) -> list[str]:
    """Name the users whose requests have to be signed, where nobody can see that."""
    hints = (
        "'spasshd user add --gnupg' makes gnupg_dir",
        "see CLIENTS OF FWKNOP in spasshd.toml(5)",
    )
    path = settings.gnupg_dir
    try:
        if os.path.isdir(path):
            account = find_account(settings)
            if os.stat(path).st_uid == account.uid:
                return []
            # Who has filled it as root has forgotten whose it is.
            hints = (f"chown -R {account.uid}:{account.gid} {path}",) * 2
    except (OSError, ConfigError):
        return []  # It has just gone, or there is no account, which is told elsewhere.
    # The key that is made there is of no use for fwknop.
    return [
        f"{user.name} has to sign, and cannot: {hints[bool(user.fwknop_gnupg)]}"
        for user in users
        if user.gnupg or user.fwknop_gnupg
    ]


def begun_without_gpg(
    settings: Config, users: Sequence[User], state: Mapping[str, Any] | None
) -> str:
    """Name who signs, if the daemon does not run gpg; else return nothing.

    It begins to at its start alone, if gnupg_dir is there: in the box of the service,
    gpg could not write to a directory that is made afterwards. `state` is what the
    daemon answers, or None if there is none.
    """
    waiting = [user.name for user in users if user.gnupg or user.fwknop_gnupg]
    if state is None or state["gpg"] or not waiting:
        return ""
    if without_gpg(settings, users):
        return ""  # A start would be of no use yet, and that is told.
    return waiting[0]


def with_open_invites(users: Iterable[User], now: int) -> list[str]:
    """Return who has keys that somebody may have seen on their way to the client."""
    return [
        user.name for user in users if any(key.is_open_invite(now) for key in user.keys)
    ]


def unused_formats(settings: Config, users: Iterable[User]) -> list[str]:
    """Say if packets of a format are captured, and nobody has a key for them."""
    if settings.fwknop and not any(user.fwknop or user.fwknop_gnupg for user in users):
        return ["fwknop is true, and no user has a key for packets of fwknop"]
    return []


def _is_there(interface: str) -> bool:
    try:
        return interface == "any" or bool(socket.if_nametoindex(interface))
    except OSError:
        return False
