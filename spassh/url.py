"""URLs of http and https, in the one form that is needed: a host, a port and a path."""

from __future__ import annotations

from .protocol.errors import TextFormError
from .protocol.named_tuple import NamedTuple
from .protocol.names import check_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PORTS: Final = {"http": 80, "https": 443}
_MAX: Final = 1000


class Url(NamedTuple):
    """Where to ask, and for what."""

    scheme: str
    """`http` or `https`."""
    host: str
    port: int
    path: str
    """Printable ASCII without blanks, which begins with a slash."""


def parse_url(text: str) -> Url:
    """Read a URL. Addresses of IPv6 need a name, and there is no user in it.

    Raises:
        TextFormError: it is none of http or https, or has something else in it.
    """
    scheme, colon, rest = text.partition("://")
    if scheme not in _PORTS or not colon or len(text) > _MAX:
        raise TextFormError("not a URL of http or https")
    if not all("!" <= letter <= "~" and letter != "#" for letter in rest):
        raise TextFormError("a URL is ASCII without blanks, and without '#'")
    place, slash, path = rest.partition("/")
    host, colon, number = place.partition(":")
    port = _PORTS[scheme]
    if colon:
        port = int(number) if number.isdecimal() and len(number) <= 5 else 0
    if not 0 < port < 1 << 16:
        raise TextFormError(f"no port in a URL: {number[:64]!r}")
    return Url(scheme, check_host(host), port, slash + path or "/")
