"""What listener and granter say to each other: fixed-size messages, never text.

One message is one datagram of a SOCK_SEQPACKET socket pair, 64 bytes: a type, a number
that an answer repeats, and the fields of that type. Whoever receives anything else
leaves at once, and the service manager starts both again.
"""

from struct import Struct
from typing import Final, NamedTuple

from ..addresses import grantable
from ..firewall import Grant
from ..ports import Port

SIZE: Final = 64

# From the listener.
GRANT: Final = 1
"""Please grant. The fields of `_GRANT`."""
LIST_USERS: Final = 2
"""Please hand over every file of users_dir. No fields."""

# From the granter.
READY: Final = 17
"""The firewall is prepared: the answer to the first message, whichever. No fields."""
GRANTED: Final = 18
REFUSED: Final = 19
"""It is not within the granter's own limits."""
FAILED: Final = 20
"""The firewall refused; the granter has logged why."""
USER_FILE: Final = 21
"""One file of users_dir, open for reading, with its name: `_NAME`."""
USERS_END: Final = 22
"""All files were handed over. No fields."""

FROM_GRANTER: Final = frozenset({READY, GRANTED, REFUSED, FAILED, USER_FILE, USERS_END})

_HEAD = Struct("!BI")
# seconds, protocol, port, address size, address
_GRANT = Struct("!IBHB16s")
_NAME = Struct("!B48s")


class MessageError(Exception):
    """The other side broke the rules. There is no recovery: leave."""


class GrantMessage(NamedTuple):
    """The listener wants `grant` for `seconds`."""

    number: int
    grant: Grant
    seconds: int


class ListUsers(NamedTuple):
    """The listener wants the files of users_dir."""

    number: int


class Answer(NamedTuple):
    """The granter's answer number `number`: one of `FROM_GRANTER`."""

    kind: int
    number: int
    name: str = ""


def encode_grant(message: GrantMessage) -> bytes:
    """Spell a grant message."""
    address = message.grant.address
    port = message.grant.port
    fields = _GRANT.pack(
        message.seconds, port.protocol, port.number, len(address), address
    )
    return (_HEAD.pack(GRANT, message.number) + fields).ljust(SIZE, b"\0")


def encode_list_users(number: int) -> bytes:
    """Spell the request for the user files."""
    return _HEAD.pack(LIST_USERS, number).ljust(SIZE, b"\0")


def encode_answer(answer: Answer) -> bytes:
    """Spell an answer of the granter."""
    name = answer.name.encode("ascii")
    fields = _NAME.pack(len(name), name) if name else b""
    return (_HEAD.pack(answer.kind, answer.number) + fields).ljust(SIZE, b"\0")


def decode_request(data: bytes) -> GrantMessage | ListUsers:
    """Read what the listener sent, trusting nothing.

    Raises:
        MessageError: it is not exactly one of the two messages.
    """
    kind, number = _head(data)
    if kind == LIST_USERS:
        _padding(data, _HEAD.size)
        return ListUsers(number)
    if kind != GRANT:
        raise MessageError("unknown type")
    seconds, protocol, number_of_port, size, address = _GRANT.unpack_from(
        data, _HEAD.size
    )
    _padding(data, _HEAD.size + _GRANT.size)
    if size not in {4, 16} or any(address[size:]) or not grantable(address[:size]):
        raise MessageError("address")
    if protocol not in {6, 17} or not number_of_port or not seconds:
        raise MessageError("port or lifetime")
    return GrantMessage(
        number, Grant(address[:size], Port(protocol, number_of_port)), seconds
    )


def decode_answer(data: bytes) -> Answer:
    """Read what the granter sent.

    Raises:
        MessageError: it is not exactly one of its messages.
    """
    kind, number = _head(data)
    if kind not in FROM_GRANTER:
        raise MessageError("unknown type")
    if kind != USER_FILE:
        _padding(data, _HEAD.size)
        return Answer(kind, number)
    size, name = _NAME.unpack_from(data, _HEAD.size)
    _padding(data, _HEAD.size + _NAME.size)
    if not 0 < size <= len(name) or any(name[size:]) or not name[:size].isascii():
        raise MessageError("name")
    return Answer(kind, number, name[:size].decode("ascii"))


def _head(data: bytes) -> tuple[int, int]:
    if len(data) != SIZE:
        raise MessageError("size")
    kind, number = _HEAD.unpack_from(data)
    return kind, number


def _padding(data: bytes, at: int) -> None:
    if any(data[at:]):
        raise MessageError("padding")
