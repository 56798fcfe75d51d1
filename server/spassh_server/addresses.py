"""Host addresses as bytes: 4 or 16 of them, in network order."""

from ipaddress import ip_address


def grantable(address: bytes) -> bool:
    """Tell whether `address` can be that of one host.

    Policy asks this of a request, and the granter again of the listener.
    """
    if len(address) not in {4, 16}:
        return False
    host = ip_address(address)
    mapped = host.version == 6 and host.ipv4_mapped is not None
    broadcast = address == b"\xff\xff\xff\xff"
    return not (host.is_unspecified or host.is_multicast or mapped or broadcast)


def text(address: bytes) -> str:
    """Spell `address` as people do: 192.0.2.1 or 2001:db8::1."""
    return str(ip_address(address))
