"""The way of packets in ~/.fwknoprc, and the address that they let in, for a profile.

Pure. What fwknop itself would refuse, or do without, is not made either.
"""

import re
from collections.abc import Iterator, Mapping
from json import dumps
from typing import Final, NamedTuple

from ..fwknop_way import HTTP, ICMP, MAX_AGENT, RAW, TCP, TCP_RAW, UDP, UDP_RAW
from ..protocol.errors import Malformed, TextFormError
from ..protocol.fwknop.values import decode_address
from ..url import parse_url

_TRANSPORTS: Final = {
    "UDP": UDP,
    "UDPRAW": UDP_RAW,
    "TCP": TCP,
    "TCPRAW": TCP_RAW,
    "HTTP": HTTP,
    "ICMP": ICMP,
}
_PORT: Final = re.compile(r"[0-9]{1,5}")
_RESOLVE: Final = ("RESOLVE_IP_HTTPS", "RESOLVE_IP_HTTP", "RESOLVE_HTTP_ONLY")
_MYIP: Final = "www.cipherdyne.org/cgi-bin/myip"
"""Whom the client of fwknop asks if it is not told otherwise."""


class Line(NamedTuple):
    """One variable where it is set."""

    number: int
    name: str
    value: str

    @property
    def is_yes(self) -> bool:
        """Whether it switches something on."""
        return self.value.upper().startswith("Y")


class NoWayError(Exception):
    """A profile has no such way, because of the variable `name`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def way_lines(stanza: Mapping[str, Line]) -> Iterator[str]:
    """Yield the lines of a profile.

    Raises:
        NoWayError: it would be another way than that of fwknop.
    """
    transport = _transport(stanza)
    if transport != UDP:
        yield f'transport = "{transport}"'
    yield from _ports(stanza, transport)
    allowed = [*_allowed(stanza)]
    yield from allowed
    spoofed = stanza.get("SPOOF_SOURCE_IP")
    if spoofed is not None:
        if transport not in RAW:
            raise NoWayError(spoofed.name, "takes UDPRAW, TCPRAW or ICMP")
        if not allowed:
            raise NoWayError(spoofed.name, "would be let in itself: it takes ALLOW_IP")
        yield f'spoof_source = "{_address(spoofed)}"'
    agent = stanza.get("HTTP_USER_AGENT")
    if agent is not None and agent.value:
        text = agent.value
        if not text.isascii() or not text.isprintable() or len(text) > MAX_AGENT:
            raise NoWayError(agent.name, f"is not {MAX_AGENT} printable letters")
        yield f"http_user_agent = {dumps(text)}"


def _ports(stanza: Mapping[str, Line], transport: str) -> Iterator[str]:
    """Yield the lines about ports, but for that of the server."""
    if _is_yes(stanza, "RAND_PORT"):
        _need_ports("RAND_PORT", transport)
        yield "rand_port = true"
    line = stanza.get("SPA_SOURCE_PORT")
    if line is not None:
        _need_ports(line.name, transport)
        if not _PORT.fullmatch(line.value) or not 0 < int(line.value) < 1 << 16:
            raise NoWayError(line.name, "is no port")
        yield f"source_port = {int(line.value)}"


def _transport(stanza: Mapping[str, Line]) -> str:
    line = stanza.get("SPA_SERVER_PROTO")
    if line is None:
        return UDP
    if line.value.upper() not in _TRANSPORTS:
        raise NoWayError(line.name, "is no way of fwknop")
    return _TRANSPORTS[line.value.upper()]


def _need_ports(name: str, transport: str) -> None:
    if transport == ICMP:
        raise NoWayError(name, "ICMP has no ports")


def _allowed(stanza: Mapping[str, Line]) -> Iterator[str]:
    """Yield the line about the address to let in, if there is one."""
    line = stanza.get("ALLOW_IP")
    word = line.value.lower() if line else ""
    # As in fwknop, who resolves it does not look at the address.
    if word == "resolve" or any(_is_yes(stanza, name) for name in _RESOLVE):
        scheme = "http" if _is_yes(stanza, "RESOLVE_HTTP_ONLY") else "https"
        url = stanza.get("RESOLVE_URL")
        text = url.value if url else _MYIP
        whole = text if "://" in text else f"{scheme}://{text}"
        try:
            parse_url(whole)
        except TextFormError as error:
            raise NoWayError("RESOLVE_URL", str(error)) from error
        yield f"resolve_url = {dumps(whole)}"
    elif line and word not in {"", "source"}:
        yield f'allow_ip = "{_address(line)}"'


def _address(line: Line) -> str:
    try:
        decode_address(line.value)
    except Malformed as error:
        raise NoWayError(line.name, "is no IPv4 address") from error
    return line.value


def _is_yes(stanza: Mapping[str, Line], name: str) -> bool:
    return name in stanza and stanza[name].is_yes
