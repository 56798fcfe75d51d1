"""A request inside of an OpenPGP message (PROTOCOL.md sections 5.5 and 5.6).

Pure: who signs and encrypts, decrypts and verifies, is no part of this. What is signed
names the server and the one datagram that it belongs to, so that nobody can use it for
another, not even the server that it was meant for.
"""

from __future__ import annotations

from struct import Struct

from .errors import Malformed, Unauthentic
from .limits import (
    ACCESS_PAYLOAD,
    BINDING_SIZE,
    COMMAND_PAYLOAD,
    MAX_MESSAGE,
    PROTOCOL_VERSION,
    SIGNED_HEADER,
)
from .named_tuple import NamedTuple
from .request import Request, decode, spell

LABEL = b"spassh gnupg 1\0\0"

_FLAG_COMMAND = 0x01
_FLAG_SIGNED = 0x02
_FLAGS_AT = 1

# version, flags, time, length of the message
_HEADER = Struct("!BBQH")


class Signed(NamedTuple):
    """What a datagram with a signed request carries."""

    message: bytes
    """The OpenPGP message, binary, 1 to 1072 bytes."""
    ephemeral: bytes
    """`e` of the datagram, 32 bytes: what is signed has to name it."""


def is_signed(payload: bytes) -> bool:
    """Tell whether a payload carries a signed request, as far as its flags say."""
    return len(payload) == COMMAND_PAYLOAD and payload[_FLAGS_AT] == _FLAG_SIGNED


def encode_signed(time: int, message: bytes) -> bytes:
    """Spell a payload of 1084 bytes with an OpenPGP message (section 5.5).

    `time` is that of the request inside, in milliseconds since 1970-01-01 UTC.

    Raises:
        Malformed: the message is empty or does not fit, or there is no such time.
    """
    if not 0 <= time < 1 << 63:
        raise Malformed("time")
    if not 0 < len(message) <= MAX_MESSAGE:
        raise Malformed("message length")
    header = _HEADER.pack(PROTOCOL_VERSION, _FLAG_SIGNED, time, len(message))
    return (header + message).ljust(COMMAND_PAYLOAD, b"\0")


def decode_signed(payload: bytes) -> tuple[int, bytes]:
    """Read a payload for which `is_signed` holds; return its time and its message.

    Raises:
        Malformed: any rule of section 5.5 is broken.
    """
    version, _, time, length = _HEADER.unpack_from(payload)
    end = SIGNED_HEADER + length
    if version != PROTOCOL_VERSION:
        raise Malformed("version")
    if not 0 <= time < 1 << 63:
        raise Malformed("time")
    if not 0 < length <= MAX_MESSAGE:
        raise Malformed("message length")
    if any(payload[end:]):
        raise Malformed("padding")
    return time, payload[SIGNED_HEADER:end]


def encode_text(request: Request, server: bytes, ephemeral: bytes) -> bytes:
    """Spell what is signed (section 5.6): at least 118 bytes.

    Args:
        request: what is asked for.
        server: the server's public key, 32 bytes.
        ephemeral: `e` of the datagram that it will be in, 32 bytes.

    Raises:
        Malformed: `request` has no spelling.
    """
    return LABEL + server + ephemeral + spell(request)


def decode_text(text: bytes, server: bytes, ephemeral: bytes) -> Request:
    """Read what was signed, for this server and the datagram with this `e`.

    Raises:
        Unauthentic: it was signed for another server or another datagram.
        Malformed: any rule of section 5.6 is broken.
    """
    # Not at the top: the client imports this module as well, and reads no text.
    from hmac import compare_digest

    if not compare_digest(text[:BINDING_SIZE], LABEL + server + ephemeral):
        raise Unauthentic("signed for another server or datagram")
    spelled = text[BINDING_SIZE:]
    is_command = spelled[_FLAGS_AT : _FLAGS_AT + 1] == bytes([_FLAG_COMMAND])
    size = COMMAND_PAYLOAD if is_command else ACCESS_PAYLOAD
    if len(spelled) > size:
        raise Malformed("payload size")
    request = decode(spelled.ljust(size, b"\0"))
    # Without padding, each length is exact: a request has one spelling here as well.
    if spell(request) != spelled:
        raise Malformed("payload size")
    return request
