"""What a server takes of fwknop's packets, and above all what it does not take."""

from collections import Counter
from itertools import product

import pytest

from spassh.protocol.errors import Malformed, NotOurs, Unauthentic
from spassh.protocol.fwknop import opening
from spassh.protocol.fwknop.cipher import decrypt, encrypt
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys, derive
from spassh.protocol.fwknop.message import Message, encode
from spassh.protocol.fwknop.opening import Opened, open_packet
from spassh.protocol.fwknop.packet import MAGIC, PREFIX, rand, seal
from spassh.protocol.fwknop.unpadded import encode as to_base64

SALT = bytes(range(8))
KEYS = Keys(bytes(range(32)), bytes(range(64)))
MESSAGE = Message("1234567890123456", "alice", 1_700_000_000, 1, b"", ((6, 22),))
GOOD = seal(MESSAGE, KEYS, SALT)


def handmade(plain: bytes, keys: Keys, salt: bytes = SALT) -> bytes:
    """Make a packet of any text, as somebody who has the keys can."""
    whole = to_base64(MAGIC + salt + encrypt(*derive(keys, salt), plain))
    tag = DIGESTS[keys.hmac_digest].hmac(keys.hmac, whole) if keys.hmac else b""
    return whole[len(PREFIX) :] + tag


def with_digest(text: str, digest: str = "sha256") -> bytes:
    head = text.encode("latin-1")
    return head + b":" + DIGESTS[digest].hash(head)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", [b"a passphrase", bytes(range(32))])
def test_every_digest_goes_with_every_hmac(key: bytes, legacy: bool) -> None:
    for digest, hmac in product(DIGESTS, ["", *DIGESTS]):
        keys = Keys(key, b"hmac" if hmac else b"", hmac or "sha256", legacy=legacy)
        payload = seal(MESSAGE, keys, SALT, digest)
        assert open_packet(payload, [keys]).message == MESSAGE
        with pytest.raises(NotOurs):
            open_packet(payload, [keys._replace(hmac=b"other")])


def test_every_digest_of_1_9_is_taken_as_1_9_writes_it() -> None:
    text = "1234567890123456:YWxpY2U=:1700000000:1.9.12:1:MC4wLjAuMCx0Y3AvMjI="
    for digest in ("md5", "sha1", "sha256"):
        keys = Keys(b"legacykey123", legacy=True)
        message = open_packet(handmade(with_digest(text, digest), keys), [keys]).message
        assert message == MESSAGE._replace(version="1.9.12")


def test_a_padded_field_is_for_legacy_keys_alone() -> None:
    text = "1234567890123456:YWxpY2U=:1700000000:3.0.0:1:MC4wLjAuMCx0Y3AvMjI="
    with pytest.raises(Malformed):
        open_packet(handmade(with_digest(text), KEYS), [KEYS])


def test_the_first_key_that_fits_is_told() -> None:
    others = [Keys(b"a"), Keys(b"b", b"h"), KEYS, KEYS]
    assert open_packet(GOOD, others).number == 2


def test_nobody_has_keys() -> None:
    with pytest.raises(NotOurs):
        open_packet(GOOD, [])


def test_an_identity_is_what_was_encrypted_however_it_was_sent() -> None:
    """Without an HMAC and with it, under another salt: it is the same message."""
    bare = KEYS._replace(hmac=b"")
    once = open_packet(GOOD, [KEYS])
    for payload, keys in (
        (seal(MESSAGE, bare, SALT), bare),
        (seal(MESSAGE, KEYS, bytes(8)), KEYS),
    ):
        assert open_packet(payload, [keys]).identity == once.identity
    other = seal(MESSAGE._replace(rand="1234567890123457"), KEYS, SALT)
    assert open_packet(other, [KEYS]).identity != once.identity


def test_another_encryption_key_behind_the_right_hmac_is_not_authentic() -> None:
    with pytest.raises(Unauthentic, match=r"padding|digest"):
        open_packet(GOOD, [KEYS._replace(encryption=b"other")])


