from collections.abc import Callable
from ipaddress import ip_address
from itertools import chain, combinations
from struct import pack
from typing import Any

import pytest

from spassh.protocol.limits import COMMAND_PAYLOAD, MAX_ARGUMENTS
from spassh.protocol.request import Request, encode
from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    FROM_GRANTER,
    RUN_SIZE,
    SIZE,
    Answer,
    Connection,
    GrantMessage,
    ListUsers,
    MessageError,
    Ping,
    Proof,
    Protect,
    Revoke,
    RunMessage,
    decode_answer,
    decode_request,
    encode_answer,
    encode_grant,
    encode_list_users,
    encode_ping,
    encode_proof,
    encode_protect,
    encode_revoke,
    encode_run,
)

Decode = Callable[[bytes], object]

ADDRESSES = [
    ip_address(text).packed
    for text in ("192.0.2.7", "255.255.255.254", "2001:db8::7", "::1", "fe80::1")
]
SSH = Port(6, 22)
NUMBERS = [0, 1, 0xFFFFFFFF]
USERS = ["a", "ada", "A.b_c-9", "x" * 32]
NO_HOSTS = {
    "none": (0, b""),
    "unsized": (0, ADDRESSES[0]),
    "3 bytes": (3, ADDRESSES[0]),
    "5 bytes": (5, ADDRESSES[0]),
    "255 bytes": (255, ADDRESSES[0]),
    "ipv4 with a tail": (4, ADDRESSES[0] + b"\1"),
    "ipv6 as ipv4": (4, ADDRESSES[2]),
    "0.0.0.0": (4, bytes(4)),
    "broadcast": (4, b"\xff" * 4),
    "multicast": (4, b"\xe0\0\0\1"),
    "::": (16, bytes(16)),
    "ff02::1": (16, b"\xff\x02" + bytes(13) + b"\1"),
    "mapped": (16, bytes(10) + b"\xff\xff\xc0\0\2\7"),
}
"""Sizes and addresses that stand for no host."""
NO_USERS = [
    b"",
    b".ada",
    b"-ada",
    b"a b",
    b"a/b",
    b"ad\0a",
    b"ada\n",
    b"\xc3\xa4",
    b"\xff",
    b"\0ada",
    b"ada" + bytes(28) + b"x",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("port", [SSH, Port(17, 65535), Port(6, 1)])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_grant_is_read_back(address: bytes, port: Port, number: int) -> None:
    for seconds in (1, 15, 86_400, 0xFFFFFFFF):
        wanted = GrantMessage(number, Grant(address, port), seconds, "ada")
        data = encode_grant(wanted)
        assert len(data) == SIZE
        assert wanted == decode_request(data)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("width", "source_port"),
    [
        (Width.FLOW, 1),
        (Width.FLOW, 40_000),
        (Width.FLOW, 65_535),
        (Width.ONCE, 0),
        (Width.ADDRESS, 0),
    ],
)
def test_a_width_is_read_back(user: str, width: Width, source_port: int) -> None:
    grant = Grant(ADDRESSES[2], SSH, width, source_port)
    wanted = GrantMessage(7, grant, 15, user)
    read = decode_request(encode_grant(wanted))
    assert read == wanted
    assert isinstance(read, GrantMessage)
    assert type(read.grant.width) is Width


@pytest.mark.parametrize("number", NUMBERS)
def test_what_has_no_fields_is_read_back(number: int) -> None:
    for data, wanted in (
        (encode_list_users(number), ListUsers(number)),
        (encode_ping(number), Ping(number)),
        (encode_protect(number), Protect(number)),
    ):
        assert len(data) == SIZE
        read = decode_request(data)
        assert type(read) is type(wanted)
        assert read == wanted


