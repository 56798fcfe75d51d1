"""Clients of fwknop that the tests share: their keys, and packets that they make."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from unit.server.parties import NOW, user

from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.openpgp import Hmac, enclose
from spassh.protocol.fwknop.packet import seal
from spassh.protocol.fwknop.text import spell
from spassh_server.fwknop_keys import FwknopGnupgKey, FwknopKey
from spassh_server.users import User

KEYS = Keys(bytes(range(32)), bytes(range(64)))
KEY_BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HMAC_KEY_BASE64 = (
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v"
    "MDEyMzQ1Njc4OTo7PD0+Pw=="
)
TABLE = f"""
[[key]]
format = "fwknop"
key_base64 = "{KEY_BASE64}"
hmac_key_base64 = "{HMAC_KEY_BASE64}"
"""
"""These keys in a user's file."""

ACCESS = Message("0" * 16, "spelled", NOW // 1000, 1, b"", ((6, 22),))

_numbers: Iterator[int] = count()


def packet(message: Message = ACCESS, keys: Keys = KEYS) -> bytes:
    """Make a packet as a client of fwknop does; no two calls make the same."""
    number = next(_numbers)
    fresh = message._replace(rand=f"{number:016}")
    return seal(fresh, keys, number.to_bytes(8, "big"))


def fwknop_user(name: str = "ada", **changes: Any) -> User:
    """Make a user who has keys for packets of fwknop alone."""
    whole = user(name, keys=(), fwknop=(FwknopKey(KEYS),))
    return whole._replace(**changes)


# The same by GnuPG

SIGNER = "2B9B6B1C82B73D7D50CE0578634C3E9B725D4BC3"
OTHER_SIGNER = "D934D11FA1F67F6BD1C299DB9C3BBD3B842F52D7"
BY_GNUPG = FwknopGnupgKey(Hmac(bytes(range(64))), frozenset({SIGNER}))
UNAUTHENTICATED = FwknopGnupgKey(Hmac(), frozenset({SIGNER}))


def gnupg_packet(hmac: Hmac = BY_GNUPG.hmac) -> bytes:
    """Make a packet around what could be an OpenPGP message; no two are the same."""
    rest = next(_numbers).to_bytes(8, "big").ljust(600)
    return enclose(b"\x85\x01\x0c\x03" + rest, hmac)


def signed_text(message: Message = ACCESS) -> bytes:
    """Spell what a client signs; no two calls make the same."""
    return spell(message._replace(rand=f"{next(_numbers):016}"))


def gnupg_user(name: str = "ada", **changes: Any) -> User:
    """Make a user whose packets of fwknop are made by GnuPG alone."""
    whole = user(name, keys=(), fwknop_gnupg=(BY_GNUPG,))
    return whole._replace(**changes)
