"""libpcap's filter for packets of fwknop that come by other ways than ours.

It lets through what has their size and begins like one, of IPv4 alone: fwknop knows no
other. What it lets through still has to be parsed: `carried` assumes nothing of it.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from spassh.protocol.fwknop import openpgp
from spassh.protocol.fwknop.limits import LEAST, MOST
from spassh.protocol.fwknop.packet import FIRST

from ..transports import HTTP, ICMP, TCP, UDP, Transport

_UDP_HEADER = 8
_ICMP_HEADER = 8

# The lengths of the headers of IPv4 and of TCP, in libpcap's language.
_IP_HEADER = "((ip[0] & 0xf) << 2)"
_TCP_HEADER = "((tcp[12] & 0xf0) >> 2)"

# How base64 is spelled in the path of a request.
_TO_PATH = bytes.maketrans(b"+/", b"-_")


class _Place(NamedTuple):
    """Where a payload begins: `udp[8]` has the offset "8"."""

    protocol: str
    offset: str

    def at(self, plus: int) -> str:
        """Return the byte so many behind the first."""
        return f"{self.protocol}[{self.offset} + {plus}]"


_TCP_DATA: Final = _Place("tcp", _TCP_HEADER)


def transports_expression(transports: Iterable[Transport]) -> str:
    """Return the filter for packets that come by `transports`, of which there are some.

    With UDP to any port it is also for the knock port, which has a filter of its own.
    """
    ports: dict[str, list[int]] = {}
    for one in transports:
        ports.setdefault(one.kind, []).append(one.port)
    # libpcap reads these four for IPv4 alone, and for what is no later fragment.
    wanted = []
    if UDP in ports:
        form = _form(f"(udp[4:2] - {_UDP_HEADER})", _Place("udp", "8"))
        wanted.append(f"(udp and {_to(UDP, ports[UDP])} and {form})")
    if TCP in ports:
        size = f"(ip[2:2] - {_IP_HEADER} - {_TCP_HEADER})"
        form = _form(size, _TCP_DATA)
        wanted.append(f"(tcp and {_to(TCP, ports[TCP])} and {form})")
    if HTTP in ports:
        get = f"tcp[{_TCP_HEADER}:4] = {int.from_bytes(b'GET ', 'big')}"
        wanted.append(f"(tcp and {_to(TCP, ports[HTTP])} and {get} and ({_path()}))")
    if ICMP in ports:
        size = f"(ip[2:2] - {_IP_HEADER} - {_ICMP_HEADER})"
        form = _form(size, _Place("icmp", "8"))
        wanted.append(f"(icmp and {form})")
    return f"ip and ({' or '.join(wanted)})"


def _form(size: str, place: _Place) -> str:
    """Return what a packet of that size has to be, which begins at `place`."""
    return (
        f"{size} <= {MOST} and {size} >= {LEAST} and ({_symmetric(place, FIRST)}"
        f" or ({size} >= {openpgp.LEAST} and {_by_gnupg(place)}))"
    )


def _symmetric(place: _Place, first: bytes) -> str:
    return _in(place.at(0), first)


def _by_gnupg(place: _Place) -> str:
    return f"{_in(place.at(0), openpgp.FIRST)} and {_in(place.at(2), openpgp.THIRD)}"


def _path() -> str:
    """Return what follows `GET `: how a packet begins, or a proxy's form."""
    slash = f"tcp[{_TCP_HEADER} + 4] = {ord('/')}"
    proxied = f"tcp[{_TCP_HEADER} + 4:4] = {int.from_bytes(b'http', 'big')}"
    place = _Place("tcp", f"{_TCP_HEADER} + 5")
    kinds = f"{_symmetric(place, FIRST.translate(_TO_PATH))} or ({_by_gnupg(place)})"
    return f"({slash} and ({kinds})) or {proxied}"


def _to(protocol: str, ports: list[int]) -> str:
    if 0 in ports:
        return protocol
    return f"({' or '.join(f'{protocol} dst port {port}' for port in ports)})"


def _in(field: str, letters: bytes) -> str:
    return f"({' or '.join(f'{field} = {letter}' for letter in letters)})"
