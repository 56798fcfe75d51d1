"""Hear of changes to the packet filter, whoever makes them: nfnetlink(7).

The kernel tells a multicast group of each change to nftables, and so to iptables-nft.
The legacy variant of iptables has no such thing, nor have ipfw and pf.
"""

import socket
from typing import Final

from .netlink import parse_messages

_NETLINK_NETFILTER: Final = 12
_NFNLGRP_NFTABLES: Final = 7
_OF_ELEMENTS: Final = {10 << 8 | kind for kind in (12, 14, 15)}
"""NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, and what ends each transaction."""


class Watch:
    """A descriptor that is readable when something has changed."""

    def __init__(self) -> None:
        """Subscribe.

        Raises:
            OSError: this kernel, or our privileges, do not allow it.
        """
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Read what was told; tell whether anything but elements of sets has changed.

        Each of our grants is such an element, and no rule of ours depends on one.
        """
        changed = False
        while True:
            try:
                changed |= is_change(self._socket.recv(1 << 16))
            except BlockingIOError:
                return changed
            except OSError:
                # Too many to tell (ENOBUFS) is a change as well.
                return True

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()


def is_change(data: bytes) -> bool:
    """Tell whether these messages are of more than elements of sets."""
    try:
        kinds = {kind for _, kind, _ in parse_messages(data)}
    except OSError:
        return True
    return not kinds <= _OF_ELEMENTS
