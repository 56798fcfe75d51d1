"""What is signed by OpenPGP is read as a request with one spelling, or a `PacketError`.

The text is one for this server and this datagram: what is before is right already.
"""

from collections.abc import Iterator

from spassh.protocol.errors import Malformed, Unauthentic
from spassh.protocol.limits import BINDING_SIZE, MAX_ARGUMENTS
from spassh.protocol.request import Request
from spassh.protocol.signed import LABEL, decode_text, encode_text

RUNS = 10_000
_FIXED = 38
"""Bytes of a request before its command."""
_SERVER, _EPHEMERAL = bytes(range(32)), bytes(range(32, 64))
_BINDING = LABEL + _SERVER + _EPHEMERAL
REQUESTS = {
    "access": Request(1_767_225_600_000, 6, 22, 30, source_port=40_000),
    "udp, ipv4": Request(1, 17, 53, address=bytes([192, 0, 2, 7])),
    "ipv6": Request(1, 6, 22, address=b"\x20\x01\x0d\xb8" + bytes(11) + b"\x07"),
    "command": Request(1, command=("reboot", "", "now")),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    for name, request in REQUESTS.items():
        yield name, encode_text(request, _SERVER, _EPHEMERAL)[BINDING_SIZE:]
    text = encode_text(REQUESTS["command"], _SERVER, _EPHEMERAL)[BINDING_SIZE:]
    more = MAX_ARGUMENTS * b"\0\0"
    size = len(text) - _FIXED + len(more)
    much = text[: _FIXED - 2] + size.to_bytes(2, "big") + text[_FIXED:] + more
    yield "command of many words", much


def check(data: bytes) -> None:
    text = _BINDING + data
    try:
        request = decode_text(text, _SERVER, _EPHEMERAL)
    except Malformed:
        return
    assert encode_text(request, _SERVER, _EPHEMERAL) == text
    try:
        decode_text(text, _EPHEMERAL, _EPHEMERAL)
    except Unauthentic:
        return
    raise AssertionError("a text for another server was read")
