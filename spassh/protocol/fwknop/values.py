"""What is inside of a message's fields: addresses, ports and hosts to forward to."""

from __future__ import annotations

from ..errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PROTOCOLS: Final = {"tcp": 6, "udp": 17}
_NAMES: Final = {number: name for name, number in _PROTOCOLS.items()}

_HOST: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)
_MAX_HOST: Final = 70
_ANY: Final = bytes(4)


def number(text: str, most: int, name: str) -> int:
    """Read a decimal number up to `most`, in its one spelling.

    Raises:
        Malformed: `name` is none.
    """
    if len(text) > 10 or not (text.isascii() and text.isdecimal()):
        raise Malformed(name)
    value = int(text)
    if value > most or str(value) != text:
        raise Malformed(name)
    return value


def decode_address(text: str) -> bytes:
    """Read an IPv4 address: 4 bytes, or none for 0.0.0.0, the packet's own source.

    Raises:
        Malformed: it is none.
    """
    parts = text.split(".")
    if len(parts) != 4:
        raise Malformed("address")
    address = bytes(number(part, 255, "address") for part in parts)
    return b"" if address == _ANY else address


def encode_address(address: bytes) -> str:
    """Spell what `decode_address` reads.

    Raises:
        Malformed: it has no spelling: fwknop knows IPv4 alone.
    """
    if len(address) not in {0, 4} or address == _ANY:
        raise Malformed("address")
    return ".".join(map(str, address or _ANY))


def decode_port(text: str) -> tuple[int, int]:
    """Read a protocol and its port, such as tcp/22.

    Raises:
        Malformed: it is none.
    """
    protocol, _, port = text.partition("/")
    if protocol not in _PROTOCOLS:
        raise Malformed("protocol")
    return _PROTOCOLS[protocol], _port(port)


def encode_port(port: tuple[int, int]) -> str:
    """Spell what `decode_port` reads.

    Raises:
        Malformed: it has no spelling.
    """
    protocol, its_number = port
    if protocol not in _NAMES or not 0 < its_number < 1 << 16:
        raise Malformed("port")
    return f"{_NAMES[protocol]}/{its_number}"


def decode_target(text: str) -> tuple[str, int]:
    """Read a host, an IPv4 address or a name, and its port: `10.0.0.5,22`.

    Raises:
        Malformed: it is none.
    """
    host, _, port = text.partition(",")
    if not 0 < len(host) <= _MAX_HOST or not _HOST.issuperset(host):
        raise Malformed("host to forward to")
    return host, _port(port)


def encode_target(target: tuple[str, int]) -> str:
    """Spell what `decode_target` reads.

    Raises:
        Malformed: it has no spelling.
    """
    text = f"{target[0]},{target[1]}"
    decode_target(text)
    return text


def _port(text: str) -> int:
    port = number(text, 65535, "port")
    if not port:
        raise Malformed("port")
    return port
