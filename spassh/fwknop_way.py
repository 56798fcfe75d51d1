"""What a profile says about the way of its packets to an fwknopd.

fwknop has more ways than one UDP port; spassh.toml(5) documents the keys.
"""

from __future__ import annotations

from .errors import ProfileError
from .protocol.errors import Malformed, TextFormError
from .protocol.fwknop.values import decode_address
from .protocol.named_tuple import NamedTuple
from .url import Url, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

UDP: Final = "udp"
TCP: Final = "tcp"
HTTP: Final = "http"
UDP_RAW: Final = "udp-raw"
TCP_RAW: Final = "tcp-raw"
ICMP: Final = "icmp"
RAW: Final = (UDP_RAW, TCP_RAW, ICMP)
"""Those whose whole packet is made here, which takes root and scapy."""
TRANSPORTS: Final = (UDP, TCP, HTTP, *RAW)

DEFAULT_AGENT: Final = "Fwknop/2.6"
"""fwknopd takes no request without the first word of it, unless it is told to."""
MAX_AGENT: Final = 120

REQUIREMENTS: Final = {
    "transport": (f"one of {', '.join(TRANSPORTS)}", 'transport = "http"'),
    "rand_port": ("true or false, and false for icmp", "rand_port = true"),
    "source_port": (
        "a whole number from 1 to 65535, and not there for icmp",
        "source_port = 53",
    ),
    "spoof_source": (
        f"an IPv4 address, beside a transport of {', '.join(RAW)}",
        'spoof_source = "192.0.2.9"',
    ),
    "http_user_agent": (
        f"1 to {MAX_AGENT} printable letters of ASCII",
        f'http_user_agent = "{DEFAULT_AGENT}"',
    ),
    "resolve_url": (
        "a URL of http or https",
        'resolve_url = "https://www.example/address"',
    ),
}
"""Every key of a profile that is about this, as in `profile`."""


class Way(NamedTuple):
    """How packets get to one fwknopd."""

    transport: str = UDP
    rand_port: bool = False
    """Whether each goes to another port, by chance."""
    source_port: int = 0
    """0 leaves it to the system."""
    spoof_source: bytes = b""
    """The source address that packets have, 4 bytes; empty means the real one."""
    http_user_agent: str = DEFAULT_AGENT
    resolve_url: Url | None = None
    """Who says what address connections come from, if not the packet's source does."""

    @property
    def is_usual(self) -> bool:
        """Whether it is UDP to one port, from whatever port the system takes."""
        return self.transport == UDP and not (self.rand_port or self.source_port)


def read_way(path: str, table: Mapping[str, Any]) -> Way:
    """Read what is in the profile `table` about the way.

    Raises:
        ProfileError: a key is wrong, or does not go with another.
    """
    transport = table.get("transport", UDP)
    if transport not in TRANSPORTS:
        raise _wrong(path, "transport")
    rand_port = table.get("rand_port", False)
    if type(rand_port) is not bool or (rand_port and transport == ICMP):
        raise _wrong(path, "rand_port")
    source_port = table.get("source_port", 0)
    if "source_port" in table and (
        type(source_port) is not int
        or not 1 <= source_port <= 65535
        or transport == ICMP
    ):
        raise _wrong(path, "source_port")
    return Way(
        transport,
        rand_port,
        source_port,
        _spoof_source(path, table, transport),
        _agent(path, table),
        _url(path, table),
    )


def _spoof_source(path: str, table: Mapping[str, Any], transport: str) -> bytes:
    if "spoof_source" not in table:
        return b""
    text = table["spoof_source"]
    try:
        address = decode_address(text if type(text) is str else "")
    except Malformed as error:
        raise _wrong(path, "spoof_source") from error
    if not address or transport not in RAW:
        raise _wrong(path, "spoof_source")
    if "allow_ip" not in table and "resolve_url" not in table:
        raise ProfileError(
            path,
            "'spoof_source' needs 'allow_ip' or 'resolve_url'",
            "say which address is to be let in: it is not that of the packet",
        )
    return address


def _agent(path: str, table: Mapping[str, Any]) -> str:
    text = table.get("http_user_agent", DEFAULT_AGENT)
    if (
        type(text) is not str
        or not 0 < len(text) <= MAX_AGENT
        or not all(" " <= letter <= "~" for letter in text)
    ):
        raise _wrong(path, "http_user_agent")
    return text


def _url(path: str, table: Mapping[str, Any]) -> Url | None:
    if "resolve_url" not in table:
        return None
    if "allow_ip" in table:
        raise ProfileError(
            path,
            "'allow_ip' and 'resolve_url' are both there",
            "take one of them out",
        )
    text = table["resolve_url"]
    try:
        return parse_url(text if type(text) is str else "")
    except TextFormError as error:
        raise _wrong(path, "resolve_url") from error


def _wrong(path: str, key: str) -> ProfileError:
    requirement, example = REQUIREMENTS[key]
    return ProfileError(
        path, f"'{key}' must be {requirement}", f"for example: {example}"
    )
