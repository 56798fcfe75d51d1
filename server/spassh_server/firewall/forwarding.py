"""Whether this host forwards packets at all."""

from typing import Final

from . import Settings

SWITCHES: Final = {
    4: ("IPv4", "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
    16: (
        "IPv6",
        "/proc/sys/net/ipv6/conf/all/forwarding",
        "net.ipv6.conf.all.forwarding",
    ),
}
"""By the length of addresses: the protocol, its switch and the name of that."""


def forwarding_warnings(settings: Settings) -> list[str]:
    """Say which forwards lead nowhere, because this host is no router."""
    lengths = sorted({len(forward.address) for forward in settings.forwards})
    return [
        f"this host does not forward {protocol} packets: sysctl -w {name}=1"
        for protocol, path, name in map(SWITCHES.__getitem__, lengths)
        if not _is_on(path)
    ]


def _is_on(path: str) -> bool:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:
        return False  # this kernel has no such protocol
