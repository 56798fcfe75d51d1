"""What a profile has for an fwknopd: keys, and what its packets say.

It is imported when a profile has the format "fwknop", and by no other login. The keys
of the table are named as in fwknop's own files, and spassh.toml(5) documents them.
"""

from __future__ import annotations

from .errors import ProfileError
from .fwknop_way import REQUIREMENTS as WAY_REQUIREMENTS
from .fwknop_way import Way, read_way
from .protocol.errors import Malformed, TextFormError
from .protocol.fwknop.digests import DEFAULT_DIGEST, DIGESTS
from .protocol.fwknop.keys import (
    MAX_HMAC_KEY,
    MAX_KEY,
    Keys,
    from_base64,
    from_passphrase,
)
from .protocol.fwknop.values import decode_address, decode_target
from .protocol.named_tuple import NamedTuple
from .protocol.names import FINGERPRINT_SIZE, is_fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

_DIGESTS: Final = f"one of {', '.join(DIGESTS)}"

REQUIREMENTS: Final = {
    "key": (f"a passphrase of 1 to {MAX_KEY} bytes", 'key = "…"'),
    "key_base64": (f"a key of 1 to {MAX_KEY} bytes in base64", 'key_base64 = "…"'),
    "gnupg_key": (
        f"the {FINGERPRINT_SIZE} hexadecimal digits of a fingerprint",
        'gnupg_key = "…", beside gnupg_server',
    ),
    "gnupg_server": (
        f"the {FINGERPRINT_SIZE} hexadecimal digits of a fingerprint",
        'gnupg_server = "…", beside gnupg_key',
    ),
    "hmac_key": (f"a passphrase of 1 to {MAX_HMAC_KEY} bytes", 'hmac_key = "…"'),
    "hmac_key_base64": (
        f"a key of 1 to {MAX_HMAC_KEY} bytes in base64",
        'hmac_key_base64 = "…"',
    ),
    "hmac_digest_type": (_DIGESTS, f'hmac_digest_type = "{DEFAULT_DIGEST}"'),
    "digest_type": (_DIGESTS, f'digest_type = "{DEFAULT_DIGEST}"'),
    "allow_ip": ("an IPv4 address", 'allow_ip = "192.0.2.7"'),
    "nat_access": (
        "a host and a port with a comma between",
        'nat_access = "10.0.0.5,22"',
    ),
    "nat_local": ("true or false", "nat_local = true"),
    **WAY_REQUIREMENTS,
}
"""Every key that such a profile has beside the usual ones, as in `profile`."""


class Fwknop(NamedTuple):
    """How to make packets for one fwknopd."""

    keys: Keys
    """The encryption key is empty if GnuPG encrypts."""
    digest: str
    """Of the checksum inside of the packet."""
    address: bytes
    """The address to allow, 4 bytes; empty means the packet's own source."""
    target: tuple[str, int] | None
    """Host and port that the port is to lead to."""
    is_local: bool
    """Whether that is a port of the server itself."""
    signer: str = ""
    """The fingerprint of the OpenPGP key that signs, if GnuPG encrypts."""
    recipient: str = ""
    """That of the server's, to which it does."""
    way: Way = Way()
    """How they get there."""


def read_fwknop(path: str, table: Mapping[str, Any]) -> Fwknop:
    """Read what is in the profile `table` for an fwknopd.

    Raises:
        ProfileError: a key is missing or wrong. The message has no secret.
    """
    key = _secret(path, table, "key", MAX_KEY)
    signer = _fingerprint(path, table, "gnupg_key")
    recipient = _fingerprint(path, table, "gnupg_server")
    if key and (signer or recipient):
        raise ProfileError(
            path,
            "there are keys for packets of both kinds",
            "take 'key' out, or 'gnupg_key' and 'gnupg_server'",
        )
    if bool(signer) != bool(recipient):
        raise _wrong(path, "gnupg_server" if signer else "gnupg_key")
    if not key and not signer:
        raise ProfileError(
            path,
            "'key' is missing, and so is 'key_base64'",
            "take KEY_BASE64 or KEY from ~/.fwknoprc",
        )
    hmac = _secret(path, table, "hmac_key", MAX_HMAC_KEY)
    target = _parsed(path, table, "nat_access", decode_target)
    is_local = table.get("nat_local", False)
    if type(is_local) is not bool:
        raise _wrong(path, "nat_local")
    if is_local and target is None:
        raise ProfileError(
            path,
            "'nat_local' needs 'nat_access'",
            "add " + REQUIREMENTS["nat_access"][1],
        )
    return Fwknop(
        Keys(key, hmac, _digest(path, table, "hmac_digest_type")),
        _digest(path, table, "digest_type"),
        _parsed(path, table, "allow_ip", decode_address) or b"",
        target,
        is_local,
        signer,
        recipient,
        read_way(path, table),
    )


def _secret(path: str, table: Mapping[str, Any], name: str, most: int) -> bytes:
    """Read a key from the one of its two forms that is there; nothing if none is."""
    found = b""
    for form, read in ((name, from_passphrase), (f"{name}_base64", from_base64)):
        if form not in table:
            continue
        if found:
            raise ProfileError(
                path, f"'{name}' and '{form}' are both there", "take one of them out"
            )
        text = table[form]
        if type(text) is not str:
            raise _wrong(path, form)
        try:
            found = read(text, most)
        except TextFormError as error:
            raise _wrong(path, form) from error
    return found


def _fingerprint(path: str, table: Mapping[str, Any], key: str) -> str:
    """Read a fingerprint; nothing if none is there."""
    if key not in table:
        return ""
    text = table[key]
    if type(text) is not str or not is_fingerprint(text):
        raise _wrong(path, key)
    return text.upper()


def _digest(path: str, table: Mapping[str, Any], key: str) -> str:
    name = table.get(key, DEFAULT_DIGEST)
    if type(name) is not str or name not in DIGESTS:
        raise _wrong(path, key)
    return name


def _parsed(path: str, table: Mapping[str, Any], key: str, parse: Any) -> Any:
    """Return what `parse` makes of a string, or None if it is not there."""
    if key not in table:
        return None
    text = table[key]
    try:
        return parse(text) if type(text) is str else parse("")
    except Malformed as error:
        raise _wrong(path, key) from error


def _wrong(path: str, key: str) -> ProfileError:
    requirement, example = REQUIREMENTS[key]
    return ProfileError(
        path, f"'{key}' must be {requirement}", f"for example: {example}"
    )
