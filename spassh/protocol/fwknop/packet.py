"""The packet on the wire, and how a client makes one.

    payload := body | tag
    body    := base64("Salted__" | salt[8] | AES-256-CBC(text)) without its first 10
    tag     := base64(HMAC("U2FsdGVkX1" | body)), if there is an HMAC key

Base64 is never padded. The 10 characters that are left out are the same in all packets.
"""

from __future__ import annotations

from ..errors import Malformed
from .cipher import BLOCK, encrypt
from .digests import DEFAULT_DIGEST, DIGESTS
from .keys import Keys, derive
from .limits import MOST
from .message import Message
from .text import spell
from .unpadded import encode, length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAGIC: Final = b"Salted__"
PREFIX: Final = b"U2FsdGVkX1"
"""The first 10 characters of `MAGIC` in base64, which no packet carries."""
SALT_SIZE: Final = 8
RANDOMNESS_SIZE: Final = SALT_SIZE + 8
"""Random bytes that one packet consumes: the salt, and 8 for the message."""

FIRST: Final = b"89+/"
"""What the first character of a payload may be: it has the last bits of `MAGIC`."""

BODIES: Final = frozenset(
    length(len(MAGIC) + SALT_SIZE + BLOCK * blocks) - len(PREFIX)
    for blocks in range(1, MOST // BLOCK)
)
"""Characters that a body can have."""

_MAX_BODY: Final = 399
"""libfko takes anything longer for a packet that was made by GnuPG. Behind an HMAC, it
looks at the body with its prefix."""


def seal(
    message: Message, keys: Keys, salt: bytes, digest: str = DEFAULT_DIGEST
) -> bytes:
    """Make the packet for `message`: 140 to some 470 characters.

    `salt` is 8 bytes that nobody can guess and that are never used twice.

    Raises:
        Malformed: `message` cannot be spelled, or it is too long.
        ValueError: `salt` has another size.
    """
    if len(salt) != SALT_SIZE:
        raise ValueError(f"salt must be {SALT_SIZE} bytes")
    text = spell(message, digest)
    key, vector = derive(keys, salt)
    whole = encode(MAGIC + salt + encrypt(key, vector, text))
    body = whole[len(PREFIX) :]
    if len(whole if keys.hmac else body) > _MAX_BODY:
        raise Malformed("too long")
    if not keys.hmac:
        return body
    return body + DIGESTS[keys.hmac_digest].hmac(keys.hmac, whole)


def rand(randomness: bytes) -> str:
    """Return the 16 digits of a message from 8 random bytes."""
    return f"{int.from_bytes(randomness, 'big') % 10**16:016}"
