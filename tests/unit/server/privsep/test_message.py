from collections.abc import Callable
from ipaddress import ip_address
from struct import pack

import pytest

from spassh_server.firewall import Grant
from spassh_server.ports import Port
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    FROM_GRANTER,
    SIZE,
    Answer,
    GrantMessage,
    ListUsers,
    MessageError,
    decode_answer,
    decode_request,
    encode_answer,
    encode_grant,
    encode_list_users,
)

Decode = Callable[[bytes], object]

ADDRESSES = [
    ip_address(text).packed
    for text in ("192.0.2.7", "255.255.255.254", "2001:db8::7", "::1", "fe80::1")
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("port", [Port(6, 22), Port(17, 65535), Port(6, 1)])
@pytest.mark.parametrize("number", [0, 1, 0xFFFFFFFF])
def test_a_grant_is_read_back(address: bytes, port: Port, number: int) -> None:
    for seconds in (1, 15, 86_400, 0xFFFFFFFF):
        wanted = GrantMessage(number, Grant(address, port), seconds)
        data = encode_grant(wanted)
        assert len(data) == SIZE
        assert wanted == decode_request(data)


@pytest.mark.parametrize("number", [0, 1, 0xFFFFFFFF])
def test_the_wish_for_users_is_read_back(number: int) -> None:
    data = encode_list_users(number)
    assert len(data) == SIZE
    assert ListUsers(number) == decode_request(data)


@pytest.mark.parametrize("kind", sorted(FROM_GRANTER - {message.USER_FILE}))
@pytest.mark.parametrize("number", [0, 1, 0xFFFFFFFF])
def test_an_answer_is_read_back(kind: int, number: int) -> None:
    data = encode_answer(Answer(kind, number))
    assert len(data) == SIZE
    assert Answer(kind, number) == decode_answer(data)


@pytest.mark.parametrize("name", ["a", "ada.toml", "x" * 48])
def test_a_file_name_is_read_back(name: str) -> None:
    answer = Answer(message.USER_FILE, 7, name)
    assert answer == decode_answer(encode_answer(answer))


EXAMPLES: dict[str, tuple[bytes, Decode]] = {
    "grant": (
        encode_grant(GrantMessage(7, Grant(ADDRESSES[0], Port(6, 22)), 15)),
        decode_request,
    ),
    "grant for ipv6": (
        encode_grant(GrantMessage(7, Grant(ADDRESSES[2], Port(17, 53)), 15)),
        decode_request,
    ),
    "list users": (encode_list_users(7), decode_request),
    "granted": (encode_answer(Answer(message.GRANTED, 7)), decode_answer),
    "user file": (
        encode_answer(Answer(message.USER_FILE, 7, "ada.toml")),
        decode_answer,
    ),
}


def encode(decoded: object) -> bytes:
    if isinstance(decoded, GrantMessage):
        return encode_grant(decoded)
    if isinstance(decoded, ListUsers):
        return encode_list_users(decoded.number)
    assert isinstance(decoded, Answer)
    return encode_answer(decoded)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_changed_byte_makes_another_message_or_none(name: str) -> None:
    data, decode = EXAMPLES[name]
    before = decode(data)
    for at in range(SIZE):
        for value in range(256):
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            if changed == data:
                continue
            try:
                after = decode(changed)
            except MessageError:
                continue
            assert before != after
            assert changed == encode(after)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_another_size_is_no_message(name: str, size: int) -> None:
    data, decode = EXAMPLES[name]
    with pytest.raises(MessageError, match="size"):
        decode(data.ljust(size, b"\0")[:size])


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {1, 2}))
def test_the_listener_has_two_types_of_message(kind: int) -> None:
    with pytest.raises(MessageError, match="unknown type"):
        decode_request(bytes([kind]).ljust(SIZE, b"\0"))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - FROM_GRANTER))
