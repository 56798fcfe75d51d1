"""Lines for a syslog daemon of this host: RFC 3164, as syslog(3) sends them."""

import time
from typing import Final

SOCKET: Final = "/dev/log"

LINE_BYTES: Final = 2048
"""What a receiver should take at least (RFC 5424); some cut what is longer anywhere."""

_AUTHPRIV: Final = 10
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def line(priority: int, message: str, pid: int, when: time.struct_time) -> bytes:
    """Spell the datagram of one line.

    Args:
        priority: of syslog(3), 0 to 7. The facility is authpriv: it tells who got in.
        message: one line of printable text. What is too long is cut.
        pid: of the program.
        when: the local time, which is what RFC 3164 wants.
    """
    # By hand, because %b of strftime(3) is the locale's name of the month.
    month = _MONTHS[3 * when.tm_mon - 3 : 3 * when.tm_mon]
    stamp = f"{month} {when.tm_mday:2} {when.tm_hour:02}"
    stamp += f":{when.tm_min:02}:{when.tm_sec:02}"
    text = f"<{_AUTHPRIV * 8 + priority}>{stamp} spasshd[{pid}]: {message}"
    data = text.encode(errors="backslashreplace")
    # The cut may be within a character, of which nothing is left then.
    return data[:LINE_BYTES].decode(errors="ignore").encode()
