"""What a client asks for, and its one spelling in bytes (PROTOCOL.md section 5)."""

from __future__ import annotations

from struct import Struct

from .errors import Malformed
from .limits import (
    ACCESS_PAYLOAD,
    COMMAND_PAYLOAD,
    MAX_ARGUMENTS,
    MAX_LIFETIME,
    PROTOCOL_VERSION,
)
from .named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP: Final = 6
UDP: Final = 17
PROTOCOLS: Final = (TCP, UDP)

_FLAG_COMMAND = 0x01
_FAMILIES = {0: 0, 4: 4, 16: 6}
_SIZES = {family: size for size, family in _FAMILIES.items()}
_V4_MAPPED = bytes(10) + b"\xff\xff"

# version, flags, time, protocol, family, port, source port, lifetime, address, command
_FIXED = Struct("!BBQBBHHI16sH")


class Request(NamedTuple):
    """One request. Either it asks for access to a port, or it carries a command."""

    time: int
    """Milliseconds since 1970-01-01 UTC, by the client's clock."""
    protocol: int = 0
    """6 (TCP) or 17 (UDP); 0 with a command."""
    port: int = 0
    """The port wanted, 1 to 65535; 0 with a command."""
    lifetime: int = 0
    """Seconds wanted, up to `MAX_LIFETIME`; 0 leaves it to the server."""
    address: bytes = b""
    """The address to allow, 4 or 16 bytes; empty means the packet's own source."""
    source_port: int = 0
    """The source port that the client will connect from, or 0 for any."""
    command: tuple[str, ...] = ()
    """Program and arguments to run on the server; empty asks for access."""


def encode(request: Request) -> bytes:
    """Spell `request` as a payload of 76 bytes, or 1084 with a command.

    Raises:
        Malformed: `request` has no spelling; `decode` would refuse it.
    """
    size = COMMAND_PAYLOAD if request.command else ACCESS_PAYLOAD
    return spell(request).ljust(size, b"\0")


def spell(request: Request) -> bytes:
    """Spell `request` without padding: 38 bytes, and those of a command.

    Raises:
        Malformed: as `encode`.
    """
    _check(request)
    arguments = [_argument_bytes(argument) for argument in request.command]
    size = COMMAND_PAYLOAD if arguments else ACCESS_PAYLOAD
    # Before a length is written: one of 65536 bytes has no spelling in two.
    if _FIXED.size + sum(2 + len(argument) for argument in arguments) > size:
        raise Malformed("command too long")
    command = b"".join(
        len(argument).to_bytes(2, "big") + argument for argument in arguments
    )
    fixed = _FIXED.pack(
        PROTOCOL_VERSION,
        _FLAG_COMMAND if command else 0,
        request.time,
        request.protocol,
        _FAMILIES[len(request.address)],
        request.port,
        request.source_port,
        request.lifetime,
        request.address,
        len(command),
    )
    return fixed + command


def decode(payload: bytes) -> Request:
    """Read a payload back, strictly: one spelling for each request.

    Raises:
        Malformed: any rule of PROTOCOL.md section 5 is broken.
    """
    if len(payload) not in (ACCESS_PAYLOAD, COMMAND_PAYLOAD):
        raise Malformed("payload size")
    fields = _FIXED.unpack_from(payload)
    version, flags, time, protocol, family = fields[:5]
    port, source_port, lifetime, address, n = fields[5:]
    if version != PROTOCOL_VERSION:
        raise Malformed("version")
    has_command = len(payload) == COMMAND_PAYLOAD
    if flags != (_FLAG_COMMAND if has_command else 0):
        raise Malformed("flags")
    if family not in _SIZES:
        raise Malformed("address family")
    size = _SIZES[family]
    end = _FIXED.size + n
    if any(address[size:]) or any(payload[end:]):
        raise Malformed("padding")
    if bool(n) != has_command or end > len(payload):
        raise Malformed("command length")
    command = _decode_command(payload[_FIXED.size : end])
    request = Request(
        time, protocol, port, lifetime, address[:size], source_port, command
    )
    _check(request)
    return request


def _decode_command(field: bytes) -> tuple[str, ...]:
    arguments = []
    while field:
        size = int.from_bytes(field[:2], "big")
        spelled = field[2 : 2 + size]
        if len(field) < 2 + size:
            raise Malformed("argument length")
        try:
            arguments.append(spelled.decode("utf-8", "strict"))
        except UnicodeDecodeError as error:
            raise Malformed("argument encoding") from error
        field = field[2 + size :]
    return tuple(arguments)


def _argument_bytes(argument: str) -> bytes:
    try:
        return argument.encode("utf-8", "strict")
    except UnicodeEncodeError as error:
        raise Malformed("argument encoding") from error


def _check(request: Request) -> None:
    """Apply the rules that hold whichever way the bytes go."""
    if not 0 <= request.time < 1 << 63:
        raise Malformed("time")
    if request.command:
        _check_command(request)
    elif request.protocol not in PROTOCOLS:
        raise Malformed("protocol")
    elif not 0 < request.port < 1 << 16:
        raise Malformed("port")
    if not 0 <= request.source_port < 1 << 16:
        raise Malformed("source port")
    if not 0 <= request.lifetime <= MAX_LIFETIME:
        raise Malformed("lifetime")
    _check_address(request.address)


def _check_command(request: Request) -> None:
    if request != Request(request.time, command=request.command):
        raise Malformed("access fields beside a command")
    if len(request.command) > MAX_ARGUMENTS:
        raise Malformed("too many arguments")
    if not request.command[0] or any("\0" in word for word in request.command):
        raise Malformed("argument")


def _check_address(address: bytes) -> None:
    if len(address) not in _FAMILIES:
        raise Malformed("address")
    # All zero means "the packet's source", which has the empty spelling; and an IPv4
    # address inside an IPv6 one would be a second spelling of the same host.
    if address and not any(address):
        raise Malformed("unspecified address")
    if address.startswith(_V4_MAPPED):
        raise Malformed("mapped address")