def test_the_granter_has_no_other_types_than_its_own(kind: int) -> None:
    with pytest.raises(MessageError, match="unknown type"):
        decode_answer(bytes([kind]).ljust(SIZE, b"\0"))


def grant_bytes(
    seconds: int = 15,
    protocol: int = 6,
    port: int = 22,
    size: int = 4,
    address: bytes = ADDRESSES[0],
) -> bytes:
    fields = pack("!IBHB16s", seconds, protocol, port, size, address)
    return (pack("!BI", message.GRANT, 7) + fields).ljust(SIZE, b"\0")


def test_the_grant_that_the_following_tests_break_is_valid() -> None:
    expected = GrantMessage(7, Grant(ADDRESSES[0], Port(6, 22)), 15)
    assert expected == decode_request(grant_bytes())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (grant_bytes(seconds=0), "port or lifetime"),
        (grant_bytes(port=0), "port or lifetime"),
        (grant_bytes(protocol=0), "port or lifetime"),
        (grant_bytes(protocol=1), "port or lifetime"),
        (grant_bytes(protocol=255), "port or lifetime"),
        (grant_bytes(size=0, address=b""), "address"),
        (grant_bytes(size=0), "address"),
        (grant_bytes(size=3), "address"),
        (grant_bytes(size=5), "address"),
        (grant_bytes(size=255), "address"),
        (grant_bytes(address=ADDRESSES[0] + b"\1"), "address"),
        (grant_bytes(address=ADDRESSES[2]), "address"),
        (grant_bytes(address=bytes(4)), "address"),
        (grant_bytes(address=b"\xff" * 4), "address"),
        (grant_bytes(address=b"\xe0\0\0\1"), "address"),
        (grant_bytes(size=16, address=bytes(16)), "address"),
        (grant_bytes(size=16, address=b"\xff\x02" + bytes(13) + b"\1"), "address"),
        (
            grant_bytes(size=16, address=bytes(10) + b"\xff\xff\xc0\0\2\7"),
            "address",
        ),
        (grant_bytes()[:-1] + b"\1", "padding"),
        (encode_list_users(7)[:-1] + b"\1", "padding"),
    ],
    ids=[
        "no lifetime",
        "no port",
        "no protocol",
        "icmp",
        "protocol 255",
        "no address",
        "address without size",
        "address of 3 bytes",
        "address of 5 bytes",
        "address of 255 bytes",
        "ipv4 with a tail",
        "ipv6 as ipv4",
        "0.0.0.0",
        "broadcast",
        "multicast",
        "::",
        "ff02::1",
        "mapped",
        "tail of a grant",
        "tail of a list",
    ],
)
def test_a_wish_that_breaks_a_rule_is_no_message(data: bytes, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_request(data)


def file_bytes(size: int, name: bytes, tail: bytes = b"") -> bytes:
    fields = pack("!BIB48s", message.USER_FILE, 7, size, name)
    return (fields + tail).ljust(SIZE, b"\0")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (file_bytes(0, b""), "name"),
        (file_bytes(0, b"a"), "name"),
        (file_bytes(49, b"a" * 48), "name"),
        (file_bytes(255, b"a" * 48), "name"),
        (file_bytes(3, b"abcd"), "name"),
        (file_bytes(2, b"\xc3\xa4"), "name"),
        (file_bytes(1, b"a", b"\1"), "padding"),
        (encode_answer(Answer(message.READY, 7))[:-1] + b"\1", "padding"),
    ],
    ids=["none", "unsized", "49", "255", "tail", "not ascii", "padding", "ready"],
)
def test_an_answer_that_breaks_a_rule_is_no_message(data: bytes, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_answer(data)


def test_neither_side_takes_a_message_of_its_own() -> None:
    with pytest.raises(MessageError):
        decode_answer(encode_list_users(7))
    with pytest.raises(MessageError):
        decode_request(encode_answer(Answer(message.GRANTED, 7)))
