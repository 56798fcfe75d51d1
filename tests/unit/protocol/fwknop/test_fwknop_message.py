"""A message of fwknop: what it may say, and its one spelling."""

import pytest

from spassh.protocol.errors import Malformed
from spassh.protocol.fwknop.message import (
    MAX_MESSAGE,
    MAX_TIMEOUT,
    MAX_USER,
    Message,
    decode,
    encode,
    printable,
)
from spassh.protocol.fwknop.unpadded import encode as to_base64

ACCESS = Message("1234567890123456", "alice", 1_700_000_000, 1, b"", ((6, 22),))
NAT = ACCESS._replace(type=2, target=("10.0.0.5", 22))
COMMAND = ACCESS._replace(type=0, ports=(), command="/bin/true -x")


def b64(text: str) -> str:
    return to_base64(text.encode()).decode()


def text(*changes: tuple[int, str], more: str = "") -> str:
    """Spell an access message with some fields changed."""
    fields = [
        "1234567890123456",
        b64("alice"),
        "1700000000",
        "3.0.0",
        "1",
        b64("0.0.0.0,tcp/22"),
    ]
    for at, field in changes:
        fields[at] = field
    return ":".join(fields) + more


def test_the_spelling_is_the_one_of_fwknop() -> None:
    assert encode(ACCESS).decode() == text()
    assert decode(text()) == ACCESS


@pytest.mark.parametrize(
    "message",
    [
        ACCESS,
        ACCESS._replace(ports=((6, 22), (17, 53)), address=b"\x7f\0\0\1"),
        NAT,
        ACCESS._replace(type=3, timeout=60),
        NAT._replace(type=4, timeout=MAX_TIMEOUT),
        NAT._replace(type=5, target=("gate.inside", 65_535)),
        NAT._replace(type=6, timeout=1),
        COMMAND,
    ],
    ids=lambda message: f"type {message.type}",
)
def test_each_type_is_spelled_and_read_back(message: Message) -> None:
    assert decode(encode(message).decode()) == message


@pytest.mark.parametrize(
    "message",
    [
        ACCESS._replace(rand="1"),
        ACCESS._replace(rand="x" * 16),
        ACCESS._replace(user=""),
        ACCESS._replace(user="a" * (MAX_USER + 1)),
        ACCESS._replace(user="a:b"),
        ACCESS._replace(user="\u00e4"),
        ACCESS._replace(time=-1),
        ACCESS._replace(time=1 << 31),
        ACCESS._replace(type=7),
        ACCESS._replace(address=bytes(4)),
        ACCESS._replace(address=bytes(range(16))),
        ACCESS._replace(ports=()),
        ACCESS._replace(ports=((6, 0),)),
        ACCESS._replace(ports=((6, 65_536),)),
        ACCESS._replace(ports=((1, 1),)),
        ACCESS._replace(ports=((6, 22),) * 40),
        ACCESS._replace(command="x"),
        ACCESS._replace(timeout=5),
        ACCESS._replace(target=("10.0.0.5", 22)),
        ACCESS._replace(version=""),
        ACCESS._replace(type=3, timeout=MAX_TIMEOUT + 1),
        NAT._replace(target=None),
        NAT._replace(target=("a/b", 22)),
        NAT._replace(target=("a,b", 22)),
        NAT._replace(target=("", 22)),
        NAT._replace(target=("a" * 71, 22)),
        NAT._replace(target=("a", 0)),
        COMMAND._replace(command=""),
        COMMAND._replace(command="a\nb"),
        COMMAND._replace(command="a" * (MAX_MESSAGE - len("0.0.0.0,") + 1)),
        COMMAND._replace(timeout=5),
        COMMAND._replace(ports=((6, 22),)),
    ],
)
def test_what_has_no_spelling_is_malformed(message: Message) -> None:
    with pytest.raises(Malformed):
        encode(message)


@pytest.mark.parametrize(
    "spelled",
    [
        "",
        text((0, "123456789012345")),
        text((0, "12345678901234567")),
        text((1, b64("alice") + "=")),
        text((1, "YWxpY2V")),  # the spare bits
        text((1, b64("a\x7f"))),
        text((2, "01700000000")),
        text((2, "1700000000 ")),
        text((2, "99999999999")),
        text((2, "\u0661")),
        text((3, "")),
        text((3, "3.0.0.0.0")),
        text((4, "7")),
        text((4, "01")),
        text((4, "3")),
        text((4, "0"), (5, b64("0.0.0.0"))),
        text((5, b64("0.0.0.0,tcp/22,"))),
        text((5, b64("0.0.0.0,icmp/1"))),
        text((5, b64("0.0.0.0,tcp/022"))),
        text((5, b64("0.0.0.0,tcp/22/"))),
        text((5, b64("0.0.0,tcp/22"))),
        text((5, b64("0.0.0.256,tcp/22"))),
        text((5, b64("0.0.0.00,tcp/22"))),
        text((5, b64("::1,tcp/22"))),
        text((5, "A")),
        text(more=":30"),
        text(more=":YQ:YQ"),
        text((4, "3"), more=":30:30"),
        text((4, "3"), more=":x"),
        text((4, "2"), more=f":{b64('10.0.0.5')}"),
        text((4, "2"), more=f":{b64('10.0.0.5,22,23')}"),
        text((4, "4"), more=f":{b64('10.0.0.5,22')}"),
    ],
)
def test_a_broken_rule_is_malformed(spelled: str) -> None:
    with pytest.raises(Malformed):
        decode(spelled)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("0", "", ""),
        ("1", "", ""),
        ("2", f":{b64('10.0.0.5,22')}", ""),
        ("3", "", ":30"),
        ("4", f":{b64('10.0.0.5,22')}", ":30"),
    ],
)
def test_an_authorization_that_nobody_evaluates_may_be_there(
    kind: str, before: str, after: str
) -> None:
    password = f":{b64('crypt,x')}"
    spelled = text((4, kind), more=before + password + after)
    assert decode(spelled) == decode(text((4, kind), more=before + after))
    with pytest.raises(Malformed):
        decode(text((4, kind), more=f"{before}{password}={after}"))


def test_the_fields_of_1_9_keep_their_padding() -> None:
    padded = text((1, b64("alice") + "="), (5, b64("0.0.0.0,tcp/22") + "="))
    assert decode(padded, legacy=True) == ACCESS
    assert decode(text(), legacy=True) == ACCESS
    for wrong in ("==", "===", "=A"):
        with pytest.raises(Malformed):
            decode(text((1, b64("alice") + wrong)), legacy=True)


@pytest.mark.parametrize("byte", [0, 0x1F, 0x7F, 0x80, 0xFF])
def test_only_printable_ascii_is_text(byte: int) -> None:
    assert printable(b" ~") == " ~"
    with pytest.raises(Malformed):
        printable(b"a" + bytes([byte]))
