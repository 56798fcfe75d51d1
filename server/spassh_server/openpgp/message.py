"""What the listener asks the helper that runs gpg, and what that answers.

One message is one packet of a SOCK_SEQPACKET socket, in network order:

    question   u32 number | OpenPGP message, 1 to 1126 bytes
    answer     u32 number | u8 verdict | u64 time | fingerprint[20] | text

The three last fields of an answer are empty unless the verdict is `GOOD`. No question
has the number 0: the answer of that number is one to all that were asked so far.
"""

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from spassh.protocol.fwknop.openpgp import MAX_MESSAGE
from spassh.protocol.limits import MAX_TEXT

_NUMBER = Struct("!I")
_ANSWER = Struct("!IBQ20s")

LOST: Final = 0
"""The number of the answer that nobody will answer what was asked: the helper ended."""
QUESTION_SIZE: Final = _NUMBER.size + MAX_MESSAGE
"""Most bytes of a question."""
ANSWER_SIZE: Final = _ANSWER.size + MAX_TEXT
"""Most bytes of an answer."""


class HelperMessageError(Exception):
    """The other side does not keep the rules; nothing that it says can be believed."""


class Verdict(IntEnum):
    """What gpg says of a message. Each but the first has its line in the log."""

    GOOD = 0
    UNSIGNED = 1
    UNKNOWN_KEY = 2
    BAD_SIGNATURE = 3
    EXPIRED = 4
    NOT_FOR_US = 5
    MALFORMED = 6
    TIMEOUT = 7
    FAILED = 8


REASONS: Final = {
    Verdict.UNSIGNED: "the OpenPGP message has no signature",
    Verdict.UNKNOWN_KEY: "the OpenPGP signature is of a key that is not here",
    Verdict.BAD_SIGNATURE: "the OpenPGP signature is not good",
    Verdict.EXPIRED: "the OpenPGP key or signature has expired or is revoked",
    Verdict.NOT_FOR_US: "the OpenPGP message is not encrypted to this server's key",
    Verdict.MALFORMED: "no OpenPGP message with one signed text",
    Verdict.TIMEOUT: "gpg took too long",
    Verdict.FAILED: "gpg does not work here",
}
"""Why a request was refused."""


class Question(NamedTuple):
    """An OpenPGP message to look at."""

    number: int
    message: bytes


class Answer(NamedTuple):
    """What came of it."""

    number: int
    verdict: Verdict
    time: int = 0
    """When it was signed, in seconds since 1970-01-01 UTC, as the signature says."""
    fingerprint: str = ""
    """The primary key of whose signature it is, 40 digits of upper case hexadecimal."""
    text: bytes = b""
    """What was signed."""


def encode_question(question: Question) -> bytes:
    """Spell a question."""
    return _NUMBER.pack(question.number) + question.message


def decode_question(data: bytes) -> Question:
    """Read a question.

    Raises:
        HelperMessageError: it is none.
    """
    if not _NUMBER.size < len(data) <= QUESTION_SIZE:
        raise HelperMessageError("question size")
    return Question(_NUMBER.unpack_from(data)[0], data[_NUMBER.size :])


def encode_answer(answer: Answer) -> bytes:
    """Spell an answer."""
    fingerprint = bytes.fromhex(answer.fingerprint)
    head = _ANSWER.pack(answer.number, answer.verdict, answer.time, fingerprint)
    return head + answer.text


def decode_answer(data: bytes) -> Answer:
    """Read an answer, strictly.

    Raises:
        HelperMessageError: it is none.
    """
    if not _ANSWER.size <= len(data) <= ANSWER_SIZE:
        raise HelperMessageError("answer size")
    number, verdict, time, fingerprint = _ANSWER.unpack_from(data)
    text = data[_ANSWER.size :]
    if verdict not in Verdict._value2member_map_:
        raise HelperMessageError("verdict")
    if verdict == Verdict.GOOD:
        return Answer(number, Verdict.GOOD, time, fingerprint.hex().upper(), text)
    if time or any(fingerprint) or text:
        raise HelperMessageError("more than a verdict")
    return Answer(number, Verdict(verdict))
