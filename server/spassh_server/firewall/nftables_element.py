"""Ask the kernel for one element of a set, or add one: linux/netfilter/nf_tables.h.

To answer `get element`, libnftables lists all elements of all sets, and be it the list
of a million addresses that somebody blocks. The kernel looks one up. And before it adds
an element, libnftables lists tables, chains and sets anew whenever anything has
changed, as it has by each grant: a client would wait for that.
"""

import errno
from struct import pack
from typing import Final, NamedTuple

from . import FirewallError, Grant, Width
from .checks import check_seconds, check_user, is_user
from .netlink import (
    CREATE,
    EXCLUSIVE,
    NETFILTER,
    Kept,
    attribute,
    nested,
    parse_attributes,
)
from .nftables_sets import set_of

_NFTABLES: Final = 10
_NEW_ELEMENT: Final = _NFTABLES << 8 | 12
_GET_ELEMENT: Final = _NFTABLES << 8 | 13
_HEADER: Final = pack("!BBH", 1, 0, 0)  # the family inet
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT = 1
_KEY, _TIMEOUT, _EXPIRATION, _USER_DATA = 1, 4, 5, 6
_VALUE = 1
_COMMENT = 0  # in the user data, by libnftnl


class Element(NamedTuple):
    """What the kernel says of a grant."""

    milliseconds_left: int
    user: str


class Elements:
    """The elements of the sets of our table, by a socket that is kept."""

    def __init__(self) -> None:
        self._socket = Kept(NETFILTER)

    def find(self, name: str, grant: Grant) -> Element | None:
        """Return what the table `name` has of `grant`, or None if it has none.

        Raises:
            FirewallError: the kernel does not say.
        """
        try:
            query = render_query(name, grant)
            (answer,) = self._socket.open().ask(_GET_ELEMENT, query)
            return parse_answer(answer)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            self._socket.close()
            raise FirewallError(f"nftables: {error.strerror or error}") from error
        except ValueError as error:
            raise FirewallError("nftables: an answer makes no sense") from error

    def add(self, name: str, grant: Grant, seconds: int, user: str) -> bool:
        """Add `grant` for `seconds` to the table `name`, which does not have it.

        Returns:
            Whether that is done. If not, nothing has changed: it is there already, or
            the table is not as it was made, and libnftables may say in what.
        """
        body = render_element(name, grant, seconds, user)
        try:
            self._socket.open().transact(
                _NFTABLES, _NEW_ELEMENT, CREATE | EXCLUSIVE, body
            )
        except OSError as error:
            if error.errno != errno.EEXIST:
                self._socket.close()
            return False
        return True


def render_query(name: str, grant: Grant) -> bytes:
    """Return the body of the message that asks for `grant` in the table `name`."""
    return _render(name, grant, b"")


def render_element(name: str, grant: Grant, seconds: int, user: str) -> bytes:
    """Return the body of the message that adds `grant` to the table `name`."""
    more = attribute(_TIMEOUT, pack("!Q", 1000 * check_seconds(seconds)))
    if user:
        comment = check_user(user).encode() + b"\0"
        more += attribute(_USER_DATA, bytes([_COMMENT, len(comment)]) + comment)
    return _render(name, grant, more)


def _render(name: str, grant: Grant, more: bytes) -> bytes:
    address, port, width, source_port = grant
    # Each part of a key fills words of 4 bytes.
    source = pack("!Hxx", source_port) if width == Width.FLOW else b""
    key = address + source + pack("!BxxxHxx", *port)
    element = nested(_ELEMENT, nested(_KEY, attribute(_VALUE, key)) + more)
    return (
        _HEADER
        + attribute(_TABLE, name.encode() + b"\0")
        + attribute(_SET, set_of(grant).encode() + b"\0")
        + nested(_ELEMENTS, element)
    )


def parse_answer(body: bytes) -> Element:
    """Read the element that was asked for.

    Raises:
        OSError, ValueError: there is none.
    """
    found = parse_attributes(body[len(_HEADER) :])
    for kind in (_ELEMENTS, _ELEMENT):
        if kind not in found:
            raise ValueError("no element")
        found = parse_attributes(found[kind])
    milliseconds = int.from_bytes(found.get(_EXPIRATION, b""), "big")
    user = _comment(found.get(_USER_DATA, b""))
    return Element(milliseconds, user if is_user(user) else "")


def _comment(data: bytes) -> str:
    """Return the comment in the user data of an element, or nothing."""
    while len(data) >= 2:
        kind, length = data[:2]
        if kind == _COMMENT:
            return data[2 : 2 + length].rstrip(b"\0").decode(errors="replace")
        data = data[2 + length :]
    return ""
