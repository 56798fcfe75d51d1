"""Packets by GnuPG: what is taken out of them, and above all what is not."""

import string
from collections.abc import Callable
from random import Random

import pytest

from spassh.protocol.errors import Malformed, NotOurs, PacketError, Unauthentic
from spassh.protocol.fwknop import opening, openpgp
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.limits import MOST
from spassh.protocol.fwknop.message import Message, encode
from spassh.protocol.fwknop.openpgp import (
    FIRST,
    LEAST,
    MAX_MESSAGE,
    PREFIX,
    Hmac,
    Keyring,
    enclose,
    has_form,
)
from spassh.protocol.fwknop.packet import FIRST as SYMMETRIC_FIRST
from spassh.protocol.fwknop.packet import seal
from spassh.protocol.fwknop.text import check, identity, read, spell
from spassh.protocol.fwknop.unpadded import encode as to_base64

HMAC = Hmac(bytes(range(64)))
BARE = Hmac()


def openpgp_message(size: int, to: int = 268, seed: int = 0) -> bytes:
    """Make what begins like a message to a key of RSA or Elgamal."""
    head = bytes([0x85]) + to.to_bytes(2, "big") + b"\x03"
    return head + Random(seed).randbytes(size - len(head))


MESSAGE = openpgp_message(763)
PACKET = enclose(MESSAGE, HMAC)


@pytest.mark.parametrize("digest", DIGESTS)
def test_each_hmac_leads_to_the_message(digest: str) -> None:
    hmac = Hmac(b"a passphrase", digest)
    payload = enclose(MESSAGE, hmac)
    opened = Keyring([HMAC, Hmac(b"other", digest), hmac]).open(payload)
    assert (opened.message, opened.number) == (MESSAGE, 2)
    with pytest.raises(NotOurs, match="key"):
        Keyring([HMAC, Hmac(b"other", digest)]).open(payload)


@pytest.mark.parametrize(
    ("to", "name"), [(268, "RSA 2048"), (396, "RSA 3072"), (524, "RSA 4096")]
)
def test_what_begins_with_a_session_key_for_rsa_or_elgamal_has_the_form(
    to: int, name: str
) -> None:
    assert name
    # Elgamal has two numbers, and each may be a byte shorter by chance.
    for size in (to, to - 1, to + 2):
        assert has_form(enclose(openpgp_message(763, size), BARE))


@pytest.mark.parametrize(
    "message",
    [
        b"\x84\x5e\x03" + bytes(400),  # Curve25519, and RSA 1024
        b"\xc1\xc0\x4c\x03" + bytes(400),  # the lengths of RFC 4880
        b"\x85\x01\x0c\x06" + bytes(400),  # version 6
        b"\x85\x04\x0c\x03" + bytes(400),  # RSA 8192
        b"\x85\x00\x0c\x03" + bytes(400),
        b"\xa3" + bytes(400),  # not encrypted
        b"-----BEGIN PGP MESSAGE-----".ljust(400),
    ],
)
def test_what_is_for_another_kind_of_key_is_not_made(message: bytes) -> None:
    with pytest.raises(Malformed, match="recipient"):
        enclose(message, HMAC)


def test_what_fwknopd_does_not_take_is_not_made() -> None:
    """libfko counts the prefix as well, and takes less than 1500."""
    largest = enclose(openpgp_message(1124), BARE)
    assert len(PREFIX + largest) == MOST - 1
    for message, hmac in ((openpgp_message(1125), BARE), (MESSAGE * 2, HMAC)):
        with pytest.raises(Malformed, match="too long"):
            enclose(message, hmac)
    assert len(to_base64(bytes(MAX_MESSAGE))) <= MOST + len(PREFIX)
    assert len(to_base64(bytes(MAX_MESSAGE + 1))) > MOST + len(PREFIX)


def test_a_message_by_gnupg_is_never_taken_for_a_symmetric_one() -> None:
    assert not set(FIRST) & set(SYMMETRIC_FIRST)
    assert not opening.has_form(PACKET)
    symmetric = Message("1" * 16, "u", 1, 1, b"", ((6, 22),))
    assert not has_form(seal(symmetric, Keys(b"k"), bytes(8)))


OTHER_SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "=": lambda packet: packet + b"=",
    "==": lambda packet: packet + b"==",
    "=AAAA": lambda packet: packet + b"=AAAA",
    "prefix": lambda packet: PREFIX + packet,
    "newline": lambda packet: packet + b"\n",
    "url": lambda packet: packet.replace(b"+", b"-").replace(b"/", b"_"),
    "cut": lambda packet: packet[1:],
}


@pytest.mark.parametrize("how", OTHER_SPELLINGS)
@pytest.mark.parametrize("hmac", [HMAC, BARE], ids=["hmac", "bare"])
def test_another_spelling_of_a_packet_is_refused(how: str, hmac: Hmac) -> None:
    packet = enclose(MESSAGE, hmac)
    changed = OTHER_SPELLINGS[how](packet)
    assert changed != packet
    with pytest.raises(NotOurs):
        Keyring([hmac]).open(changed)


