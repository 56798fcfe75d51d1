"""What gpg's status lines say of an encrypted and signed message. Pure.

The lines are those of doc/DETAILS in GnuPG's source. python-gnupg reads them as well,
but takes the last word of several, and begins a line behind characters that gpg does
not escape, such as U+0085 in the name of a key. So what lets somebody in is read here:
from lines that end in a newline, each kind once.
"""

from collections import Counter
from typing import Final, NamedTuple

from .message import Verdict

_PREFIX: Final = "[GNUPG:] "

_ONCE: Final = (
    "DECRYPTION_KEY",
    "BEGIN_DECRYPTION",
    "PLAINTEXT",
    "NEWSIG",
    "GOODSIG",
    "VALIDSIG",
    "DECRYPTION_OKAY",
    "GOODMDC",
    "END_DECRYPTION",
)
"""What a good message has exactly once."""
_ORDER: Final = ("BEGIN_DECRYPTION", "PLAINTEXT", "VALIDSIG", "END_DECRYPTION")
"""The signature is inside of what is encrypted: around it, it would be anybody's."""

_BROKEN: Final = (
    ({"EXPSIG", "EXPKEYSIG", "REVKEYSIG"}, Verdict.EXPIRED),
    ({"BADSIG"}, Verdict.BAD_SIGNATURE),
    ({"NO_PUBKEY"}, Verdict.UNKNOWN_KEY),
    ({"ERRSIG"}, Verdict.BAD_SIGNATURE),
)
"""What no good message has, and what it means."""
_UNREADABLE: Final = {"DECRYPTION_FAILED", "BADMDC", "NODATA", "UNEXPECTED", "FAILURE"}

_FINGERPRINT_SIZE: Final = 40
_HEX: Final = frozenset("0123456789ABCDEF")
_VALIDSIG_FIELDS: Final = 10
"""Fingerprint, date, time, end, version, reserved, two algorithms, class, primary."""
_DIGEST_AT: Final = 7
_DIGESTS: Final = frozenset({"8", "9", "10", "11", "12", "14"})
"""SHA-2 and SHA-3. gpg takes SHA-1 as well, by which no recent signature counts any
more (RFC 9580 section 9.5): two texts with the same digest can be made."""


class Signature(NamedTuple):
    """Whose signature it is."""

    fingerprint: str
    """The primary key, 40 digits of upper case hexadecimal."""
    time: int
    """When it was made, in seconds since 1970-01-01 UTC."""


class RefusedError(Exception):
    """The message is not what it has to be."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.name)
        self.verdict = verdict


def judge(printed: str, recipient: str) -> Signature:
    """Read what gpg has `printed`, status lines among others.

    Args:
        printed: all of it, with the newlines that gpg wrote.
        recipient: the primary fingerprint of the key that it has to be encrypted to.

    Raises:
        RefusedError: it is not one good signature inside of one encrypted message.
    """
    lines = [
        line.removeprefix(_PREFIX).split(" ")
        for line in printed.split("\n")
        if line.startswith(_PREFIX)
    ]
    words = [line[0] for line in lines]
    count = Counter(words)
    if not count["DECRYPTION_KEY"]:
        raise RefusedError(Verdict.NOT_FOR_US)
    for kinds, verdict in _BROKEN:
        if kinds & set(words):
            raise RefusedError(verdict)
    if _UNREADABLE & set(words):
        raise RefusedError(Verdict.MALFORMED)
    if count["DECRYPTION_OKAY"] and not count["NEWSIG"] and not count["VALIDSIG"]:
        raise RefusedError(Verdict.UNSIGNED)
    if any(count[word] != 1 for word in _ONCE):
        raise RefusedError(Verdict.MALFORMED)
    places = [words.index(word) for word in _ORDER]
    if places != sorted(places):
        raise RefusedError(Verdict.MALFORMED)
    fields = {line[0]: line[1:] for line in lines if count[line[0]] == 1}
    if fields["DECRYPTION_KEY"][1:2] != [recipient]:
        raise RefusedError(Verdict.NOT_FOR_US)
    return _signature(fields["VALIDSIG"])


def is_fingerprint(text: str) -> bool:
    """Tell whether `text` is a fingerprint of version 4 as gpg spells it."""
    return len(text) == _FINGERPRINT_SIZE and _HEX.issuperset(text)


def _signature(fields: list[str]) -> Signature:
    if len(fields) != _VALIDSIG_FIELDS:
        raise RefusedError(Verdict.MALFORMED)
    primary, seconds = fields[-1], fields[2]
    if fields[_DIGEST_AT] not in _DIGESTS:
        raise RefusedError(Verdict.BAD_SIGNATURE)
    if not is_fingerprint(primary):
        raise RefusedError(Verdict.MALFORMED)
    if not seconds.isascii() or not seconds.isdecimal() or len(seconds) > 12:
        raise RefusedError(Verdict.MALFORMED)
    return Signature(primary, int(seconds))
