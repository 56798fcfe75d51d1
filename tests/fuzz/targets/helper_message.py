"""A message of the daemon or the helper has one spelling, or `HelperMessageError`."""

from collections.abc import Iterator

from spassh_server.openpgp.message import (
    Answer,
    HelperMessageError,
    Question,
    Verdict,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)

RUNS = 10_000


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "question", encode_question(Question(7, b"an OpenPGP message"))
    good = Answer(7, Verdict.GOOD, 1_767_225_600, "2B" * 20, b"what was signed")
    yield "good", encode_answer(good)
    yield "unsigned", encode_answer(Answer(7, Verdict.UNSIGNED))


def check(data: bytes) -> None:
    try:
        question = decode_question(data)
    except HelperMessageError:
        pass
    else:
        assert encode_question(question) == data
    try:
        answer = decode_answer(data)
    except HelperMessageError:
        pass
    else:
        assert encode_answer(answer) == data
