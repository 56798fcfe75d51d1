"""A packet of fwknop raises a `PacketError` or has one message, which is bounded.

The first byte chooses who made it: anybody, or somebody with the keys of a client, with
an HMAC, without one, or of fwknop 1.9. For those, the input is what is encrypted.
"""

from collections.abc import Iterator

from spassh.protocol.errors import PacketError
from spassh.protocol.fwknop.cipher import encrypt
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys, derive
from spassh.protocol.fwknop.limits import MOST
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.message import encode as encode_message
from spassh.protocol.fwknop.opening import Keyring, has_form
from spassh.protocol.fwknop.packet import MAGIC, PREFIX, seal
from spassh.protocol.fwknop.unpadded import encode as to_base64

_KEYS = (
    Keys(b"a key", b"an hmac key"),
    Keys(b"a key alone"),
    Keys(b"an old key", legacy=True),
)
_RING = Keyring(_KEYS)
_MESSAGES = {
    "access": Message("1" * 16, "alice", 1_767_225_600, 1, b"", ((6, 22), (17, 53))),
    "command": Message("1" * 16, "alice", 1_767_225_600, 0, b"", command="reboot now"),
    "nat": Message(
        "1" * 16, "alice", 1_767_225_600, 4, bytes([192, 0, 2, 7]), ((6, 22),)
    )._replace(target=("10.0.0.5", 22), timeout=30),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    for name, message in _MESSAGES.items():
        for number, keys in enumerate(_KEYS):
            made = encode_message(message)
            yield f"made {name} {number}", bytes([number]) + made
            if not keys.legacy:
                yield f"sent {name} {number}", b"\3" + seal(message, keys, bytes(8))


def check(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0] % 4, data[1:]
    payload = rest if kind == 3 else _made(rest, _KEYS[kind])
    try:
        opened = _RING.open(payload)
    except PacketError:
        return
    assert has_form(payload)
    assert len(payload) <= MOST
    message = opened.message
    words = [message.rand, message.user, message.command, message.version]
    assert all(word.isprintable() and len(word) <= MOST for word in words)
    assert bool(message.ports) != bool(message.command)
    assert len(message.address) in {0, 4}
    if kind != 3:
        assert opened.number == kind


def _made(head: bytes, keys: Keys) -> bytes:
    """Make a packet in which all is right but perhaps what it says."""
    digest = DIGESTS["md5" if keys.legacy else "sha256"]
    plain = head + b":" + digest.hash(head)
    whole = to_base64(MAGIC + bytes(8) + encrypt(*derive(keys, bytes(8)), plain))
    tag = DIGESTS[keys.hmac_digest].hmac(keys.hmac, whole) if keys.hmac else b""
    return whole[len(PREFIX) :] + tag
