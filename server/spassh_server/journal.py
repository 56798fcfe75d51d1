"""Entries for systemd's journal, in its native protocol: each value is a field.

See systemd.journal-fields(7), and "Native Journal Protocol" of the systemd project.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"

_SIZE = Struct("<Q")


def entry(
    event: str, priority: int, message: str, fields: Mapping[str, object]
) -> bytes:
    """Spell the datagram of one entry.

    Args:
        event: the name of what happened, for SPASSH_EVENT.
        priority: of syslog(3), 0 to 7.
        message: what people read; it may have several lines.
        fields: each becomes SPASSH_ and its name in capital letters.
    """
    values = {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "spasshd",
        "SPASSH_EVENT": event,
    }
    for name, value in fields.items():
        values[f"SPASSH_{name.upper()}"] = str(value)
    return b"".join(_field(name, value) for name, value in values.items())


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode("ascii"), data)
    # A line break would end the value and begin a field, so its size comes first.
    return b"%s\n%s%s\n" % (name.encode("ascii"), _SIZE.pack(len(data)), data)
