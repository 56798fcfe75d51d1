"""A user's keys for packets of fwknop: from a table [[key]] to values.

The names are those of access.conf of fwknop, so that who comes from there knows them.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.fwknop.digests import DEFAULT_DIGEST, DIGESTS
from spassh.protocol.fwknop.keys import (
    MAX_HMAC_KEY,
    MAX_KEY,
    MAX_LEGACY_KEY,
    Keys,
    from_base64,
    from_passphrase,
)
from spassh.protocol.fwknop.openpgp import Hmac

from .fingerprints import read_fingerprints
from .toml import Table

FORMAT: Final = "fwknop"

TABLE_KEYS: Final = frozenset(
    {
        "format",
        "key",
        "key_base64",
        "gnupg",
        "hmac_key",
        "hmac_key_base64",
        "hmac_digest_type",
        "allow_unauthenticated",
        "legacy",
        "expires",
    }
)
"""Every key that such a table may have."""


class FwknopKey(NamedTuple):
    """What a user's client of fwknop shares with this server."""

    keys: Keys
    expires: int = 0
    """Milliseconds since 1970-01-01 UTC from which it opens nothing; 0 for never."""

    @property
    def laxness(self) -> str:
        """What it does without, for a warning; empty if it is as it should be."""
        without = ["an HMAC"] * (not self.keys.hmac)
        without += ["the key derivation of fwknop 2"] * self.keys.legacy
        return " and ".join(without)


class FwknopGnupgKey(NamedTuple):
    """What a client of fwknop shares with this server that encrypts by GnuPG."""

    hmac: Hmac
    """It tells whose packet it is, before anybody looks into it."""
    signers: frozenset[str]
    """The OpenPGP keys of which one has to sign, as fingerprints of upper case."""
    legacy: bool = False
    """Whether the fields may be those of fwknop 1.9."""
    expires: int = 0
    """Milliseconds since 1970-01-01 UTC from which it opens nothing; 0 for never."""

    @property
    def laxness(self) -> str:
        """What it does without, for a warning; empty if it is as it should be."""
        without = ["an HMAC"] * (not self.hmac.key)
        without += ["the one spelling of fwknop 2"] * self.legacy
        return " and ".join(without)

    def meets(self, other: "FwknopGnupgKey") -> bool:
        """Tell whether a packet could be made with this key and with the other."""
        if self.hmac.key or other.hmac.key:
            return self.hmac == other.hmac
        return not self.signers.isdisjoint(other.signers)


def read_fwknop_key(entry: Table) -> FwknopKey | FwknopGnupgKey:
    """Read one table.

    Raises:
        ConfigError: it is broken, or has no HMAC and does not say so.
    """
    entry.only(TABLE_KEYS)
    legacy = entry.boolean("legacy", default=False)
    unauthenticated = entry.boolean("allow_unauthenticated", default=False)
    key = _secret(entry, "key", MAX_LEGACY_KEY if legacy else MAX_KEY)
    hmac = _secret(entry, "hmac_key", MAX_HMAC_KEY)
    signers = read_fingerprints(entry) if entry.has("gnupg") else frozenset()
    if key and entry.has("gnupg"):
        raise entry.error(
            "gnupg", "there is a key as well", "give each a table [[key]] of its own"
        )
    if not key and not signers:
        hint = "copy KEY or KEY_BASE64 from access.conf; or write gnupg"
        raise entry.error("key", "is missing, and so is key_base64", hint)
    if not hmac and not unauthenticated:
        raise entry.error(
            "hmac_key",
            "is missing, and so is hmac_key_base64",
            "add one; or write allow_unauthenticated = true, and whoever records a"
            " packet can change it as far as a checksum lets them; or, of a packet of"
            " GnuPG, strangers have gpg look at theirs",
        )
    if hmac and unauthenticated:
        raise entry.error(
            "allow_unauthenticated",
            "there is an HMAC key, so this allows nothing",
            "take it out",
        )
    digest = entry.choice("hmac_digest_type", DEFAULT_DIGEST, tuple(DIGESTS))
    expires = entry.moment("expires")
    if signers:
        return FwknopGnupgKey(Hmac(hmac, digest), signers, legacy, expires)
    return FwknopKey(Keys(key, hmac, digest, legacy), expires)


def _secret(entry: Table, name: str, most: int) -> bytes:
    """Read a key from the one of its two forms that is there; nothing if none is."""
    as_base64 = f"{name}_base64"
    if entry.has(name) and entry.has(as_base64):
        what = f"{as_base64} is there as well"
        raise entry.error(name, what, "take one of them out")
    forms: dict[str, Callable[[str, int], bytes]] = {
        name: from_passphrase,
        as_base64: from_base64,
    }
    for form, read in forms.items():
        if entry.has(form):
            try:
                return read(entry.string(form), most)
            except TextFormError as error:
                hint = "copy it from access.conf, whole"
                raise entry.error(form, str(error), hint) from error
    return b""
