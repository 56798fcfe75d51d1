"""A sealed invite is read as its one spelling, or raises a `TextFormError`.

Opening it is not tried here: that takes half a second, and what is inside is an invite.
"""

from collections.abc import Iterator

from spassh.protocol.errors import TextFormError
from spassh.protocol.invite import decode_invite
from spassh.protocol.keys import armour, checksum
from spassh.protocol.limits import AEAD_TAG_SIZE, SALT_SIZE
from spassh.protocol.sealed_invite import PREFIX, decode_sealed, is_sealed

RUNS = 10_000


def seeds() -> Iterator[tuple[str, bytes]]:
    body = bytes(range(SALT_SIZE + AEAD_TAG_SIZE + 120))
    text = _spelled(body).encode()
    yield "text", b"\0" + text
    yield "cut", b"\0" + text[: len(text) // 2]
    yield "body", b"\1" + body
    yield "another version", b"\0spassh-sealed-2-AAAA"


def check(data: bytes) -> None:
    if not data:
        return
    text = _spelled(data[1:]) if data[0] % 2 else data[1:].decode("utf-8", "replace")
    try:
        sealed = decode_sealed(text)
    except TextFormError:
        return
    assert is_sealed(text)
    assert _spelled(sealed.salt + sealed.box) == text
    try:
        decode_invite(text)
    except TextFormError:
        return
    raise AssertionError("it is a plain invite as well")


def _spelled(body: bytes) -> str:
    return PREFIX + armour(body + checksum(PREFIX, body))
