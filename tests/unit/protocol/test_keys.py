import pytest

from spassh.protocol.errors import TextFormError
from spassh.protocol.keys import (
    PSK,
    PUBLIC,
    SECRET,
    armour,
    decode_key,
    encode_key,
    unarmour,
)

KEY = bytes(range(32))
TEXT = "spassh-secret-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh"


def test_a_key_is_its_kind_and_one_word() -> None:
    text = encode_key(SECRET, KEY)
    assert text.startswith(TEXT)
    assert len(text) == len("spassh-secret-") + 48
    assert decode_key(SECRET, text) == KEY


def test_the_three_kinds_have_three_prefixes() -> None:
    assert (PUBLIC, SECRET, PSK) == ("spassh-public-", "spassh-secret-", "spassh-psk-")


@pytest.mark.parametrize("kind", [PUBLIC, PSK])
def test_a_secret_key_pasted_as_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(TextFormError, match=f"begins with '{kind}'"):
        decode_key(kind, encode_key(SECRET, KEY))
    renamed = kind + encode_key(SECRET, KEY).removeprefix(SECRET)
    with pytest.raises(TextFormError, match="damaged key"):
        decode_key(kind, renamed)


def test_a_key_that_is_too_short_or_too_long_is_refused() -> None:
    for key in (KEY[:-1], KEY + b"\0", b""):
        with pytest.raises(TextFormError, match="damaged key"):
            decode_key(SECRET, encode_key(SECRET, key))


DAMAGED = "damaged key: copy it again, whole"


@pytest.mark.parametrize("kind", [PUBLIC, SECRET, PSK])
def test_a_key_is_damaged_however_it_was_cut(kind: str) -> None:
    text = encode_key(kind, KEY)
    cut = [text[:end] for end in range(1, len(text))]
    cut += [text[begin:] for begin in range(1, len(kind) - 1)]
    cut += [text[:at] + text[at + 1 :] for at in range(len(kind), len(text))]
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for damaged in (*cut, changed, text + "é", text + "\n", text * 2):
        with pytest.raises(TextFormError) as caught:
            decode_key(kind, damaged)
        assert str(caught.value) == DAMAGED


def test_a_key_without_its_kind_is_none_even_if_it_looks_like_the_end_of_one() -> None:
    key = unarmour("t-AA") + KEY[3:]
    word = encode_key(SECRET, key).removeprefix(SECRET)
    assert word.startswith("t-")
    with pytest.raises(TextFormError):
        decode_key(SECRET, word)


def test_what_is_no_key_says_what_is_expected() -> None:
    for text in ("", "x", encode_key(PSK, KEY), "-", "spasm"):
        with pytest.raises(TextFormError, match=r"^expected a key that begins with"):
            decode_key(SECRET, text)


def test_blanks_around_a_key_are_the_business_of_who_reads_the_file() -> None:
    text = encode_key(SECRET, KEY)
    for blank in (" " + text, text + " ", text + "\n", text + "\0"):
        with pytest.raises(TextFormError):
            decode_key(SECRET, blank)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"\0", "AA"), (b"\xfb\xff", "-_8"), (b"abc", "YWJj")],
)
def test_base64url_has_no_padding_and_its_own_two_letters(
    data: bytes, text: str
) -> None:
    assert armour(data) == text
    assert unarmour(text) == data


def test_each_letter_of_base64url_can_be_the_last_one() -> None:
    texts = [armour(bytes([0, 0, byte])) for byte in range(64)]
    assert len({text[3] for text in texts}) == 64
    assert [unarmour(text)[2] for text in texts] == list(range(64))


@pytest.mark.parametrize("text", ["AA==", "AA=", "AB", "+/8", "A", "A A", "AA\n", "é"])
def test_another_spelling_of_the_same_bytes_is_refused(text: str) -> None:
    with pytest.raises(TextFormError):
        unarmour(text)
