"""Authentic access requests that each break one rule of sections 5.2 and 5.3."""

from collections.abc import Iterator
from ipaddress import ip_address

from .common import NOW, Vector, access, message, vector


def _address(text: str) -> bytes:
    return ip_address(text).packed.ljust(16, b"\0")


def vectors() -> Iterator[Vector]:
    for name, comment, payload, reason in _CASES:
        packet = message(name, payload).datagram()
        yield vector(name, "malformed", comment, packet, reason=reason)


_V4 = _address("198.51.100.9")
_CASES = (
    ("version_0", "Version 0.", access(version=0), "version"),
    ("version_2", "Version 2.", access(version=2), "version"),
    ("version_255", "Version 255.", access(version=255), "version"),
    (
        "access_with_command_flag",
        "The flag of a command, without a command, in a datagram of 192 bytes.",
        access(flags=1),
        "flags",
    ),
    ("reserved_bit_1_set", "Flag bit 1 is set.", access(flags=2), "flags"),
    ("reserved_bits_2_to_6_set", "Flag bits 2 to 6.", access(flags=0x7C), "flags"),
    ("reserved_bit_7_set", "Flag bit 7 is set.", access(flags=0x80), "flags"),
    ("time_negative", "The top bit of the time is set.", access(time=1 << 63), "time"),
    (
        "time_all_ones",
        "The largest 64-bit number.",
        access(time=(1 << 64) - 1),
        "time",
    ),
    ("protocol_zero", "No protocol.", access(protocol=0), "protocol"),
    ("protocol_icmp", "A protocol without ports.", access(protocol=1), "protocol"),
    ("protocol_sctp", "Not TCP and not UDP.", access(protocol=132), "protocol"),
    ("port_zero", "No port.", access(port=0), "port"),
    (
        "lifetime_over_limit",
        "A second more than a day.",
        access(lifetime=86_401),
        "lifetime",
    ),
    (
        "lifetime_all_ones",
        "The largest 32-bit number.",
        access(lifetime=(1 << 32) - 1),
        "lifetime",
    ),
    (
        "family_5",
        "A number that is no family.",
        access(family=5, address=_V4),
        "address family",
    ),
    (
        "family_10",
        "What one operating system calls IPv6.",
        access(family=10, address=_address("2001:db8::9")),
        "address family",
    ),
    (
        "unspecified_v4",
        "0.0.0.0 as the address to allow.",
        access(family=4),
        "unspecified address",
    ),
    (
        "unspecified_v6",
        ":: as the address to allow.",
        access(family=6),
        "unspecified address",
    ),
    (
        "mapped_v6",
        "An IPv4 address inside an IPv6 one.",
        access(family=6, address=_address("::ffff:198.51.100.9")),
        "mapped address",
    ),
    (
        "address_without_family",
        "Family 0 and an address.",
        access(family=0, address=_V4),
        "padding",
    ),
    (
        "address_padding_nonzero",
        "The last byte behind an IPv4 address is not zero.",
        access(family=4, address=_V4[:15] + b"\x01"),
        "padding",
    ),
    (
        "address_padding_first_byte",
        "The first byte behind an IPv4 address is not zero.",
        access(family=4, address=_V4[:4] + b"\x01" + bytes(11)),
        "padding",
    ),
    (
        "padding_nonzero",
        "The last byte of the payload is not zero.",
        access(rest=bytes(37) + b"\x01"),
        "padding",
    ),
    (
        "padding_first_byte",
        "The first byte of the padding is not zero.",
        access(rest=b"\x80"),
        "padding",
    ),
    (
        "command_length_in_access_class",
        "A command length, no command and no flag, in a datagram of 192 bytes.",
        access(length=2),
        "command length",
    ),
    (
        "command_in_access_class",
        "A whole command in a datagram of 192 bytes, with the flag of a command.",
        access(flags=1, protocol=0, port=0, time=NOW, length=3, rest=b"\x00\x01w"),
        "flags",
    ),
    (
        "command_beside_access",
        "A whole command behind an access request, without its flag.",
        access(length=3, rest=b"\x00\x01w"),
        "command length",
    ),
)
