"""Opening a datagram raises a `PacketError` or yields a request with one spelling.

The first byte chooses how far a stranger has come: to the gate, behind it with the
server's public key, or behind the handshake with the keys of a client.
"""

from collections.abc import Iterator

from fuzz.targets.signed_text import REQUESTS
from vectors.vector_file import NAMES, load

from spassh.protocol.errors import NotOurs, PacketError, Unauthentic
from spassh.protocol.limits import (
    ACCESS_PAYLOAD,
    COMMAND_PAYLOAD,
    DATAGRAM_SIZES,
    MAC_SIZE,
    TAG_SIZE,
)
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh.protocol.packet import ClientKeys, seal_payload
from spassh.protocol.request import encode, spell
from spassh.protocol.signed import encode_signed

_SERVER = ServerKeys(bytes(range(32)))
_CLIENT = ClientKeys(bytes(range(32, 64)), _SERVER.public, bytes(range(64, 96)))
_AT_THE_GATE, _BEHIND_IT, _A_CLIENT = range(3)
_CHOSEN = {
    *("access_ipv4_source", "command_arguments", "low_order_ephemeral_one"),
    *("mac_flipped_bit", "payload_spliced", "wrong_psk"),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    for name in NAMES:
        packet = load(name).packet
        if len(packet) in DATAGRAM_SIZES and name in _CHOSEN:
            yield f"gate {name}", bytes([_AT_THE_GATE]) + packet
            yield f"behind {name}", bytes([_BEHIND_IT]) + packet[TAG_SIZE:-MAC_SIZE]
    for name, request in REQUESTS.items():
        yield f"client {name}", bytes([_A_CLIENT]) + spell(request)
    signed = encode_signed(1, b"an OpenPGP message").rstrip(b"\0")
    yield "client signed", bytes([_A_CLIENT]) + signed.ljust(ACCESS_PAYLOAD + 1, b"\0")


def check(data: bytes) -> None:
    if not data:
        return
    kind, rest = data[0] % 3, data[1:]
    if kind == _A_CLIENT:
        _authentic(rest)
    else:
        _refused(rest if kind == _AT_THE_GATE else _gated(rest))


def _refused(datagram: bytes) -> None:
    try:
        open_datagram(datagram, _SERVER, _nobody)
    except (NotOurs, Unauthentic):
        return
    raise AssertionError("a datagram of nobody was opened")


def _nobody(_: bytes) -> bytes:
    raise Unauthentic("client")


def _gated(body: bytes) -> bytes:
    tagged = _SERVER.gate.tag(body[:32]) + body
    return tagged + _SERVER.gate.mac(tagged)


def _authentic(start: bytes) -> None:
    size = ACCESS_PAYLOAD if len(start) <= ACCESS_PAYLOAD else COMMAND_PAYLOAD
    payload = start[:size].ljust(size, b"\0")
    try:
        datagram = seal_payload(payload, _CLIENT, bytes(33))
        opened = open_datagram(datagram, _SERVER, lambda _: _CLIENT.psk)
    except PacketError:
        return
    if opened.signed is not None:
        spelled = encode_signed(opened.request.time, opened.signed.message)
    else:
        spelled = encode(opened.request)
    assert spelled == payload
