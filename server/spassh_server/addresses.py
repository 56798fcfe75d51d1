"""Host addresses as bytes: 4 or 16 of them, in network order."""

from collections.abc import Container
from ipaddress import ip_address

_V4_MAPPED = bytes(10) + b"\xff\xff"


def grantable(address: bytes) -> bool:
    """Tell whether `address` can be that of one host.

    Policy asks this of a request, and the granter again of the listener.
    """
    # By its bytes: it is asked twice for each packet that comes in.
    if len(address) == 4:
        is_multicast = address[0] >> 4 == 14
        return any(address) and not is_multicast and address != b"\xff\xff\xff\xff"
    if len(address) == 16:
        is_multicast = address[0] == 0xFF
        return any(address) and not is_multicast and address[:12] != _V4_MAPPED
    return False


def place(address: bytes) -> bytes:
    """Return what stands for `address`: itself, or the first one of its /64.

    Whoever has one address of such a network of IPv6 has them all.
    """
    return address if len(address) == 4 else address[:8] + bytes(8)


def is_among(address: bytes, addresses: Container[bytes]) -> bool:
    """Tell whether `address` is one of `addresses`, or its `place` is."""
    return address in addresses or place(address) in addresses


def text(address: bytes) -> str:
    """Spell `address` as people do: 192.0.2.1 or 2001:db8::1."""
    return str(ip_address(address))
