"""What listener and granter say to each other: fixed-size messages, never text.

One message is one datagram of a SOCK_SEQPACKET socket pair: a type, a number that an
answer repeats, and the fields of that type. All have 64 bytes but for `RUN`, which has
1152. Whoever receives anything else leaves at once, and the service manager starts both
again.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.limits import MAX_ARGUMENTS
from spassh.protocol.names import check_user

from ..addresses import grantable
from ..firewall import Grant, Width
from ..ports import Port

SIZE: Final = 64
RUN_SIZE: Final = 1152

# From the listener.
GRANT: Final = 1
"""Please grant. The fields of `_GRANT`."""
LIST_USERS: Final = 2
"""Please hand over every file that has users. No fields."""
REVOKE: Final = 3
"""Please take grants back. The fields of `_REVOKE`."""
PING: Final = 4
"""Are you there? No fields."""
RUN: Final = 5
"""Please run a command. The fields of `_RUN`."""
PROTECT: Final = 6
"""Please read again what is to be protected. No fields."""
PROOF: Final = 7
"""Did this connection come through the drop on trial? The fields of `_PROOF`."""

# From the granter.
READY: Final = 17
"""The firewall is prepared: the answer to the first message, whichever. `_WIDTHS`."""
GRANTED: Final = 18
"""It is done: of a command, it is under way; of a proof, it is so."""
REFUSED: Final = 19
"""It is not within the granter's own limits; of a proof, it is not so."""
FAILED: Final = 20
"""The firewall refused, or a file is wrong, or the command cannot run; the granter has
logged why."""
USER_FILE: Final = 21
"""One file of users_dir, open for reading, with its name: `_NAME`."""
USERS_END: Final = 22
"""All files were handed over. No fields."""
MAIN_FILE: Final = 23
"""The configuration file, open for reading. No fields."""
REVOKED: Final = 24
"""What was asked for is taken back: `_COUNTS`."""
PONG: Final = 25
"""The answer to `PING`. No fields."""
NO_USERS_DIR: Final = 26
"""Instead of any `USER_FILE`: users_dir cannot be read. No fields."""

FROM_GRANTER: Final = frozenset(range(READY, NO_USERS_DIR + 1))

_EVERY_WIDTH = frozenset(Width)

_HEAD = Struct("!BI")
# seconds, protocol, port, address size, address, width, source port, user
_GRANT = Struct("!IBHB16sBH32s")
# whether to end sessions, address size, address, user
_REVOKE = Struct("!BB16s32s")
# address size, address, port of the client, port of this host
_PROOF = Struct("!B16sHH")
# address size, address, user, command, bytes of the arguments; then those: each a
# length, a word
_RUN = Struct("!B16s32s32sH")
_NAME = Struct("!B48s")
_WIDTHS = Struct("!B")
# grants, sessions, whether addresses of the user were forgotten meanwhile
_COUNTS = Struct("!IIB")


class MessageError(Exception):
    """The other side broke the rules. There is no recovery: leave."""


class GrantMessage(NamedTuple):
    """The listener wants `grant` for `seconds`, because `user` asked for it."""

    number: int
    grant: Grant
    seconds: int
    user: str


class ListUsers(NamedTuple):
    """The listener wants the files that have users."""

    number: int


class Revoke(NamedTuple):
    """The listener wants grants taken back: those of a user or of an address, or all.

    At most one of `user` and `address` is not empty.
    """

    number: int
    user: str = ""
    address: bytes = b""
    sessions: bool = False
    """Whether to end the established connections as well."""


class Ping(NamedTuple):
    """The listener wants to know whether the granter is alive."""

    number: int


class Protect(NamedTuple):
    """The listener wants to be protected what the files say now."""

    number: int


class Connection(NamedTuple):
    """A TCP connection to this host."""

    address: bytes
    """The client's: 4 or 16 bytes."""
    client_port: int
    port: int
    """That of this host."""


class Proof(NamedTuple):
    """The listener wants to know whether a connection came through the trial's drop."""

    number: int
    connection: Connection


class RunMessage(NamedTuple):
    """The listener wants `argv` run, because `user` at `address` asked for it."""

    number: int
    user: str
    address: bytes
    argv: tuple[str, ...]
    command: str
    """The name of the [[command]] that allows it. Another one may allow the same words,
    and run them as somebody else."""


