"""How a server opens a packet of fwknop, cheapest check first.

Stricter than libfko: there is one spelling of each packet, and what makes a packet this
one is what was encrypted, so that no other spelling could be a second packet.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import NamedTuple

from ..errors import Malformed, NotOurs, Unauthentic
from .cipher import decrypt
from .digests import DIGESTS
from .keys import Keys, derive
from .limits import LEAST, MOST
from .message import Message
from .packet import BODIES, FIRST, MAGIC, PREFIX, SALT_SIZE
from .text import check, identity, read
from .unpadded import decode as from_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_FORM = re.compile(
    rb"[%b][A-Za-z0-9+/]{%d,%d}" % (re.escape(FIRST), LEAST - 1, MOST - 1)
)


class Opened(NamedTuple):
    """An authentic packet."""

    message: Message
    number: int
    """Which of the keys it was made with, from 0."""
    identity: bytes
    """A hash, 32 bytes, of all that was encrypted: what makes this packet this one."""


class Keyring:
    """Keys, and what can be worked out before there is a packet."""

    __slots__ = ("_each",)

    def __init__(self, keys: Iterable[Keys]) -> None:
        """Take the keys in the order in which they are to be tried."""
        self._each = [_Candidate(one, *_tagger(one)) for one in keys]

    def open(self, payload: bytes) -> Opened:
        """Open `payload` with the first key that fits. Time and replay come later.

        With an HMAC, each key costs a hash. Without, each costs a decryption, and what
        keeps a changed packet out is the digest inside of the ciphertext.

        Raises:
            NotOurs: none of the keys fits. Anybody can send such a packet.
            Unauthentic: the HMAC is right, and it cannot be decrypted: two clients have
                the same HMAC key, or a client has another encryption key than we.
            Malformed: it is authentic, and breaks a rule.
        """
        if not has_form(payload):
            raise NotOurs("form")
        for number, one in enumerate(self._each):
            body = _body(payload, one)
            if body is None:
                continue
            try:
                plain = _decrypt(body, one.keys)
            except (Malformed, Unauthentic) as error:
                if one.keys.hmac:
                    raise Unauthentic(str(error)) from error
                continue
            message = read(plain, legacy=one.keys.legacy)
            return Opened(message, number, identity(plain))
        raise NotOurs("key")


class _Candidate(NamedTuple):
    keys: Keys
    tag: Callable[[bytes], bytes] | None
    """Makes the HMAC of data, if there is one."""
    size: int
    """How many characters that has."""


def _tagger(keys: Keys) -> tuple[Callable[[bytes], bytes] | None, int]:
    if not keys.hmac:
        return None, 0
    digest = DIGESTS[keys.hmac_digest]
    return digest.keyed(keys.hmac), digest.characters


def open_packet(payload: bytes, keys: Iterable[Keys]) -> Opened:
    """Open `payload` as `Keyring.open` does, once."""
    return Keyring(keys).open(payload)


def has_form(payload: bytes) -> bool:
    """Tell whether `payload` could be a packet of fwknop for all that it looks like."""
    return _FORM.fullmatch(payload) is not None


def _body(payload: bytes, key: _Candidate) -> bytes | None:
    """Return the body of `payload` if its HMAC, should there be one, is by `key`."""
    end = len(payload) - key.size
    if end not in BODIES:
        return None
    if key.tag is None:
        return payload
    body, tag = payload[:end], payload[end:]
    # The spellings are compared: of the same bytes, there is another in base64.
    return body if compare_digest(key.tag(PREFIX + body), tag) else None


def _decrypt(body: bytes, keys: Keys) -> bytes:
    """Return what is encrypted, if its digest is right.

    Raises:
        Malformed: it is not the one spelling of its bytes.
        Unauthentic: it was made with another key, or it was changed.
    """
    raw = from_base64(PREFIX + body)
    salt = raw[len(MAGIC) : len(MAGIC) + SALT_SIZE]
    key, vector = derive(keys, salt)
    plain = decrypt(key, vector, raw[len(MAGIC) + SALT_SIZE :])
    check(plain)
    return plain
