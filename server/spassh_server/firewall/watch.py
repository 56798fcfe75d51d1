"""Hear of changes to the packet filter, whoever makes them: nfnetlink(7).

The kernel tells a multicast group of each change to nftables, and so to iptables-nft.
The legacy variant of iptables has no such thing, nor have ipfw and pf.
"""

import contextlib
import socket
from typing import Final

_NETLINK_NETFILTER: Final = 12
_NFNLGRP_NFTABLES: Final = 7


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

    def drain(self) -> None:
        """Forget what was told: that there was a change is all we want to know."""
        # Too many to tell (ENOBUFS) is a change as well, and ends the loop once.
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(1 << 16)

    def close(self) -> None:
        """Unsubscribe."""
        self._socket.close()
