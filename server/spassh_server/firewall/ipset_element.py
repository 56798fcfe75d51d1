"""Add an element to a set without the program: linux/netfilter/ipset/ip_set.h.

A client waits for it, and to start ipset takes longer than all the rest.
"""

import socket
from ipaddress import ip_address
from struct import pack
from typing import Final

from .checks import check_seconds, check_user
from .netlink import EXCLUSIVE, NETFILTER, Kept, attribute, nested

_ADD: Final = 6 << 8 | 9
_PROTOCOL_VERSION = 6
"""What every kernel since 3.0 understands."""
_PROTOCOL, _SET, _DATA = 1, 2, 7
_ADDRESS, _PORT, _TIMEOUT, _NUMBER, _COMMENT = 1, 4, 6, 7, 26
_IN_NETWORK_ORDER = 0x4000
_IPSET_ERR_EXIST = 4103


class Elements:
    """The elements of our sets, by a socket that is kept."""

    def __init__(self) -> None:
        self._socket = Kept(NETFILTER)

    def add(self, name: str, element: str, seconds: int, user: str) -> bool:
        """Add `element` of the form "address,protocol:port" to the set `name`.

        Returns:
            Whether that is done. If not, nothing has changed: it is there already, or
            the set is not as it was made, and the program may say in what.
        """
        body = render(name, element, seconds, user)
        try:
            answers = self._socket.open().ask(_ADD, body, EXCLUSIVE)
        except OSError as error:
            if error.errno != _IPSET_ERR_EXIST:
                self._socket.close()
            return False
        return not answers


def render(name: str, element: str, seconds: int, user: str) -> bytes:
    """Return the body of the message."""
    text, _, place = element.partition(",")
    number, port = map(int, place.split(":"))
    address = ip_address(text)
    kind, family = {4: (1, socket.AF_INET), 6: (2, socket.AF_INET6)}[address.version]
    comment = f"granted {check_user(user)}".rstrip().encode()
    data = (
        nested(_ADDRESS, attribute(kind | _IN_NETWORK_ORDER, address.packed))
        + attribute(_PORT | _IN_NETWORK_ORDER, pack("!H", port))
        + attribute(_NUMBER, bytes([number]))
        + attribute(_TIMEOUT | _IN_NETWORK_ORDER, pack("!I", check_seconds(seconds)))
        + attribute(_COMMENT, comment + b"\0")
    )
    return (
        pack("!BBH", family, 0, 0)
        + attribute(_PROTOCOL, bytes([_PROTOCOL_VERSION]))
        + attribute(_SET, name.encode() + b"\0")
        + nested(_DATA, data)
    )
