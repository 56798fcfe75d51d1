"""How a server opens a packet of fwknop, cheapest check first.

Stricter than libfko: there is one spelling of each packet, and what makes a packet this
one is what was encrypted, so that no other spelling could be a second packet.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import NamedTuple

from ..errors import Malformed, NotOurs, Unauthentic
from ..hashing import blake2s
from .cipher import decrypt
from .digests import DIGESTS, matches
from .keys import Keys, derive
from .message import Message, decode, printable
from .packet import BODIES, FIRST, LEAST, MAGIC, MOST, PREFIX, SALT_SIZE
from .unpadded import decode as from_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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


def open_packet(payload: bytes, keys: Sequence[Keys]) -> Opened:
    """Open `payload` with the first of `keys` that fits. Time and replay come later.

    With an HMAC, each key costs a hash. Without, each costs a decryption, and what
    keeps a changed packet out is the digest inside of the ciphertext.

    Raises:
        NotOurs: none of the keys fits. Anybody can send such a packet.
        Unauthentic: the HMAC is right, and it cannot be decrypted: two clients have the
            same HMAC key, or a client has another encryption key than we.
        Malformed: it is authentic, and breaks a rule.
    """
    if not has_form(payload):
        raise NotOurs("form")
    for number, one in enumerate(keys):
        body = _body(payload, one)
        if body is None:
            continue
        try:
            plain = _decrypt(body, one)
        except (Malformed, Unauthentic) as error:
            if one.hmac:
                raise Unauthentic(str(error)) from error
            continue
        head, _, _ = plain.rpartition(b":")
        message = decode(printable(head), legacy=one.legacy)
        return Opened(message, number, blake2s(plain).digest())
    raise NotOurs("key")


def has_form(payload: bytes) -> bool:
    """Tell whether `payload` could be a packet of fwknop for all that it looks like."""
    return _FORM.fullmatch(payload) is not None


def _body(payload: bytes, keys: Keys) -> bytes | None:
    """Return the body of `payload` if its HMAC, should there be one, is by `keys`."""
    if not keys.hmac:
        return payload if len(payload) in BODIES else None
    digest = DIGESTS[keys.hmac_digest]
    body, tag = payload[: -digest.characters], payload[-digest.characters :]
    if len(body) not in BODIES:
        return None
    # The spellings are compared: of the same bytes, there is another in base64.
    expected = digest.hmac(keys.hmac, PREFIX + body)
    return body if compare_digest(expected, tag) else None


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
    head, _, digest = plain.rpartition(b":")
    if not matches(digest, head):
        raise Unauthentic("digest")
    return plain