@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("user", "address"), [("", b""), ("x" * 32, b""), *(("", one) for one in ADDRESSES)]
)
def test_a_revocation_is_read_back(
    number: int, user: str, address: bytes, sessions: bool
) -> None:
    wanted = Revoke(number, user, address, sessions)
    data = encode_revoke(wanted)
    assert len(data) == SIZE
    read = decode_request(data)
    assert read == wanted
    assert isinstance(read, Revoke)
    assert read.sessions is sessions


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_question_for_proof_is_read_back(number: int, address: bytes) -> None:
    for ports in ((40_000, 22), (65_535, 65_535), (0, 0)):
        wanted = Proof(number, Connection(address, *ports))
        data = encode_proof(wanted)
        assert len(data) == SIZE
        assert decode_request(data) == wanted


ARGVS = [
    ("/bin/true",),
    ("a", "", "", "b c"),
    ("\N{SNOWMAN}", "\n", "\x7f", "\U0001f512"),
    ("x", *[""] * (MAX_ARGUMENTS - 1)),
]


@pytest.mark.parametrize("argv", ARGVS)
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", ["u", "up", "x" * 32])
def test_a_command_is_read_back(
    argv: tuple[str, ...], address: bytes, command: str
) -> None:
    wanted = RunMessage(7, "x" * 32, address, argv, command)
    data = encode_run(wanted)
    assert len(data) == RUN_SIZE
    assert wanted == decode_request(data)


def test_the_longest_command_of_a_datagram_fits() -> None:
    request = Request(1, command=("x" * (COMMAND_PAYLOAD - 38 - 2),))
    assert len(encode(request)) == COMMAND_PAYLOAD
    wanted = RunMessage(7, "x" * 32, ADDRESSES[2], request.command, "x" * 32)
    assert wanted == decode_request(encode_run(wanted))


PLAIN = FROM_GRANTER - {message.USER_FILE, message.READY, message.REVOKED}


@pytest.mark.parametrize("kind", sorted(FROM_GRANTER - {message.USER_FILE}))
@pytest.mark.parametrize("number", NUMBERS)
def test_an_answer_is_read_back(kind: int, number: int) -> None:
    data = encode_answer(Answer(kind, number))
    assert len(data) == SIZE
    assert Answer(kind, number) == decode_answer(data)


@pytest.mark.parametrize("name", ["a", "ada.toml", "x" * 48])
def test_a_file_name_is_read_back(name: str) -> None:
    answer = Answer(message.USER_FILE, 7, name)
    assert answer == decode_answer(encode_answer(answer))


@pytest.mark.parametrize(
    "widths", list(chain.from_iterable(combinations(Width, n) for n in range(4)))
)
def test_widths_are_read_back(widths: tuple[Width, ...]) -> None:
    answer = Answer(message.READY, 7, widths=frozenset(widths))
    read = decode_answer(encode_answer(answer))
    assert read == answer
    assert {type(one) for one in read.widths} <= {Width}


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 1), (0xFFFFFFFF, 0xFFFFFFFE)])
def test_counts_are_read_back(counts: tuple[int, int]) -> None:
    answer = Answer(message.REVOKED, 7, grants=counts[0], sessions=counts[1])
    assert answer == decode_answer(encode_answer(answer))


FLOW = Grant(ADDRESSES[0], SSH, Width.FLOW, 40_000)
EXAMPLES: dict[str, tuple[bytes, Decode]] = {
    "grant": (
        encode_grant(GrantMessage(7, Grant(ADDRESSES[0], SSH), 15, "ada")),
        decode_request,
    ),
    "grant for ipv6": (
        encode_grant(GrantMessage(7, Grant(ADDRESSES[2], Port(17, 53)), 15, "a" * 32)),
        decode_request,
    ),
    "flow": (encode_grant(GrantMessage(7, FLOW, 15, "ada")), decode_request),
    "list users": (encode_list_users(7), decode_request),
    "ping": (encode_ping(7), decode_request),
    "protect": (encode_protect(7), decode_request),
    "proof": (
        encode_proof(Proof(7, Connection(ADDRESSES[0], 40_000, 22))),
        decode_request,
    ),
    "revoke all": (encode_revoke(Revoke(7)), decode_request),
    "revoke a user's": (encode_revoke(Revoke(7, "ada", b"", True)), decode_request),
    "revoke an address's": (
        encode_revoke(Revoke(7, "", ADDRESSES[2])),
        decode_request,
    ),
    "granted": (encode_answer(Answer(message.GRANTED, 7)), decode_answer),
    "ready": (
        encode_answer(Answer(message.READY, 7, widths=frozenset(Width))),
        decode_answer,
    ),
    "revoked": (
        encode_answer(Answer(message.REVOKED, 7, grants=3, sessions=2)),
        decode_answer,
    ),
    "user file": (
        encode_answer(Answer(message.USER_FILE, 7, "ada.toml")),
        decode_answer,
    ),
    "main file": (encode_answer(Answer(message.MAIN_FILE, 7)), decode_answer),
}
RUN_EXAMPLE = encode_run(
    RunMessage(7, "ada", ADDRESSES[0], ("/bin/x", "", "\N{SNOWMAN}"), "up")
)