_WITHOUT_FIELDS: Final[dict[int, Callable[[int], ListUsers | Ping | Protect]]] = {
    LIST_USERS: ListUsers,
    PING: Ping,
    PROTECT: Protect,
}

Wanted = GrantMessage | ListUsers | Revoke | Ping | RunMessage | Protect | Proof


class Answer(NamedTuple):
    """The granter's answer number `number`: one of `FROM_GRANTER`."""

    kind: int
    number: int
    name: str = ""
    """Of a `USER_FILE`."""
    widths: frozenset[Width] = frozenset()
    """Of `READY`: what the packet filter can enforce."""
    grants: int = 0
    """Of `REVOKED`: how many were taken back."""
    sessions: int = 0
    """Of `REVOKED`: how many connections were ended."""
    forgotten: bool = False
    """Of `REVOKED`: whether the user had more addresses than are remembered."""


def encode_grant(message: GrantMessage) -> bytes:
    """Spell a grant message."""
    address, port, width, source_port = message.grant
    fields = _GRANT.pack(
        message.seconds,
        port.protocol,
        port.number,
        len(address),
        address,
        width,
        source_port,
        message.user.encode("ascii"),
    )
    return _HEAD.pack(GRANT, message.number) + fields


def encode_list_users(number: int) -> bytes:
    """Spell the request for the user files."""
    return _HEAD.pack(LIST_USERS, number).ljust(SIZE, b"\0")


def encode_ping(number: int) -> bytes:
    """Spell the question whether the granter is alive."""
    return _HEAD.pack(PING, number).ljust(SIZE, b"\0")


def encode_protect(number: int) -> bytes:
    """Spell the request to read again what is to be protected."""
    return _HEAD.pack(PROTECT, number).ljust(SIZE, b"\0")


def encode_proof(message: Proof) -> bytes:
    """Spell the question whether a connection came through the drop on trial."""
    address, client_port, port = message.connection
    fields = _PROOF.pack(len(address), address, client_port, port)
    return (_HEAD.pack(PROOF, message.number) + fields).ljust(SIZE, b"\0")


def encode_revoke(message: Revoke) -> bytes:
    """Spell a revocation."""
    address, user = message.address, message.user.encode("ascii")
    fields = _REVOKE.pack(message.sessions, len(address), address, user)
    return (_HEAD.pack(REVOKE, message.number) + fields).ljust(SIZE, b"\0")


def encode_run(message: RunMessage) -> bytes:
    """Spell a command: its words fit, because they came in a datagram of 1200 bytes."""
    words = [word.encode() for word in message.argv]
    spelled = b"".join(len(word).to_bytes(2, "big") + word for word in words)
    address, user = message.address, message.user.encode("ascii")
    command = message.command.encode("ascii")
    fields = _RUN.pack(len(address), address, user, command, len(spelled))
    return (_HEAD.pack(RUN, message.number) + fields + spelled).ljust(RUN_SIZE, b"\0")


def encode_answer(answer: Answer) -> bytes:
    """Spell an answer of the granter."""
    fields = b""
    if answer.kind == USER_FILE:
        name = answer.name.encode("ascii")
        fields = _NAME.pack(len(name), name)
    elif answer.kind == READY:
        fields = _WIDTHS.pack(sum(1 << width for width in answer.widths))
    elif answer.kind == REVOKED:
        fields = _COUNTS.pack(answer.grants, answer.sessions, answer.forgotten)
    return (_HEAD.pack(answer.kind, answer.number) + fields).ljust(SIZE, b"\0")


def decode_request(data: bytes) -> Wanted:
    """Read what the listener sent, trusting nothing.

    Raises:
        MessageError: it is not exactly one of its messages.
    """
    kind, number = _head(data)
    if kind == RUN:
        return _decode_run(data, number)
    if kind == GRANT:
        return _decode_grant(data, number)
    if kind == REVOKE:
        return _decode_revoke(data, number)
    if kind == PROOF:
        return _decode_proof(data, number)
    if kind not in _WITHOUT_FIELDS:
        raise MessageError("unknown type")
    _padding(data, _HEAD.size)
    return _WITHOUT_FIELDS[kind](number)


def _decode_proof(data: bytes, number: int) -> Proof:
    size, address, client_port, port = _PROOF.unpack_from(data, _HEAD.size)
    _padding(data, _HEAD.size + _PROOF.size)
    if not _is_host(size, address):
        raise MessageError("address")
    return Proof(number, Connection(address[:size], client_port, port))