def test_the_spare_bits_of_the_last_character_have_one_value() -> None:
    letters = string.ascii_letters + string.digits + "+/"
    for size, values in ((761, 16), (763, 4)):
        packet = enclose(openpgp_message(size), BARE)
        keyring = Keyring([BARE])
        assert keyring.open(packet).message == openpgp_message(size)
        taken = []
        for letter in letters.encode():
            try:
                taken.append(keyring.open(packet[:-1] + bytes([letter])).identity)
            except NotOurs:
                continue
        # Each that is left is a message of its own.
        assert len(taken) == len(set(taken)) == values


def test_of_a_client_that_spells_in_another_way_the_hmac_is_right_all_the_same() -> (
    None
):
    whole = to_base64(openpgp_message(761))
    other = whole[:-1] + bytes([whole[-1] + 1])
    tag = DIGESTS["sha256"].hmac(HMAC.key, other)
    with pytest.raises(Unauthentic, match="base64"):
        Keyring([HMAC]).open(other[len(PREFIX) :] + tag)


def test_what_needs_no_hmac_comes_after_all_that_have_one() -> None:
    """Else it would have a name of its own for the packets of others."""
    keyring = Keyring([BARE, HMAC, BARE])
    assert keyring.open(PACKET).number == 1
    bare = enclose(MESSAGE, BARE)
    assert keyring.open(bare).number == 0
    assert keyring.open(bare).message == keyring.open(PACKET).message
    with pytest.raises(NotOurs, match="key"):
        Keyring([HMAC]).open(bare)


@pytest.mark.parametrize("keys", [[HMAC], [BARE, HMAC], []])
def test_nothing_but_a_packet_error_comes_of_what_is_changed_or_cut(
    keys: list[Hmac],
) -> None:
    keyring = Keyring(keys)
    for at in range(len(PACKET)):
        for letter in b"A/=\0\xff":
            changed = PACKET[:at] + bytes([letter]) + PACKET[at + 1 :]
            if changed != PACKET:
                refused_or_bare(keyring, changed)
        refused_or_bare(keyring, PACKET[:at])
        refused_or_bare(keyring, PACKET[at + 1 :])


def refused_or_bare(keyring: Keyring, payload: bytes) -> None:
    try:
        opened = keyring.open(payload)
    except PacketError:
        return
    assert opened.number == 0
    assert keyring._bare == 0


def test_the_tag_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(openpgp, "compare_digest", compare)
    assert Keyring([HMAC]).open(PACKET).message == MESSAGE
    assert compared == [(PACKET[-43:], PACKET[-43:])]


@pytest.mark.parametrize(
    "payload",
    [b"", PACKET[: LEAST - 1], PACKET.ljust(MOST + 1, b"A"), b"8" + PACKET[1:]],
)
def test_what_cannot_be_a_packet_costs_no_hash(
    payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openpgp, "compare_digest", None)
    with pytest.raises(NotOurs, match="form"):
        Keyring([HMAC]).open(payload)


def test_an_identity_is_that_of_the_bytes() -> None:
    once = Keyring([HMAC]).open(PACKET)
    again = Keyring([BARE]).open(enclose(MESSAGE, BARE))
    other = Keyring([BARE]).open(enclose(openpgp_message(763, seed=1), BARE))
    assert once.identity == again.identity != other.identity
    assert len(once.identity) == 32


# What is signed

TEXT = Message("1234567890123456", "alice", 1_700_000_000, 1, b"", ((6, 22),))


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_text_is_read_as_it_was_spelled(digest: str) -> None:
    text = spell(TEXT, digest)
    check(text)
    assert read(text) == TEXT
    assert len(identity(text)) == 32


def test_a_text_of_1_9_has_padded_fields() -> None:
    head = b"1234567890123456:YWxpY2U=:1700000000:1.9.12:1:MC4wLjAuMCx0Y3AvMjI="
    for digest in ("md5", "sha1", "sha256"):
        text = head + b":" + DIGESTS[digest].hash(head)
        check(text)
        assert read(text, legacy=True) == TEXT._replace(version="1.9.12")
        with pytest.raises(Malformed):
            read(text)


@pytest.mark.parametrize("text", [b"", b":", b"\n", encode(TEXT), spell(TEXT) + b"\n"])
def test_a_text_whose_digest_is_wrong_is_not_authentic(text: bytes) -> None:
    with pytest.raises(Unauthentic, match="digest"):
        check(text)


def test_a_text_that_is_changed_or_cut_raises_nothing_but_a_packet_error() -> None:
    """Who can sign may still be hostile."""
    whole = spell(TEXT)
    for at in range(len(whole)):
        for head in (whole[:at], whole[:at] + b"\xff:=" + whole[at + 1 :]):
            text = head + b":" + DIGESTS["md5"].hash(head)
            check(text)
            try:
                assert read(text).rand
            except PacketError:
                continue