def spelled(decoded: object) -> bytes:
    encode: dict[type, Callable[[Any], bytes]] = {
        GrantMessage: encode_grant,
        Revoke: encode_revoke,
        RunMessage: encode_run,
        ListUsers: lambda one: encode_list_users(one.number),
        Ping: lambda one: encode_ping(one.number),
        Protect: lambda one: encode_protect(one.number),
        Proof: encode_proof,
        Answer: encode_answer,
    }
    return encode[type(decoded)](decoded)


def check_every_change(data: bytes, decode: Decode, positions: range) -> None:
    before = decode(data)
    for at in positions:
        for value in range(256):
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            if changed == data:
                continue
            try:
                after = decode(changed)
            except MessageError:
                continue
            assert (type(before), before) != (type(after), after)
            assert changed == spelled(after)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_changed_byte_makes_another_message_or_none(name: str) -> None:
    data, decode = EXAMPLES[name]
    check_every_change(data, decode, range(SIZE))


def test_a_changed_byte_makes_another_command_or_none() -> None:
    used = len(RUN_EXAMPLE.rstrip(b"\0"))
    check_every_change(RUN_EXAMPLE, decode_request, range(used + 2))
    check_every_change(RUN_EXAMPLE, decode_request, range(RUN_SIZE - 1, RUN_SIZE))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("size", [0, 1, 4, 5, 63, 65, 128, RUN_SIZE])
def test_another_size_is_no_message(name: str, size: int) -> None:
    data, decode = EXAMPLES[name]
    with pytest.raises(MessageError, match="size"):
        decode(data.ljust(size, b"\0")[:size])


@pytest.mark.parametrize("size", [0, 1, 5, SIZE, RUN_SIZE - 1, RUN_SIZE + 1])
def test_a_command_of_another_size_is_none(size: int) -> None:
    with pytest.raises(MessageError, match="size"):
        decode_request(RUN_EXAMPLE.ljust(size, b"\0")[:size])


WISHES = {
    message.GRANT,
    message.LIST_USERS,
    message.REVOKE,
    message.PING,
    message.RUN,
    message.PROTECT,
    message.PROOF,
}


@pytest.mark.parametrize("kind", sorted(set(range(256)) - WISHES))
def test_the_listener_has_no_other_types_than_its_own(kind: int) -> None:
    with pytest.raises(MessageError, match="unknown type"):
        decode_request(bytes([kind]).ljust(SIZE, b"\0"))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - FROM_GRANTER))
def test_the_granter_has_no_other_types_than_its_own(kind: int) -> None:
    size = RUN_SIZE if kind == message.RUN else SIZE
    with pytest.raises(MessageError, match="unknown type"):
        decode_answer(bytes([kind]).ljust(size, b"\0"))


def grant_bytes(
    seconds: int = 15,
    protocol: int = 6,
    port: int = 22,
    size: int = 4,
    address: bytes = ADDRESSES[0],
    *,
    width: int = 3,
    source_port: int = 0,
    user: bytes = b"ada",
) -> bytes:
    fields = pack(
        "!IBHB16sBH32s",
        *(seconds, protocol, port, size, address, width, source_port, user),
    )
    return pack("!BI", message.GRANT, 7) + fields


