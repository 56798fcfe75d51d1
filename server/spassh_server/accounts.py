"""Which account the listener becomes."""

import os
import pwd
from typing import Final, NamedTuple

from .config import Config
from .toml import ConfigError

_UNUSED: Final = range(60_706, 61_184)
"""Nobody's in systemd's table of ids, and small enough for the maps of containers."""


class Account(NamedTuple):
    """Numeric ids; there need not be a name for them."""

    uid: int
    gid: int


def find_account(config: Config) -> Account:
    """Find the account named in the configuration.

    Raises:
        ConfigError: there is none, or it is root.
    """
    name = config.user
    if name.isascii() and name.isdecimal():
        account = Account(int(name), int(name))
    else:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ConfigError(
                config.path,
                0,
                "user",
                f"no account '{name}'",
                f"make it with 'useradd --system {name}', or write a free uid",
            ) from None
        account = Account(entry.pw_uid, entry.pw_gid)
    if account.uid == 0 or account.gid == 0 or account.uid >= (1 << 32) - 1:
        raise ConfigError(
            config.path, 0, "user", "must not be root", 'write user = "_spassh"'
        )
    return account


def account_for_new_configuration() -> str:
    """Return what `spasshd init` writes: the package's account, else a free uid.

    The uid comes from a range that nobody hands out, neither useradd(8) nor systemd for
    its dynamic users, so that nothing else runs with it.
    """
    try:
        pwd.getpwnam("_spassh")
    except KeyError:
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        free = [uid for uid in _UNUSED if uid not in taken]
        return str(free[int.from_bytes(os.urandom(2), "big") % len(free)])
    return "_spassh"
