"""Authentic command requests that each break one rule of section 5.4."""

from collections.abc import Iterator
from ipaddress import ip_address

from .common import COMMAND_SIZE, Vector, access, command, message, vector

_ROOM = COMMAND_SIZE - 38


def vectors() -> Iterator[Vector]:
    for name, comment, payload, reason in _CASES:
        packet = message(name, payload).datagram()
        yield vector(name, "malformed", comment, packet, reason=reason)


_BESIDE = "access fields beside a command"
_CASES = (
    (
        "access_in_command_class",
        "An access request in a datagram of 1200 bytes.",
        access().ljust(COMMAND_SIZE, b"\0"),
        "flags",
    ),
    (
        "command_without_flag",
        "A command without the flag of a command.",
        command(b"w", flags=0),
        "flags",
    ),
    (
        "command_reserved_bit_set",
        "A reserved flag bit beside the flag of a command.",
        command(b"w", flags=0x41),
        "flags",
    ),
    (
        "command_missing",
        "The flag of a command and no command.",
        command(),
        "command length",
    ),
    (
        "command_length_short",
        "The length ends before the last byte of the command.",
        command(b"who", length=4),
        "padding",
    ),
    (
        "command_length_long",
        "The length reaches one byte into the padding.",
        command(b"who", length=6),
        "argument length",
    ),
    (
        "command_length_over_payload",
        "The length ends one byte behind the payload.",
        command(rest=(b"\x04\x14" + b"x" * 1044), length=_ROOM + 1),
        "command length",
    ),
    (
        "command_length_all_ones",
        "The largest 16-bit number.",
        command(b"w", length=0xFFFF),
        "command length",
    ),
    (
        "command_padding_nonzero",
        "The last byte of the payload is not zero.",
        command(rest=b"\x00\x01w".ljust(_ROOM - 1, b"\0") + b"\x01", length=3),
        "padding",
    ),
    (
        "argument_length_past_end",
        "An argument's length reaches behind the command.",
        command(rest=b"\x00\x03wh"),
        "argument length",
    ),
    (
        "argument_length_one_byte",
        "One byte is left where an argument's length has two.",
        command(rest=b"\x00\x01w\x00"),
        "argument length",
    ),
    (
        "argument_nul",
        "An argument contains a zero byte.",
        command(b"w", b"a\0b"),
        "argument",
    ),
    ("program_nul", "The program's name does.", command(b"w\0", b"a"), "argument"),
    ("program_empty", "The program has no name.", command(b"", b"a"), "argument"),
    (
        "argument_invalid_utf8",
        "An argument is not UTF-8.",
        command(b"w", b"\xff"),
        "argument encoding",
    ),
    (
        "argument_truncated_utf8",
        "An argument ends inside a character.",
        command(b"w", b"\xc3", b"\xa9"),
        "argument encoding",
    ),
    (
        "argument_overlong_utf8",
        "A slash in two bytes.",
        command(b"w", b"\xc0\xaf"),
        "argument encoding",
    ),
    (
        "argument_surrogate_utf8",
        "Half of a UTF-16 pair.",
        command(b"w", b"\xed\xa0\x80"),
        "argument encoding",
    ),
    (
        "too_many_arguments",
        "One word more than the 64 that a command may have.",
        command(*[b"w"] * 65),
        "too many arguments",
    ),
    ("command_with_protocol", "A protocol.", command(b"w", protocol=6), _BESIDE),
    ("command_with_port", "A port.", command(b"w", port=22), _BESIDE),
    ("command_with_source_port", "A port.", command(b"w", source_port=1), _BESIDE),
    ("command_with_lifetime", "A lifetime.", command(b"w", lifetime=15), _BESIDE),
    (
        "command_with_address",
        "An address to allow.",
        command(
            b"w", family=4, address=ip_address("198.51.100.9").packed.ljust(16, b"\0")
        ),
        _BESIDE,
    ),
    ("command_version_2", "Version 2.", command(b"w", version=2), "version"),
    (
        "command_time_negative",
        "The time's top bit.",
        command(b"w", time=1 << 63),
        "time",
    ),
)
