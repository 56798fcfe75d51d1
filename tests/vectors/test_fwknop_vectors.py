"""What the real clients of fwknop have made is opened, and made again to the byte."""

import json
from binascii import a2b_base64

import pytest
from vectors.fwknop_files import (
    FORMAT,
    HMAC_KEY,
    KEY,
    LEGACY,
    Vector,
    of_1_9,
    of_2_6,
)

from spassh.protocol.errors import NotOurs, Unauthentic
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message, decode, encode
from spassh.protocol.fwknop.opening import open_packet
from spassh.protocol.fwknop.packet import PREFIX, seal

pytestmark = pytest.mark.skipif(
    not FORMAT.exists(), reason="the vectors of fwknop are not beside the checkout"
)

NEW = of_2_6() if FORMAT.exists() else {}
OLD = of_1_9() if LEGACY.exists() else {}


def salt(vector: Vector) -> bytes:
    return a2b_base64(PREFIX + vector.payload[:14])[8:16]


def digest_of(plain: bytes) -> str:
    head, _, its = plain.rpartition(b":")
    return next(name for name, one in DIGESTS.items() if one.hash(head) == its)


def test_the_vectors_are_all_there() -> None:
    assert set(NEW) == {"V1", "V2", "V3", "V5"}
    assert set(OLD) == {"sym", "sym_sha1", "cmd", "nat", "natlocal", "http"}


@pytest.mark.parametrize("name", NEW)
def test_a_packet_of_2_6_is_opened_and_made_again(name: str) -> None:
    vector = NEW[name]
    message = open_packet(vector.payload, [vector.keys]).message
    assert encode(message) == vector.plain.rpartition(b":")[0]
    digest = digest_of(vector.plain)
    assert seal(message, vector.keys, salt(vector), digest) == vector.payload


@pytest.mark.parametrize("name", OLD)
def test_a_packet_of_1_9_is_opened(name: str) -> None:
    vector = OLD[name]
    message = open_packet(vector.payload, [vector.keys]).message
    head = vector.plain.rpartition(b":")[0].decode()
    assert message == decode(head, legacy=True)
    assert message.version == "1.9.12"
    assert message.user == "alice"


@pytest.mark.parametrize("name", ["sym", "cmd", "nat"])
def test_a_packet_of_1_9_needs_legacy_keys(name: str) -> None:
    vector = OLD[name]
    with pytest.raises(NotOurs):
        open_packet(vector.payload, [vector.keys._replace(legacy=False)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "V1",
            Message(
                "5339278481715226", "root", 1795427373, 1, b"\x7f\0\0\2", ((6, 22),)
            ),
        ),
        (
            "V2",
            Message(
                "4738417410400530",
                "alice",
                1795428432,
                4,
                b"\x7f\0\0\2",
                ((6, 22),),
                target=("10.0.0.5", 22),
                timeout=60,
            ),
        ),
        (
            "V5",
            Message(
                "1234567890123456", "alice", 1700000000, 3, b"", ((6, 22),), timeout=30
            ),
        ),
    ],
)
def test_what_a_packet_of_2_6_says(name: str, expected: Message) -> None:
    vector = NEW[name]
    assert open_packet(vector.payload, [vector.keys]).message == expected


def test_what_a_command_of_1_9_says() -> None:
    vector = OLD["cmd"]
    message = open_packet(vector.payload, [vector.keys]).message
    assert (message.type, message.command) == (0, "/usr/bin/touch /tmp/x")
    assert message.address == bytes([192, 0, 2, 55])


def test_another_mode_of_aes_is_refused_though_its_hmac_is_right() -> None:
    """V4 is CTR, and its keys are passphrases; only CBC is taken here."""
    text = FORMAT.read_text(encoding="utf-8")
    payload = text.partition("**V4**")[2].partition("packet  ")[2].split()[0].encode()
    keys = Keys(b"encpass", b"hmacpass", "sha3_256")
    digest = DIGESTS["sha3_256"]
    body, tag = payload[: -digest.characters], payload[-digest.characters :]
    assert digest.hmac(keys.hmac, PREFIX + body) == tag
    with pytest.raises(Unauthentic, match=r"padding|digest"):
        open_packet(payload, [keys])


def test_the_http_form_is_refused() -> None:
    """Over UDP it would be a second spelling."""
    for one in json.loads(LEGACY.read_text(encoding="utf-8"))["symmetric"]:
        if one["name"] == "http":
            keys = Keys(one["key"].encode(), legacy=True)
            for wire in (one["wire"], one["wire"].removeprefix("/")):
                with pytest.raises(NotOurs):
                    open_packet(wire.encode(), [keys])
    payload = NEW["V1"].payload
    other = payload.replace(b"+", b"-").replace(b"/", b"_")
    assert other != payload
    with pytest.raises(NotOurs):
        open_packet(other, [Keys(KEY, HMAC_KEY)])


# V3 has neither an HMAC nor a multiple of three bytes, and libfko takes all of these.
@pytest.mark.parametrize(
    "spelling",
    [
        lambda payload: payload + b"=",
        lambda payload: payload + b"==",
        lambda payload: payload + b"=AAAA",
        lambda payload: payload[:-1] + bytes([payload[-1] + 1]),
        lambda payload: PREFIX + payload,
        lambda payload: payload + b"\n",
    ],
    ids=["=", "==", "=AAAA", "spare bits", "prefix", "newline"],
)
@pytest.mark.parametrize("name", ["V1", "V3"])
def test_another_spelling_of_a_packet_is_refused(name: str, spelling: object) -> None:
    assert callable(spelling)
    vector = NEW[name]
    changed = spelling(vector.payload)
    assert changed != vector.payload
    with pytest.raises(NotOurs):
        open_packet(changed, [vector.keys])


def test_the_spare_bits_that_are_changed_above_are_spare() -> None:
    payload = NEW["V3"].payload
    assert payload[-1:] == b"8"
    pad = b"=" * (-(len(PREFIX) + len(payload)) % 4)
    assert pad
    assert a2b_base64(PREFIX + payload + pad) == (
        a2b_base64(PREFIX + payload[:-1] + b"9" + pad)
    )
