"""The text inside of a packet, whatever it is encrypted with.

    text := message ":" base64(digest(message))

The digest has no key: it is a checksum.
"""

from __future__ import annotations

from ..errors import Unauthentic
from ..hashing import blake2s
from .digests import DEFAULT_DIGEST, DIGESTS, matches
from .message import Message, decode, encode, printable


def spell(message: Message, digest: str = DEFAULT_DIGEST) -> bytes:
    """Spell `message` with its digest.

    Raises:
        Malformed: it cannot be spelled.
    """
    head = encode(message)
    return head + b":" + DIGESTS[digest].hash(head)


def identity(text: bytes) -> bytes:
    """Return a hash, 32 bytes, of what makes this packet this one.

    However it is encrypted and spelled, it is the same request.
    """
    return blake2s(text).digest()


def check(text: bytes) -> None:
    """See that the digest of `text` is right.

    Raises:
        Unauthentic: it is not.
    """
    head, _, digest = text.rpartition(b":")
    if not matches(digest, head):
        raise Unauthentic("digest")


def read(text: bytes, *, legacy: bool = False) -> Message:
    """Read the message in a `text` whose digest is right; `legacy` is as in `decode`.

    Raises:
        Malformed: it breaks a rule.
    """
    head, _, _ = text.rpartition(b":")
    return decode(printable(head), legacy=legacy)
