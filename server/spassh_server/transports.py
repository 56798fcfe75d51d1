"""By what else than UDP to the knock port packets of fwknop may come, as it is written.

Nothing listens there. A TCP segment with a packet in it arrives where some other
service has taken the connection, or in a SYN that nobody has to answer.
"""

from typing import Final, NamedTuple

UDP: Final = "udp"
TCP: Final = "tcp"
HTTP: Final = "http"
ICMP: Final = "icmp"

_ANY: Final = "any"


class Transport(NamedTuple):
    """One of them."""

    kind: str
    """`UDP`, `TCP`, `HTTP` (in the path of a request) or `ICMP`."""
    port: int = 0
    """The destination port; 0 for any port of UDP, and for ICMP, which has none."""

    def __str__(self) -> str:
        if self.kind == ICMP:
            return ICMP
        return f"{self.kind}/{self.port or _ANY}"


def parse_transport(text: str) -> Transport:
    """Read a transport from its text form, such as http/80.

    Raises:
        ValueError: `text` is no such thing; the message says what is expected.
    """
    kind, _, number = text.partition("/")
    if text in {ICMP, f"{UDP}/{_ANY}"}:
        return Transport(kind)
    # isdecimal alone would take digits of other scripts, and int() would too.
    if kind in {UDP, TCP, HTTP} and number.isascii() and number.isdecimal():
        value = int(number[:6])
        if 0 < value < 1 << 16 and str(value) == number:
            return Transport(kind, value)
    what = "expected udp/53, udp/any, tcp/80, http/80 or icmp"
    raise ValueError(f"not a transport: {text[:64]!r} ({what})")