def test_the_grant_that_the_following_tests_break_is_valid() -> None:
    expected = GrantMessage(7, Grant(ADDRESSES[0], SSH), 15, "ada")
    assert expected == decode_request(grant_bytes())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (grant_bytes(seconds=0), "port or lifetime"),
        (grant_bytes(port=0), "port or lifetime"),
        (grant_bytes(protocol=0), "port or lifetime"),
        (grant_bytes(protocol=1), "port or lifetime"),
        (grant_bytes(protocol=255), "port or lifetime"),
        (grant_bytes(width=0), "width"),
        (grant_bytes(width=4), "width"),
        (grant_bytes(width=255, source_port=1), "width"),
        (grant_bytes(width=1), "width"),
        (grant_bytes(width=2, source_port=1), "width"),
        (grant_bytes(width=3, source_port=65_535), "width"),
        (encode_list_users(7)[:-1] + b"\1", "padding"),
        (encode_ping(7)[:5] + b"\1" + bytes(58), "padding"),
        (encode_revoke(Revoke(7))[:-1] + b"\1", "padding"),
        (RUN_EXAMPLE[:-1] + b"\1", "padding"),
    ],
    ids=[
        "no lifetime",
        "no port",
        "no protocol",
        "icmp",
        "protocol 255",
        "no width",
        "width 4",
        "width 255",
        "flow from nowhere",
        "once from a port",
        "address from a port",
        "tail of a list",
        "head of a ping",
        "tail of a revocation",
        "tail of a command",
    ],
)
def test_a_wish_that_breaks_a_rule_is_no_message(data: bytes, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_request(data)


def revoke_bytes(
    sessions: int = 0, size: int = 0, address: bytes = b"", user: bytes = b""
) -> bytes:
    fields = pack("!BIBB16s32s", message.REVOKE, 7, sessions, size, address, user)
    return fields.ljust(SIZE, b"\0")


def run_bytes(
    spelled: bytes = b"\0\1x",
    *,
    size: int = 4,
    address: bytes = ADDRESSES[0],
    user: bytes = b"ada",
    command: bytes = b"up",
    length: int = -1,
) -> bytes:
    length = len(spelled) if length < 0 else length
    head = pack("!BIB16s32s32sH", 5, 7, size, address, user, command, length)
    return (head + spelled).ljust(RUN_SIZE, b"\0")


def test_the_wishes_that_the_following_tests_break_are_valid() -> None:
    assert decode_request(revoke_bytes()) == Revoke(7)
    assert decode_request(revoke_bytes(1, user=b"ada")) == (
        Revoke(7, "ada", sessions=True)
    )
    expected = RunMessage(7, "ada", ADDRESSES[0], ("x",), "up")
    assert decode_request(run_bytes()) == expected


@pytest.mark.parametrize("kind", NO_HOSTS)
def test_an_address_is_that_of_a_host_or_there_is_no_message(kind: str) -> None:
    size, address = NO_HOSTS[kind]
    wishes = [grant_bytes(size=size, address=address)]
    wishes.append(run_bytes(size=size, address=address))
    if size or address:
        # No address at all means everybody's grants.
        wishes.append(revoke_bytes(0, size, address))
    for data in wishes:
        with pytest.raises(MessageError, match="address"):
            decode_request(data)


@pytest.mark.parametrize("user", NO_USERS)
def test_a_user_has_a_users_name_or_there_is_no_message(user: bytes) -> None:
    wishes = [grant_bytes(user=user), run_bytes(user=user), run_bytes(command=user)]
    if user:
        # No user at all means everybody's grants.
        wishes.append(revoke_bytes(user=user))
    for data in wishes:
        with pytest.raises(MessageError, match="user"):
            decode_request(data)


@pytest.mark.parametrize("sessions", [2, 3, 128, 255])
def test_a_flag_is_one_or_zero(sessions: int) -> None:
    with pytest.raises(MessageError, match="flag"):
        decode_request(revoke_bytes(sessions))


def test_a_revocation_is_about_a_user_or_an_address() -> None:
    with pytest.raises(MessageError, match="user and address"):
        decode_request(revoke_bytes(0, 4, ADDRESSES[0], b"ada"))


MOST = RUN_SIZE - len(run_bytes().rstrip(b"\0")) + 3
"""Bytes that there is room for behind the fields of a command."""


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (run_bytes(b""), "arguments"),
        (run_bytes(b"\0"), "arguments"),
        (run_bytes(b"\0\0"), "arguments"),
        (run_bytes(b"\0\0\0\1x"), "arguments"),
        (run_bytes(b"\0\2x"), "arguments"),
        (run_bytes(b"\0\1x\0"), "arguments"),
        (run_bytes(b"\0\1x\xff\xff"), "arguments"),
        (run_bytes(b"\0\1\0"), "arguments"),
        (run_bytes(b"\0\3x\0y"), "arguments"),
        (run_bytes(b"\0\1\xff"), "arguments"),
        (run_bytes(b"\0\2\xc0\x80"), "arguments"),
        (run_bytes(b"\0\3\xed\xa0\x80"), "arguments"),
        (run_bytes(b"\0\1x" * (MAX_ARGUMENTS + 1)), "arguments"),
        (run_bytes(b"\0\1x", length=MOST + 1), "arguments"),
        (run_bytes(b"\0\1x", length=65_535), "arguments"),
        (run_bytes(b"\0\1x", length=2), "padding"),
        (run_bytes(b"\0\1x", length=0), "padding"),
        (run_bytes(b"\0\1x", length=4), "arguments"),
    ],
    ids=[
        "none",
        "half a length",
        "no program",
        "an empty program",
        "a word that is cut off",
        "half a length behind a word",
        "a length without an end",
        "a NUL",
        "a NUL inside",
        "not UTF-8",
        "an overlong NUL",
        "a surrogate",
        "too many",
        "over the end",
        "far over the end",
        "a word that is longer",
        "a word that is not counted",
        "a tail that is counted",
    ],
)
def test_arguments_that_break_a_rule_are_no_message(data: bytes, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_request(data)


def test_arguments_may_fill_the_message() -> None:
    word = "x" * (MOST - 2)
    decoded = decode_request(run_bytes(len(word).to_bytes(2, "big") + word.encode()))
    assert isinstance(decoded, RunMessage)
    assert decoded.argv == (word,)


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
        (encode_answer(Answer(message.REVOKED, 7))[:-1] + b"\1", "padding"),
        (pack("!BIB", message.READY, 7, 1).ljust(SIZE, b"\0"), "widths"),
        (pack("!BIB", message.READY, 7, 16).ljust(SIZE, b"\0"), "widths"),
        (pack("!BIB", message.READY, 7, 0x8E).ljust(SIZE, b"\0"), "widths"),
    ],
    ids=[
        "none",
        "unsized",
        "49",
        "255",
        "tail",
        "not ascii",
        "padding",
        "ready",
        "revoked",
        "width 0",
        "width 4",
        "widths and more",
    ],
)
def test_an_answer_that_breaks_a_rule_is_no_message(data: bytes, what: str) -> None:
    with pytest.raises(MessageError, match=what):
        decode_answer(data)


@pytest.mark.parametrize("kind", sorted(PLAIN))
def test_an_answer_without_fields_has_nothing_behind_it(kind: int) -> None:
    with pytest.raises(MessageError, match="padding"):
        decode_answer(encode_answer(Answer(kind, 7))[:5] + b"\1" + bytes(58))


def test_neither_side_takes_a_message_of_its_own() -> None:
    with pytest.raises(MessageError):
        decode_answer(encode_list_users(7))
    with pytest.raises(MessageError):
        decode_request(encode_answer(Answer(message.GRANTED, 7)))
