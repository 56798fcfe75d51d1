"""What a client asks for, and its spelling as text: fields between colons.

    rand ":" user ":" time ":" version ":" type ":" message
    [":" nat_access] [":" server_auth] [":" timeout]

user, message, nat_access and server_auth are in base64. Which of the last three are
there, the type says; but server_auth may always be, and nobody has ever evaluated it
since fwknop 2.0. libfko is laxer than this: it takes numbers with leading zeros, and
what follows an `=`. Its own clients write neither.
"""

from __future__ import annotations

from ..errors import Malformed
from ..named_tuple import NamedTuple
from .unpadded import decode as from_base64
from .unpadded import encode as to_base64
from .values import (
    decode_address,
    decode_port,
    decode_target,
    encode_address,
    encode_port,
    encode_target,
    number,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COMMAND: Final = 0
ACCESS: Final = 1
NAT_ACCESS: Final = 2
TIMEOUT_ACCESS: Final = 3
TIMEOUT_NAT_ACCESS: Final = 4
LOCAL_NAT_ACCESS: Final = 5
TIMEOUT_LOCAL_NAT_ACCESS: Final = 6

WITH_TARGET: Final = frozenset(
    {
        NAT_ACCESS,
        TIMEOUT_NAT_ACCESS,
        LOCAL_NAT_ACCESS,
        TIMEOUT_LOCAL_NAT_ACCESS,
    }
)
WITH_TIMEOUT: Final = frozenset(
    {TIMEOUT_ACCESS, TIMEOUT_NAT_ACCESS, TIMEOUT_LOCAL_NAT_ACCESS}
)
OF_THIS_HOST: Final = frozenset({LOCAL_NAT_ACCESS, TIMEOUT_LOCAL_NAT_ACCESS})
"""Those whose target is a port of the server itself."""

VERSION: Final = "3.0.0"
"""What fwknop 2.6.10 writes. Nobody reads it."""

RAND: Final = 16
"""Digits that make a message unlike any other."""
MAX_USER: Final = 48
MAX_MESSAGE: Final = 192
MAX_TIMEOUT: Final = 65_536
_MAX_TIME: Final = (1 << 31) - 1
_MAX_TYPE: Final = 6
_FIXED: Final = 6
"""Fields that every message has."""

_NOT_IN_USER: Final = frozenset('"/\\[]:;|=,+*?<>')


class Message(NamedTuple):
    """One message. A command has no ports, and all others have some."""

    rand: str
    """16 digits."""
    user: str
    """A name of the client's choice, which proves nothing."""
    time: int
    """Seconds since 1970-01-01 UTC."""
    type: int
    """One of the seven above."""
    address: bytes
    """The address to allow, 4 bytes; empty means the packet's own source."""
    ports: tuple[tuple[int, int], ...] = ()
    """Protocols, 6 (TCP) or 17 (UDP), and their ports."""
    command: str = ""
    """A command line for a shell, as the user typed it."""
    target: tuple[str, int] | None = None
    """Host and port that the port is to lead to."""
    timeout: int = 0
    """Seconds wanted; 0 leaves it to the server."""
    version: str = VERSION


def encode(message: Message) -> bytes:
    """Spell `message`.

    Raises:
        Malformed: it has no spelling; `decode` would refuse it.
    """
    rest = command = message.command
    if message.type != COMMAND:
        rest = ",".join(map(encode_port, message.ports))
    fields = [
        message.rand,
        _field(message.user),
        str(message.time),
        message.version,
        str(message.type),
        _field(f"{encode_address(message.address)},{rest}"),
    ]
    if message.target is not None:
        fields.append(_field(encode_target(message.target)))
    if message.type in WITH_TIMEOUT:
        fields.append(str(message.timeout))
    text = ":".join(fields)
    # One place has the rules. What is lost on the way there and back breaks one.
    if command != message.command or decode(text) != message:
        raise Malformed("message")
    return text.encode("ascii")


def decode(text: str, *, legacy: bool = False) -> Message:
    """Read a message back; `legacy` as fwknop 1.9 spells it.

    Raises:
        Malformed: it breaks a rule.
    """
    fields = text.split(":")
    if len(fields) < _FIXED or not text.isascii():
        raise Malformed("fields")
    rand, user, time, version, kind, message = fields[:_FIXED]
    if len(rand) != RAND or not rand.isdecimal():
        raise Malformed("rand")
    if not 0 < len(version) <= 8:
        raise Malformed("version")
    its_type = number(kind, _MAX_TYPE, "type")
    target, timeout = _optional(fields[_FIXED:], its_type, legacy=legacy)
    address, _, rest = _text(message, MAX_MESSAGE, legacy=legacy).partition(",")
    if not rest:
        raise Malformed("message")
    is_command = its_type == COMMAND
    return Message(
        rand,
        _user(_text(user, MAX_USER, legacy=legacy)),
        number(time, _MAX_TIME, "time"),
        its_type,
        decode_address(address),
        () if is_command else tuple(map(decode_port, rest.split(","))),
        rest if is_command else "",
        target,
        timeout,
        version,
    )


def _optional(
    fields: list[str], kind: int, *, legacy: bool
) -> tuple[tuple[str, int] | None, int]:
    """Read what follows the message: the target and the timeout."""
    target, timeout = None, 0
    has_target, has_timeout = kind in WITH_TARGET, kind in WITH_TIMEOUT
    spare = len(fields) - has_target - has_timeout
    if spare not in {0, 1}:
        raise Malformed("fields")
    if has_target:
        target = decode_target(_text(fields[0], MAX_MESSAGE, legacy=legacy))
    if has_timeout:
        timeout = number(fields[-1], MAX_TIMEOUT, "timeout")
    if spare:
        # server_auth. It has to be base64, and what it says is of no use to us.
        _text(fields[has_target], MAX_MESSAGE, legacy=legacy)
    return target, timeout


def _user(name: str) -> str:
    if not name or not _NOT_IN_USER.isdisjoint(name):
        raise Malformed("user")
    return name


def _text(field: str, most: int, *, legacy: bool) -> str:
    """Read a field in base64: up to `most` characters of printable ASCII."""
    data = from_base64(field.encode("ascii"), padded=legacy)
    if len(data) > most:
        raise Malformed("field too long")
    return printable(data)


def _field(text: str) -> str:
    try:
        return to_base64(text.encode("ascii")).decode("ascii")
    except UnicodeEncodeError as error:
        raise Malformed("not ASCII") from error


def printable(data: bytes) -> str:
    """Return `data` as text.

    Raises:
        Malformed: a byte of it is not printable ASCII.
    """
    if data.translate(None, _PRINTABLE):
        raise Malformed("not printable")
    return data.decode("ascii")


_PRINTABLE: Final = bytes(range(0x20, 0x7F))
