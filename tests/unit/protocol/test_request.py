"""Each rule of section 5, from both sides: what is refused is not spelled either."""

from typing import Any

import pytest
from vectors.generate.common import access, command

from spassh.protocol.errors import Malformed
from spassh.protocol.request import TCP, UDP, Request, decode, encode

V4 = bytes([198, 51, 100, 9])
V6 = bytes([0x20, 0x01]) + bytes(13) + b"\x09"
ACCESS = Request(time=1, protocol=TCP, port=22)
COMMAND = Request(time=1, command=("w",))


def test_a_request_is_spelled_byte_by_byte_as_the_specification_says() -> None:
    request = Request(
        time=0x0102030405060708,
        protocol=TCP,
        port=0x1112,
        lifetime=0x00012131,
        address=V6,
        source_port=0x4142,
    )
    expected = "01 00 0102030405060708 06 06 1112 4142 00012131"
    payload = bytes.fromhex(expected) + V6 + bytes(2 + 38)
    assert len(payload) == 76
    assert encode(request) == payload
    assert decode(payload) == request


def test_a_command_is_spelled_byte_by_byte_as_the_specification_says() -> None:
    request = Request(time=1, command=("ls", "", "é"))
    words = b"\0\2ls" + b"\0\0" + b"\0\2\xc3\xa9"
    payload = bytes.fromhex("01 01 0000000000000001") + bytes(26)
    payload += bytes([0, len(words)]) + words
    payload = payload.ljust(1084, b"\0")
    assert encode(request) == payload
    assert decode(payload) == request


def test_the_defaults_leave_everything_to_the_server() -> None:
    request = Request(time=1, protocol=UDP, port=53)
    assert (request.lifetime, request.address, request.source_port) == (0, b"", 0)
    assert request.command == ()
    assert decode(encode(request)) == request


@pytest.mark.parametrize(
    "changes",
    [
        {"time": 0},
        {"time": (1 << 63) - 1},
        {"protocol": UDP},
        {"port": 1},
        {"port": 65535},
        {"source_port": 65535},
        {"lifetime": 1},
        {"lifetime": 86400},
        {"address": V4},
        {"address": b"\0\0\0\1"},
        {"address": V6},
        {"address": bytes(15) + b"\1"},
        {"address": bytes(12) + V4},
        {"address": bytes(10) + b"\xff\xfe" + V4},
    ],
)
def test_a_value_at_the_edge_is_allowed(changes: dict[str, Any]) -> None:
    request = ACCESS._replace(**changes)
    assert decode(encode(request)) == request


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"time": -1}, "time"),
        ({"time": 1 << 63}, "time"),
        ({"protocol": 0}, "protocol"),
        ({"protocol": 1}, "protocol"),
        ({"protocol": 132}, "protocol"),
        ({"protocol": 256 + TCP}, "protocol"),
        ({"port": -1}, "port"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"source_port": -1}, "source port"),
        ({"source_port": 65536}, "source port"),
        ({"lifetime": -1}, "lifetime"),
        ({"lifetime": 86401}, "lifetime"),
        ({"address": b"\1"}, "address"),
        ({"address": V4 + b"\1"}, "address"),
        ({"address": V6 + b"\1"}, "address"),
        ({"address": bytes(4)}, "unspecified address"),
        ({"address": bytes(16)}, "unspecified address"),
        ({"address": bytes(10) + b"\xff\xff" + V4}, "mapped address"),
        ({"address": bytes(10) + b"\xff\xff" + bytes(4)}, "mapped address"),
    ],
)
def test_a_value_beyond_the_edge_is_not_spelled(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Malformed, match=rf"^{reason}$"):
        encode(ACCESS._replace(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": TCP}, "access fields beside a command"),
        ({"port": 22}, "access fields beside a command"),
        ({"lifetime": 15}, "access fields beside a command"),
        ({"source_port": 1}, "access fields beside a command"),
        ({"address": V4}, "access fields beside a command"),
        ({"time": 1 << 63}, "time"),
        ({"command": ("w",) * 65}, "too many arguments"),
        ({"command": ("",)}, "argument"),
        ({"command": ("", "a")}, "argument"),
        ({"command": ("w\0",)}, "argument"),
        ({"command": ("w", "\0")}, "argument"),
        ({"command": ("w", "\ud800")}, "argument encoding"),
        ({"command": ("x" * 1045,)}, "command too long"),
        ({"command": ("x" * 521, "y" * 522)}, "command too long"),
        ({"command": ("x" * 65_536,)}, "command too long"),
    ],
)
def test_a_command_that_breaks_a_rule_is_not_spelled(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Malformed, match=rf"^{reason}$"):
        encode(COMMAND._replace(**changes))


@pytest.mark.parametrize(
    "words",
    [
        ("x" * 1044,),
        ("x" * 521, "y" * 521),
        ("w",) * 64,
        ("w", "", ""),
        ("\U0001f511",),
    ],
)
def test_a_command_at_the_edge_is_allowed(words: tuple[str, ...]) -> None:
    request = Request(time=1, command=words)
    assert decode(encode(request)) == request


@pytest.mark.parametrize("size", [0, 37, 38, 75, 77, 1083, 1085])
def test_a_payload_of_another_size_is_malformed(size: int) -> None:
    with pytest.raises(Malformed, match=r"^payload size$"):
        decode(access().ljust(size, b"\0")[:size])


@pytest.mark.parametrize("at", range(38, 76))
def test_every_byte_of_padding_behind_an_access_request_is_zero(at: int) -> None:
    payload = bytearray(access())
    payload[at] = 0x80
    with pytest.raises(Malformed, match=r"^padding$"):
        decode(bytes(payload))


@pytest.mark.parametrize("at", [41, 42, 75, 76, 1082, 1083])
def test_every_byte_of_padding_behind_a_command_is_zero(at: int) -> None:
    payload = bytearray(command(b"w"))
    payload[at] = 0x01
    with pytest.raises(Malformed, match=r"^padding$"):
        decode(bytes(payload))


@pytest.mark.parametrize("at", range(20, 36))
def test_every_byte_of_an_address_that_is_none_is_zero(at: int) -> None:
    payload = bytearray(access())
    payload[at] = 0x01
    with pytest.raises(Malformed, match=r"^padding$"):
        decode(bytes(payload))


@pytest.mark.parametrize("bit", range(1, 8))
def test_every_reserved_flag_is_refused(bit: int) -> None:
    for payload in (access(flags=1 << bit), command(b"w", flags=1 | 1 << bit)):
        with pytest.raises(Malformed, match=r"^flags$"):
            decode(payload)


@pytest.mark.parametrize("version", [0, *range(2, 256)])
def test_every_other_version_is_refused(version: int) -> None:
    with pytest.raises(Malformed, match=r"^version$"):
        decode(access(version=version))


@pytest.mark.parametrize(
    "family", [each for each in range(256) if each not in {0, 4, 6}]
)
def test_every_other_address_family_is_refused(family: int) -> None:
    with pytest.raises(Malformed, match=r"^address family$"):
        decode(access(family=family, address=V6))


def test_access_and_command_never_mix() -> None:
    for payload in (
        access(length=3, rest=b"\0\1w"),
        access(flags=1),
        access().ljust(1084, b"\0"),
        command(b"w", flags=0),
        command(b"w", protocol=TCP, port=22),
        command(),
    ):
        with pytest.raises(Malformed):
            decode(payload)
