"""A packet of fwknop by GnuPG has one message in one spelling, or a `PacketError`.

The first byte chooses between a packet of anybody and one whose HMAC is right.
"""

from collections.abc import Iterator

from unit.protocol.fwknop.test_fwknop_openpgp import openpgp_message

from spassh.protocol.errors import PacketError
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.openpgp import (
    MAX_MESSAGE,
    PREFIX,
    Hmac,
    Keyring,
    enclose,
    has_form,
)
from spassh.protocol.fwknop.text import check as check_digest
from spassh.protocol.fwknop.text import read
from spassh.protocol.fwknop.unpadded import encode as to_base64

_KEYS = (Hmac(b"an hmac key"), Hmac())
_RING = Keyring(_KEYS)


def seeds() -> Iterator[tuple[str, bytes]]:
    message = openpgp_message(400)
    for number, hmac in enumerate(_KEYS):
        yield f"sent {number}", b"\0" + enclose(message, hmac)
    yield "body", b"\1" + enclose(message, Hmac())
    yield "text", b"\0" + b"1" * 16 + b":YQ:1:3.0.0:1:MC4wLjAuMCx0Y3AvMjI:x"


def check(data: bytes) -> None:
    payload = data[1:]
    if data[:1] and data[0] % 2:
        hmac = _KEYS[0]
        payload += DIGESTS[hmac.digest].hmac(hmac.key, PREFIX + payload)
    try:
        opened = _RING.open(payload)
    except PacketError:
        pass
    else:
        assert has_form(payload)
        assert 0 < len(opened.message) <= MAX_MESSAGE
        hmac = _KEYS[opened.number]
        whole = to_base64(opened.message)
        tag = DIGESTS[hmac.digest].hmac(hmac.key, whole) if hmac.key else b""
        assert whole + tag == PREFIX + payload
    try:
        check_digest(payload)
        read(payload)
    except PacketError:
        return
