"""Which account the listener becomes."""

import os
import pwd
from typing import NamedTuple

from .config import Config
from .toml import ConfigError


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

    The uid comes from the range that systemd keeps for accounts without a name, so
    that nothing else on the machine runs with it.
    """
    try:
        pwd.getpwnam("_spassh")
    except KeyError:
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        first = 61184 + int.from_bytes(os.urandom(2), "big") % 4096
        return str(next(uid for uid in range(first, 65520) if uid not in taken))
    return "_spassh"