def test_a_wrong_digest_is_not_authentic() -> None:
    plain = encode(MESSAGE) + b":" + DIGESTS["sha256"].hash(b"other")
    with pytest.raises(Unauthentic, match="digest"):
        open_packet(handmade(plain, KEYS), [KEYS])
    bare = KEYS._replace(hmac=b"")
    with pytest.raises(NotOurs):
        open_packet(handmade(plain, bare), [bare])


def test_another_spelling_with_a_right_hmac_is_not_authentic() -> None:
    """Only who has the key can make it, and even so there is one spelling."""
    short = Keys(KEYS.encryption, KEYS.hmac)
    body = handmade(with_digest(encode(MESSAGE).decode()), short._replace(hmac=b""))
    for letter in b"ABCDEFGH":
        whole = PREFIX + body[:-1] + bytes([letter])
        if whole != PREFIX + body:
            payload = whole[len(PREFIX) :] + DIGESTS["sha256"].hmac(short.hmac, whole)
            with pytest.raises(Unauthentic):
                open_packet(payload, [short])


@pytest.mark.parametrize("text", ["", "no fields", "\x01" * 120, "1" * 200, ":" * 130])
def test_an_authentic_text_that_is_no_message_is_malformed(text: str) -> None:
    payload = handmade(with_digest(text), KEYS)
    error = Malformed if len(payload) >= 140 else NotOurs
    with pytest.raises(error):
        open_packet(payload, [KEYS])


@pytest.mark.parametrize("pad", [b"\0", b"\x11", b"\x01\x02", b"\x01\x03\x03"])
def test_a_wrong_padding_is_not_authentic(pad: bytes) -> None:
    key, vector = derive(KEYS, SALT)
    # Encrypted with a right padding behind the wrong one, of which the block is cut.
    sealed = encrypt(key, vector, b"x" * (32 - len(pad)) + pad)[:-16]
    with pytest.raises(Unauthentic, match="padding"):
        decrypt(key, vector, sealed)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        GOOD[:139],
        GOOD * 8,
        b"A" + GOOD[1:],
        GOOD[:-1] + b"=",
        GOOD[:-1] + b"-",
        GOOD[:-1] + b"_",
        GOOD[:-1] + b" ",
        GOOD[:-1] + b"\xff",
        GOOD + b"\n",
    ],
)
def test_what_cannot_be_a_packet_costs_no_hash(
    payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_body", None)
    with pytest.raises(NotOurs):
        open_packet(payload, [KEYS])


def test_a_strangers_packet_is_not_decrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def count(body: bytes, keys: Keys) -> bytes:
        calls["decrypt"] += 1
        raise Unauthentic

    monkeypatch.setattr(opening, "_decrypt", count)
    forged = GOOD[:-43] + b"A" * 43
    with pytest.raises(NotOurs):
        open_packet(forged, [KEYS] * 8)
    assert not calls
    with pytest.raises(NotOurs):
        open_packet(seal(MESSAGE, KEYS._replace(hmac=b""), SALT), [KEYS, Keys(b"x")])
    assert calls == {"decrypt": 1}


def test_the_tag_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(opening, "compare_digest", compare)
    assert isinstance(open_packet(GOOD, [KEYS]), Opened)
    assert compared == [(GOOD[-43:], GOOD[-43:])]


def test_a_salt_has_eight_bytes() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        seal(MESSAGE, KEYS, bytes(7))


@pytest.mark.parametrize(("hmac", "most"), [(b"", 109), (b"h", 97)])
def test_what_libfko_would_take_for_a_packet_of_gnupg_is_not_made(
    hmac: bytes, most: int
) -> None:
    keys = KEYS._replace(hmac=hmac)
    command = MESSAGE._replace(type=0, ports=(), command="x" * most)
    payload = seal(command, keys, SALT, "sha512")
    assert open_packet(payload, [keys]).message == command
    longer = command._replace(command="x" * (most + 1))
    with pytest.raises(Malformed, match="too long"):
        seal(longer, keys, SALT, "sha512")


def test_the_digits_of_a_message_come_from_all_of_the_randomness() -> None:
    assert rand(bytes(8)) == "0" * 16
    assert rand(b"\xff" * 8) == "6744073709551615"
    assert rand(bytes(7) + b"\x01") == "0" * 15 + "1"
