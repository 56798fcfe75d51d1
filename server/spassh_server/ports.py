"""Ports as people write them: tcp/22."""

from typing import NamedTuple

_NUMBERS = {"tcp": 6, "udp": 17}
_NAMES = {number: name for name, number in _NUMBERS.items()}


class Port(NamedTuple):
    """A transport protocol and a port of it."""

    protocol: int
    """6 (TCP) or 17 (UDP)."""
    number: int
    """1 to 65535."""

    @property
    def protocol_name(self) -> str:
        """The protocol as netfilter and people spell it: tcp or udp."""
        return _NAMES[self.protocol]

    def __str__(self) -> str:
        return f"{self.protocol_name}/{self.number}"


def parse_port(text: str) -> Port:
    """Read a port from its text form, such as tcp/22.

    Raises:
        ValueError: `text` is no such thing; the message says what is expected.
    """
    protocol, _, number = text.partition("/")
    # isdecimal alone would take digits of other scripts, and int() would too.
    if protocol in _NUMBERS and number.isascii() and number.isdecimal():
        value = int(number[:6])
        if 0 < value < 1 << 16 and str(value) == number:
            return Port(_NUMBERS[protocol], value)
    raise ValueError(f"not a port: {text[:64]!r} (expected tcp/22 or udp/53)")
