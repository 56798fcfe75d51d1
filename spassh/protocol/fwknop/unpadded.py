"""Base64 (RFC 4648 section 4) without its padding, and in one spelling only.

fwknop itself stops at the first `=`, ignores what follows, and takes any spare bits in
the last character. A recorded packet would have many spellings then.
"""

from binascii import a2b_base64, b2a_base64

from ..errors import Malformed


def length(size: int) -> int:
    """Return how many characters `size` bytes take."""
    return (4 * size + 2) // 3


def encode(data: bytes) -> bytes:
    """Spell `data`."""
    return b2a_base64(data, newline=False).rstrip(b"=")


def decode(text: bytes, *, padded: bool = False) -> bytes:
    """Read what `encode` has written; with `padded`, with all of its padding as well.

    Raises:
        Malformed: it is spelled in another way.
    """
    bare = text.rstrip(b"=") if padded else text
    whole = bare + b"=" * (-len(bare) % 4)
    try:
        data = a2b_base64(whole)
    except ValueError as error:
        raise Malformed("base64") from error
    if encode(data) != bare or text not in {bare, whole}:
        raise Malformed("base64")
    return data
