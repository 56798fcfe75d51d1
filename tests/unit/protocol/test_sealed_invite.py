from functools import cache
from unicodedata import normalize

import pytest

from spassh.protocol import sealed_invite
from spassh.protocol.crypto import PrivateKey, encrypt
from spassh.protocol.errors import TextFormError
from spassh.protocol.invite import Invite, decode_invite, encode_invite
from spassh.protocol.keys import armour, checksum, unarmour
from spassh.protocol.sealed_invite import (
    PREFIX,
    SealedInvite,
    WrongPassphraseError,
    decode_sealed,
    is_sealed,
    open_sealed,
    seal_invite,
    spelled_passphrase,
)

SECRET = bytes(range(64, 96))
INVITE = Invite(
    "alice",
    "host.example",
    62201,
    bytes(range(32)),
    bytes(range(32, 64)),
    PrivateKey(SECRET).public,
    SECRET,
)
SALT = bytes(range(16))
PASSPHRASE = "correct horse battery staple"  # noqa: S105 - it is in PROTOCOL.md


@pytest.fixture(autouse=True)
def _remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not derive the same key twice, which takes half a second."""
    monkeypatch.setattr(sealed_invite, "_stretch", stretch)


stretch = cache(sealed_invite._stretch)


def spell(body: bytes, prefix: str = PREFIX) -> str:
    return prefix + armour(body + checksum(prefix, body))


def sealed() -> str:
    return seal_invite(INVITE, PASSPHRASE, SALT)


def test_the_passphrase_opens_what_it_has_sealed() -> None:
    assert open_sealed(decode_sealed(sealed()), PASSPHRASE) == INVITE


def test_it_is_one_line_of_ascii_that_shows_nothing() -> None:
    text = sealed()
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    data = unarmour(text[len(PREFIX) :])
    assert b"alice" not in data
    assert SECRET not in data
    assert data.startswith(SALT)


def test_another_passphrase_is_told_from_damage() -> None:
    with pytest.raises(WrongPassphraseError, match=r"^wrong passphrase$"):
        open_sealed(decode_sealed(sealed()), "correct horse battery stable")
    with pytest.raises(TextFormError, match=r"^damaged invite: copy it again, whole$"):
        decode_sealed(sealed()[:-1] + ("A" if sealed()[-1] != "A" else "B"))


def test_whatever_is_altered_under_a_new_checksum_does_not_open() -> None:
    """Nobody without the passphrase makes an invite, or changes one."""
    _, box = decode_sealed(sealed())
    for at in range(len(box)):
        forged = box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :]
        again = decode_sealed(spell(SALT + forged))
        with pytest.raises(WrongPassphraseError):
            open_sealed(again, PASSPHRASE)
    for forged in (box[:-1], box + b"\0", b"\0" + box):
        with pytest.raises(WrongPassphraseError):
            open_sealed(decode_sealed(spell(SALT + forged)), PASSPHRASE)


def test_another_salt_makes_another_key() -> None:
    _, box = decode_sealed(sealed())
    with pytest.raises(WrongPassphraseError):
        open_sealed(SealedInvite(bytes(16), box), PASSPHRASE)


def test_an_invite_is_damaged_however_it_was_cut() -> None:
    text = sealed()
    cut = [text[:end] for end in range(1, len(text))]
    cut += [text[begin:] for begin in range(1, len(PREFIX) - 1)]
    cut += [text[:at] + text[at + 1 :] for at in range(len(PREFIX), len(text))]
    for damaged in (*cut, f"{text[:70]}\n{text[70:]}", text + "\u00e9", text * 2):
        with pytest.raises(TextFormError, match=r"^damaged invite: copy it again"):
            decode_sealed(damaged)


@pytest.mark.parametrize("size", [0, 15, 16, 31])
def test_what_is_too_short_for_a_salt_and_a_box_is_damaged(size: int) -> None:
    with pytest.raises(TextFormError, match=r"^damaged invite"):
        decode_sealed(spell(bytes(size)))


def test_another_version_says_what_to_do() -> None:
    with pytest.raises(TextFormError, match=r"^invite of another version: update"):
        decode_sealed(spell(bytes(32), "spassh-sealed-2-"))


def test_a_plain_invite_is_no_sealed_one_and_back() -> None:
    plain = encode_invite(INVITE)
    assert is_sealed(sealed())
    assert not is_sealed(plain)
    with pytest.raises(TextFormError, match=r"^not an invite: it does not begin with"):
        decode_sealed(plain)
    with pytest.raises(TextFormError, match=r"^not an invite: it does not begin with"):
        decode_invite(sealed())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("spassh-sealed-", True),
        ("spassh-sealed-7-x", True),
        ("spassh-sea", True),
        ("assh-sealed-1-x", True),
        ("spassh-", False),
        ("assh-invite-1-x", False),
        ("1-x", False),
        ("hello", False),
        ("", False),
    ],
)
def test_what_was_meant_is_known_from_what_is_left(text: str, answer: bool) -> None:
    assert is_sealed(text) is answer


@pytest.mark.parametrize("body", [b"", bytes(98), bytes(110)])
def test_what_is_inside_has_to_be_an_invite(body: bytes) -> None:
    box = encrypt(stretch(PASSPHRASE, SALT), PREFIX.encode(), body)
    with pytest.raises(TextFormError, match=r"^invite breaks a rule of its format$"):
        open_sealed(decode_sealed(spell(SALT + box)), PASSPHRASE)


def test_a_letter_is_the_same_however_it_was_typed() -> None:
    composed = "Gru\u0308\u00dfe"
    assert normalize("NFC", composed) != composed
    assert spelled_passphrase(composed) == "Gr\u00fc\u00dfe".encode()
    # Compatible is not the same: another letter stays another one.
    assert spelled_passphrase("\ufb01") != b"fi"


@pytest.mark.parametrize(
    ("passphrase", "message"),
    [
        ("", "a passphrase has 1 to 1024 bytes"),
        ("x" * 1025, "a passphrase has 1 to 1024 bytes"),
        ("\u00e9" * 513, "a passphrase has 1 to 1024 bytes"),
        ("x\udcff", "a passphrase is text in UTF-8"),
    ],
)
def test_what_nobody_could_type_is_no_passphrase(passphrase: str, message: str) -> None:
    for use in (
        lambda: seal_invite(INVITE, passphrase, SALT),
        lambda: open_sealed(SealedInvite(SALT, bytes(32)), passphrase),
    ):
        with pytest.raises(TextFormError) as caught:
            use()
        assert str(caught.value) == message


@pytest.mark.parametrize("passphrase", ["x", "\u00e9" * 512])
def test_the_shortest_and_the_longest_are_spelled(passphrase: str) -> None:
    assert spelled_passphrase(passphrase)


def test_a_name_that_is_none_is_not_sealed() -> None:
    with pytest.raises(TextFormError, match=r"^not a user name"):
        seal_invite(INVITE._replace(user="a b"), PASSPHRASE, SALT)
