"""Whose rules of ours the kernel has, as it says itself: no program is asked.

A back end whose program is gone or broken does not work any more, and yet its drop
stays. The chains of nftables and those of iptables-nft are listed by one request, see
linux/netfilter/nf_tables.h. Of iptables-legacy only its own program can tell.
"""

import errno
import sys
from struct import pack
from typing import Final

from . import FirewallError, Settings
from .iptables_hooks import SUFFIXES
from .netlink import NETFILTER, Netlink, parse_attributes

_GET_CHAIN: Final = 10 << 8 | 4  # of the subsystem nftables
_HEADER: Final = pack("!BBH", 0, 0, 0)  # of any family
_TABLE, _NAME = 1, 3
_INET: Final = 1
_IP: Final = frozenset({2, 10})  # IPv4 and IPv6

# What a kernel says that has no nftables at all.
_UNSUPPORTED: Final = frozenset(
    {errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}
)


class NotPermittedError(FirewallError):
    """The kernel lets us see no packet filter: it is that of another namespace."""


def left_behind(settings: Settings) -> frozenset[str]:
    """Return the names of the back ends that have chains of ours in the kernel.

    Raises:
        NotPermittedError: it takes CAP_NET_ADMIN, and where the network belongs.
        FirewallError: the kernel does not say.
    """
    if sys.platform != "linux":
        return frozenset()
    try:
        with Netlink(NETFILTER) as netlink:
            answers = list(netlink.dump(_GET_CHAIN, _HEADER))
        return frozenset(owner for one in answers for owner in owners(one, settings))
    except OSError as error:
        if error.errno == errno.EPERM:
            text = "the packet filter takes CAP_NET_ADMIN"
            hint = "run this on the host, where this is in a container"
            raise NotPermittedError(text, hint) from error
        if error.errno in _UNSUPPORTED:
            return frozenset()
        raise FirewallError(f"nftables: {error.strerror or error}") from error


def owners(body: bytes, settings: Settings) -> list[str]:
    """Return the back end that has made the chain in the body of a message, if any.

    Raises:
        OSError: it is cut short.
    """
    found = parse_attributes(body[len(_HEADER) :])
    table, name = (found.get(kind, b"").rstrip(b"\0") for kind in (_TABLE, _NAME))
    if body[0] == _INET and table == settings.name.encode():
        return ["nftables"]
    ours = {settings.name.upper() + suffix for suffix in SUFFIXES}
    if body[0] in _IP and name.decode(errors="replace") in ours:
        return ["iptables"]
    return []