def _decode_grant(data: bytes, number: int) -> GrantMessage:
    fields = _GRANT.unpack_from(data, _HEAD.size)
    seconds, protocol, port, size, address, width, source_port, user = fields
    if not _is_host(size, address):
        raise MessageError("address")
    if protocol not in {6, 17} or not port or not seconds:
        raise MessageError("port or lifetime")
    if width not in _EVERY_WIDTH or (width == Width.FLOW) != (source_port != 0):
        raise MessageError("width")
    grant = Grant(address[:size], Port(protocol, port), Width(width), source_port)
    return GrantMessage(number, grant, seconds, _user(user))


def _decode_revoke(data: bytes, number: int) -> Revoke:
    sessions, size, address, user = _REVOKE.unpack_from(data, _HEAD.size)
    _padding(data, _HEAD.size + _REVOKE.size)
    if (size or any(address)) and not _is_host(size, address):
        raise MessageError("address")
    if sessions not in {0, 1}:
        raise MessageError("flag")
    name = _user(user) if any(user) else ""
    if name and size:
        raise MessageError("user and address")
    return Revoke(number, name, address[:size], bool(sessions))


def _decode_run(data: bytes, number: int) -> RunMessage:
    size, address, user, command, length = _RUN.unpack_from(data, _HEAD.size)
    start = _HEAD.size + _RUN.size
    if not _is_host(size, address):
        raise MessageError("address")
    if start + length > RUN_SIZE:
        raise MessageError("arguments")
    _padding(data, start + length)
    argv = _decode_words(data[start : start + length])
    return RunMessage(number, _user(user), address[:size], argv, _user(command))


def _decode_words(spelled: bytes) -> tuple[str, ...]:
    words: list[str] = []
    while spelled:
        end = 2 + int.from_bytes(spelled[:2], "big")
        word = spelled[2:end]
        if end > len(spelled) or b"\0" in word or len(words) == MAX_ARGUMENTS:
            raise MessageError("arguments")
        try:
            words.append(word.decode("utf-8", "strict"))
        except UnicodeDecodeError as error:
            raise MessageError("arguments") from error
        spelled = spelled[end:]
    if not words or not words[0]:
        raise MessageError("arguments")
    return tuple(words)


def decode_answer(data: bytes) -> Answer:
    """Read what the granter sent.

    Raises:
        MessageError: it is not exactly one of its messages.
    """
    kind, number = _head(data)
    if kind not in FROM_GRANTER:
        raise MessageError("unknown type")
    if kind == USER_FILE:
        size, name = _NAME.unpack_from(data, _HEAD.size)
        _padding(data, _HEAD.size + _NAME.size)
        if not 0 < size <= len(name) or any(name[size:]) or not name[:size].isascii():
            raise MessageError("name")
        return Answer(kind, number, name[:size].decode("ascii"))
    if kind == READY:
        (mask,) = _WIDTHS.unpack_from(data, _HEAD.size)
        _padding(data, _HEAD.size + _WIDTHS.size)
        widths = frozenset(width for width in Width if mask >> width & 1)
        if mask != sum(1 << width for width in widths):
            raise MessageError("widths")
        return Answer(kind, number, widths=widths)
    if kind == REVOKED:
        grants, sessions, forgotten = _COUNTS.unpack_from(data, _HEAD.size)
        _padding(data, _HEAD.size + _COUNTS.size)
        if forgotten not in {0, 1}:
            raise MessageError("flag")
        return Answer(
            kind,
            number,
            grants=grants,
            sessions=sessions,
            forgotten=bool(forgotten),
        )
    _padding(data, _HEAD.size)
    return Answer(kind, number)


def _head(data: bytes) -> tuple[int, int]:
    if len(data) < _HEAD.size:
        raise MessageError("size")
    kind, number = _HEAD.unpack_from(data)
    if len(data) != (RUN_SIZE if kind == RUN else SIZE):
        raise MessageError("size")
    return kind, number


def _is_host(size: int, address: bytes) -> bool:
    """Tell whether the first `size` bytes are a host's address, and the rest zero."""
    return size in {4, 16} and not any(address[size:]) and grantable(address[:size])


def _user(field: bytes) -> str:
    name = field.rstrip(b"\0").decode("ascii", "replace")
    try:
        return check_user(name)
    except TextFormError as error:
        raise MessageError("user") from error


def _padding(data: bytes, at: int) -> None:
    if any(data[at:]):
        raise MessageError("padding")
