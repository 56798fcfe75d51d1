"""An invite is read as its one spelling, or raises a `TextFormError` without it.

The first byte chooses between the text and what it spells, with the right checksum.
"""

from collections.abc import Iterator

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError
from spassh.protocol.invite import PREFIX, Invite, decode_invite, encode_invite
from spassh.protocol.keys import armour, checksum

RUNS = 10_000
_SECRET = bytes(range(1, 33))
INVITE = Invite(
    "alice", "server.example", 62201, bytes(32), bytes(32), PrivateKey(_SECRET).public
)


def seeds() -> Iterator[tuple[str, bytes]]:
    invites = {
        "plain": INVITE,
        "with a secret": INVITE._replace(secret=_SECRET),
        "address": INVITE._replace(address="2001:db8::1"),
    }
    for name, invite in invites.items():
        text = encode_invite(invite)
        yield f"text {name}", b"\0" + text.encode()
        yield f"body {name}", b"\1" + _body(text)
    yield "another version", b"\0spassh-invite-2-AAAA"


def _body(text: str) -> bytes:
    from spassh.protocol.keys import unarmour

    return unarmour(text.removeprefix(PREFIX))[:-4]


def check(data: bytes) -> None:
    if not data:
        return
    if data[0] % 2:
        body = data[1:]
        text = PREFIX + armour(body + checksum(PREFIX, body))
    else:
        text = data[1:].decode("utf-8", "replace")
    try:
        invite = decode_invite(text)
    except TextFormError as error:
        told = str(error).replace(PREFIX, "")
    else:
        assert encode_invite(invite) == text
        return
    secrets = text[len(PREFIX) :]
    assert len(secrets) < 16 or secrets not in told
