"""Lists of OpenPGP keys in a configuration file."""

import re

from .limits import MAX_OPENPGP_KEYS_PER_USER
from .toml import Table

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{40}")


def read_fingerprints(table: Table) -> frozenset[str]:
    """Return the fingerprints in the list `gnupg`, of upper case.

    Raises:
        ConfigError: there are none or too many, or one of them is none.
    """
    whole = [one.replace(" ", "") for one in table.strings("gnupg", ())]
    if len(whole) > MAX_OPENPGP_KEYS_PER_USER:
        raise table.error(
            "gnupg", f"more than {MAX_OPENPGP_KEYS_PER_USER}", "take some out"
        )
    if not all(map(_FINGERPRINT.fullmatch, whole or [""])):
        raise table.error(
            "gnupg",
            "expected a list of fingerprints, of 40 hexadecimal digits each",
            "'gpg --fingerprint' shows them; 'spasshd user add --gnupg' adds the key",
        )
    return frozenset(one.upper() for one in whole)
