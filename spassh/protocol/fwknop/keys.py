"""The keys that fwknop's two sides share: their text forms, and what AES gets of them.

fwknop's configuration files have each key as a passphrase or in base64. Both are bytes
in the end, and nothing makes a passphrase harder to guess than it is.
"""

from __future__ import annotations

import hashlib
from binascii import a2b_base64, b2a_base64

from ..errors import TextFormError
from ..named_tuple import NamedTuple
from .digests import DEFAULT_DIGEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_KEY: Final = 32
"""Bytes of an encryption key, as in libfko."""
MAX_LEGACY_KEY: Final = 128
"""Bytes of a passphrase of fwknop 1.9, of which 16 count."""
MAX_HMAC_KEY: Final = 136
"""Bytes of an HMAC key: the largest block of all the hash functions."""

_LEGACY_SIZE = 16
_MD5_SIZE = 16


class Keys(NamedTuple):
    """What the two sides share."""

    encryption: bytes
    hmac: bytes = b""
    """Empty if packets have no HMAC."""
    hmac_digest: str = DEFAULT_DIGEST
    """One of `DIGESTS`."""
    legacy: bool = False
    """Whether keys and fields are those of fwknop 1.9."""


def derive(keys: Keys, salt: bytes) -> tuple[bytes, bytes]:
    """Return the key and the initialisation vector of AES: 32 and 16 bytes.

    That is EVP_BytesToKey of OpenSSL with MD5 and one round, which is no stretching.
    """
    secret = keys.encryption
    if keys.legacy:
        secret = secret[:_LEGACY_SIZE].ljust(_LEGACY_SIZE, b"0")
    material = last = b""
    while len(material) < 3 * _MD5_SIZE:
        last = hashlib.new("md5", last + secret + salt, usedforsecurity=False).digest()
        material += last
    return material[: 2 * _MD5_SIZE], material[2 * _MD5_SIZE :]


def from_base64(text: str, most: int) -> bytes:
    """Read a key of 1 to `most` bytes from base64, with the padding that fwknop writes.

    Raises:
        TextFormError: it is none. The message never contains the text.
    """
    try:
        key = a2b_base64(text)
    except ValueError as error:
        raise TextFormError("not base64: copy it again, whole") from error
    if b2a_base64(key, newline=False) != text.encode("utf-8"):
        raise TextFormError("not base64: copy it again, whole")
    return _sized(key, most)


def from_passphrase(text: str, most: int) -> bytes:
    """Return the 1 to `most` bytes that a passphrase stands for.

    Raises:
        TextFormError: it is too long, or empty. The message never contains the text.
    """
    return _sized(text.encode("utf-8"), most)


def _sized(key: bytes, most: int) -> bytes:
    if not 0 < len(key) <= most:
        raise TextFormError(f"has {len(key)} bytes, and not 1 to {most}")
    return key
