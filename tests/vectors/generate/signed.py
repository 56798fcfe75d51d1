"""Payloads with an OpenPGP message that break one rule of section 5.5."""

from collections.abc import Iterator
from struct import Struct

from .common import COMMAND_SIZE, NOW, Vector, message, vector

_HEADER = Struct("!BBQH")


def signed(
    rest: bytes = b"m",
    *,
    version: int = 1,
    flags: int = 2,
    time: int = NOW,
    length: int = 1,
) -> bytes:
    """Pack a payload: valid but for what is changed."""
    header = _HEADER.pack(version, flags, time, length)
    return (header + rest).ljust(COMMAND_SIZE, b"\0")


_BROKEN = (
    ("signed_version_2", "Version 2.", signed(version=2), "version"),
    (
        "signed_and_command",
        "The flag of a message beside that of a command.",
        signed(flags=3),
        "flags",
    ),
    (
        "signed_time_negative",
        "The top bit of the time is set.",
        signed(time=1 << 63),
        "time",
    ),
    (
        "signed_message_empty",
        "The flag of a message and no message.",
        signed(b"", length=0),
        "message length",
    ),
    (
        "signed_message_over_payload",
        "A message that is longer than the payload.",
        signed(b"m" * 1072, length=1073),
        "message length",
    ),
    (
        "signed_padding_nonzero",
        "A byte behind the message.",
        signed(b"m\0\1"),
        "padding",
    ),
)


def vectors() -> Iterator[Vector]:
    """Yield one datagram for each broken rule."""
    for name, comment, payload, reason in _BROKEN:
        datagram = message(name, payload).datagram()
        yield vector(name, "malformed", comment, datagram, reason=reason)
