"""What listener and helper say to each other."""

import pytest

from spassh.protocol.limits import MAX_MESSAGE, MAX_TEXT
from spassh_server.openpgp.message import (
    ANSWER_SIZE,
    QUESTION_SIZE,
    REASONS,
    Answer,
    HelperMessageError,
    Question,
    Verdict,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
)

SIGNER = "2B9B6B1C82B73D7D50CE0578634C3E9B725D4BC3"
GOOD = Answer(3, Verdict.GOOD, 1_795_839_818, SIGNER, b"text")


@pytest.mark.parametrize("size", [1, MAX_MESSAGE])
def test_a_question_is_read_as_it_was_asked(size: int) -> None:
    question = Question(0xFFFFFFFF, b"m" * size)
    data = encode_question(question)
    assert len(data) <= QUESTION_SIZE
    assert decode_question(data) == question


@pytest.mark.parametrize("size", [0, 3, 4, QUESTION_SIZE + 1])
def test_a_question_of_another_size_is_none(size: int) -> None:
    with pytest.raises(HelperMessageError, match="question size"):
        decode_question(bytes(size))


@pytest.mark.parametrize(
    "answer",
    [GOOD, GOOD._replace(text=b"t" * MAX_TEXT)]
    + [Answer(1, verdict) for verdict in Verdict if verdict],
)
def test_an_answer_is_read_as_it_was_given(answer: Answer) -> None:
    data = encode_answer(answer)
    assert len(data) <= ANSWER_SIZE
    assert decode_answer(data) == answer


@pytest.mark.parametrize("size", [0, 32, ANSWER_SIZE + 1])
def test_an_answer_of_another_size_is_none(size: int) -> None:
    with pytest.raises(HelperMessageError, match="answer size"):
        decode_answer(bytes(size))


def test_a_verdict_that_is_not_known_is_none() -> None:
    data = bytearray(encode_answer(Answer(1, Verdict.FAILED)))
    data[4] = len(Verdict)
    with pytest.raises(HelperMessageError, match="verdict"):
        decode_answer(bytes(data))


@pytest.mark.parametrize(
    "fields", [{"time": 1}, {"fingerprint": SIGNER}, {"text": b"t"}]
)
def test_who_refuses_says_nothing_else(fields: dict[str, object]) -> None:
    answer = Answer(1, Verdict.UNSIGNED)._replace(**fields)  # type: ignore[arg-type]
    with pytest.raises(HelperMessageError, match="more than a verdict"):
        decode_answer(encode_answer(answer))


def test_every_refusal_has_a_reason() -> None:
    assert set(REASONS) == set(Verdict) - {Verdict.GOOD}
