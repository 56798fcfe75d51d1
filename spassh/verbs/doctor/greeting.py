"""What sshd says first, and how a client takes its leave: RFC 4253. Pure.

A connection that is closed without a word is what sshd penalises, and what its
administrator would look into.
"""

from struct import pack
from typing import Final

MAX_BYTES: Final = 8192
"""Most bytes until the greeting is there: a server may write lines before it."""

_MAX_LINE: Final = 255

_DISCONNECT: Final = 1  # SSH_MSG_DISCONNECT
_BY_APPLICATION: Final = 11  # SSH_DISCONNECT_BY_APPLICATION
_BLOCK: Final = 8
_LEAST_PADDING: Final = 4

_OURS: Final = b"SSH-2.0-spassh\r\n"


def find_greeting(data: bytes) -> str | None:
    """Return the line by which a server says that it speaks SSH (section 4.2).

    Returns:
        It, "" if what is there is no such thing, or None if more has to come.
    """
    *lines, rest = data.split(b"\n")
    for line in lines:
        if line.startswith(b"SSH-"):
            return line[:_MAX_LINE].rstrip(b"\r").decode("utf-8", "replace")
    if len(data) >= MAX_BYTES or len(rest) > MAX_BYTES:
        return ""
    return None


def farewell(reason: str) -> bytes:
    """Return our own greeting, and the message that we leave (section 11.1)."""
    text = reason.encode()
    payload = pack("!BII", _DISCONNECT, _BY_APPLICATION, len(text)) + text + bytes(4)
    size = 4 + 1 + len(payload)
    padding = _LEAST_PADDING + -(size + _LEAST_PADDING) % _BLOCK
    header = pack("!IB", 1 + len(payload) + padding, padding)
    return _OURS + header + payload + bytes(padding)
