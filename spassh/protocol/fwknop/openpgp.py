"""The packet that GnuPG has encrypted and signed.

    payload := body | tag
    body    := base64(OpenPGP message) without its first 2
    tag     := base64(HMAC("hQ" | body)), if there is an HMAC key

Signed and encrypted is the same text that other packets have. Who does that, and who
undoes it, is no part of this.

The 2 characters that are left out are those of a message which begins with a session
key for RSA or Elgamal (RFC 9580 section 5.1) of 256 to 1023 bytes, as OpenPGP has
spelled its lengths from the beginning. fwknop leaves them out whatever they are, so no
key on a curve can be encrypted to. That the version of that packet is 3 shows in the
third and fourth character of a body.
"""

from __future__ import annotations

import re
from hmac import compare_digest

from ..errors import Malformed, NotOurs, Unauthentic
from ..hashing import blake2s
from ..named_tuple import NamedTuple
from .digests import DEFAULT_DIGEST, DIGESTS
from .limits import MOST
from .unpadded import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

PREFIX: Final = b"hQ"
"""The first characters of all messages, which no packet carries."""
FIRST: Final = b"EFGHIJKLMNOP"
"""What the first character of a payload may be. No other packet begins so."""
THIRD: Final = b"A"
FOURTH: Final = b"+/0123456789wxyz"

LEAST: Final = 400
"""Characters of a payload. fwknopd takes anything shorter for a symmetric packet."""
MAX_MESSAGE: Final = 3 * (len(PREFIX) + MOST) // 4
"""Bytes of a message: 1126."""

_FORM = re.compile(
    rb"[%b][A-Za-z0-9+/]%b[%b][A-Za-z0-9+/]{%d,%d}"
    % (FIRST, THIRD, re.escape(FOURTH), LEAST - 4, MOST - 4)
)


class Hmac(NamedTuple):
    """What makes the tag of packets."""

    key: bytes = b""
    """Empty if they have none."""
    digest: str = DEFAULT_DIGEST
    """One of `DIGESTS`."""


class Enclosed(NamedTuple):
    """An OpenPGP message, of which nobody knows anything but its HMAC."""

    message: bytes
    number: int
    """Which of the keys the packet was made with, from 0."""
    identity: bytes
    """A hash, 32 bytes, of the message."""


class Keyring:
    """HMAC keys, and what can be worked out before there is a packet."""

    __slots__ = ("_bare", "_each")

    def __init__(self, keys: Iterable[Hmac]) -> None:
        """Take the keys. Those without an HMAC are tried in the end."""
        self._each: list[_Candidate] = []
        self._bare = -1
        for number, one in enumerate(keys):
            if one.key:
                digest = DIGESTS[one.digest]
                maker = digest.keyed(one.key)
                self._each.append(_Candidate(number, maker, digest.characters))
            elif self._bare < 0:
                self._bare = number

    def open(self, payload: bytes) -> Enclosed:
        """Take the OpenPGP message out of `payload`.

        Raises:
            NotOurs: it has not the form, or none of the keys fits.
            Unauthentic: the HMAC is right, and base64 is not: a client's own mistake.
        """
        if not has_form(payload):
            raise NotOurs("form")
        for one in self._each:
            end = len(payload) - one.size
            body, tag = PREFIX + payload[:end], payload[end:]
            # The spellings are compared: of the same bytes, there is another in base64.
            if compare_digest(one.make(body), tag):
                try:
                    return _enclosed(body, one.number)
                except Malformed as error:
                    raise Unauthentic(str(error)) from error
        if self._bare >= 0:
            try:
                return _enclosed(PREFIX + payload, self._bare)
            except Malformed as error:
                raise NotOurs(str(error)) from error
        raise NotOurs("key")


class _Candidate(NamedTuple):
    number: int
    make: Callable[[bytes], bytes]
    """Makes the HMAC of data."""
    size: int
    """How many characters that has."""


def _enclosed(whole: bytes, number: int) -> Enclosed:
    message = decode(whole)
    return Enclosed(message, number, blake2s(message).digest())


def has_form(payload: bytes) -> bool:
    """Tell whether `payload` could be such a packet for all that it looks like."""
    return _FORM.fullmatch(payload) is not None


def enclose(message: bytes, hmac: Hmac) -> bytes:
    """Make the packet for an OpenPGP message: 400 to 1497 characters.

    Raises:
        Malformed: it is encrypted to a key that fwknop cannot use, or it is too long.
    """
    whole = encode(message)
    body = whole[len(PREFIX) :]
    tag = DIGESTS[hmac.digest].hmac(hmac.key, whole) if hmac.key else b""
    # libfko counts the prefix as well.
    if len(whole) + len(tag) >= MOST:
        raise Malformed("too long")
    if not whole.startswith(PREFIX) or not has_form(body):
        raise Malformed("recipient")
    return body + tag
