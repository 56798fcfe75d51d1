"""The packet a second time, written from docs/PROTOCOL.md alone.

It shares no code with spassh: Noise is `noiseprotocol` from PyPI, everything else is in
this file. It is slow and simple, and it is right where both agree.
"""

import struct
import warnings
from hashlib import blake2s
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from noise.connection import Keypair, NoiseConnection

NAME = b"Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s"


class RefusedError(Exception):
    """A packet is not accepted; `outcome` is the `expect` of vector files."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Opened(NamedTuple):
    """What section 6 yields before time and replay."""

    request: dict[str, Any]
    client: bytes
    identity: bytes


# Section 3


def tag(server: bytes, e: bytes) -> bytes:
    """Section 3.1."""
    key = blake2s(b"spassh 1 tag" + server, digest_size=8).digest()
    k0, k1, m0, m1 = struct.unpack("<4I", key + e[:8])
    v = [k0, k1, k0 ^ 0x6C796765, k1 ^ 0x74656462]

    def mix(a: int, b: int, turn: int) -> None:
        v[a] = (v[a] + v[b]) % 2**32
        v[b] = v[a] ^ ((v[b] << turn) % 2**32 | v[b] >> (32 - turn))

    def half(a: int) -> None:
        v[a] = (v[a] << 16) % 2**32 | v[a] >> 16

    def rounds(count: int) -> None:
        for _ in range(count):
            mix(0, 1, 5)
            half(0)
            mix(2, 3, 8)
            mix(0, 3, 7)
            mix(2, 1, 13)
            half(2)

    for word in (m0, m1, 8 << 24):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return struct.pack("<I", v[1] ^ v[3])


def mac(server: bytes, body: bytes) -> bytes:
    """Section 3.2."""
    key = blake2s(b"spassh 1 mac" + server).digest()
    return blake2s(body, key=key, digest_size=16).digest()


# Section 4


def _handshake(psk: bytes) -> Any:
    connection = NoiseConnection.from_name(NAME)
    connection.set_prologue(b"spassh 1")
    connection.set_psks(psk)
    return connection


def _start(connection: Any) -> Any:
    with warnings.catch_warnings():
        # It warns of an ephemeral key that it did not make itself.
        warnings.simplefilter("ignore")
        connection.start_handshake()
    return connection.noise_protocol.handshake_state


def seal(
    request: dict[str, Any],
    secret: bytes,
    server: bytes,
    psk: bytes,
    randomness: bytes,
) -> bytes:
    """Make the datagram for `request`, a dictionary as in the vector files."""
    client = _handshake(psk)
    client.set_as_initiator()
    client.set_keypair_from_private_bytes(Keypair.STATIC, secret)
    client.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, server)
    client.set_keypair_from_private_bytes(Keypair.EPHEMERAL, randomness[:32])
    # Section 4.2: noiseprotocol sends and hashes these bytes, and computes with others.
    ephemeral = client.noise_protocol.keypairs["e"]
    spelled = bytearray(ephemeral.public_bytes)
    spelled[31] |= randomness[32] & 0x80
    ephemeral.public_bytes = bytes(spelled)
    _start(client)
    message = bytes(client.write_message(encode(request)))
    body = tag(server, message[:32]) + message
    return body + mac(server, body)


def open_packet(
    packet: bytes, secret: bytes, server: bytes, clients: dict[bytes, bytes]
) -> Opened:
    """Open `packet` with the server's keys and its clients' pre-shared keys."""
    if len(packet) not in {192, 1200}:
        raise RefusedError("not-ours")
    if packet[-16:] != mac(server, packet[:-16]):
        raise RefusedError("not-ours")
    if packet[:4] != tag(server, packet[4:36]):
        raise RefusedError("not-ours")
    # noiseprotocol wants the psk before it knows who sent the message: try them all.
    for public, psk in clients.items():
        responder = _handshake(psk)
        responder.set_as_responder()
        responder.set_keypair_from_private_bytes(Keypair.STATIC, secret)
        state = _start(responder)
        try:
            payload = bytes(responder.read_message(packet[4:-16]))
        except (InvalidTag, ValueError):
            continue
        if state.rs.public_bytes == public:
            identity = bytes(state.symmetric_state.get_handshake_hash())
            return Opened(decode(payload), public, identity)
    raise RefusedError("unauthentic")


# Section 5

_HEAD = ">BBQBBHHI"


def encode(request: dict[str, Any]) -> bytes:
    """Spell a request that keeps the rules."""
    words = [word.encode() for word in request["command"]]
    command = b"".join(struct.pack(">H", len(word)) + word for word in words)
    family, address = 0, b""
    if request["address"]:
        parsed = ip_address(request["address"])
        family, address = parsed.version, parsed.packed
    head = struct.pack(
        _HEAD,
        1,
        1 if words else 0,
        request["time"],
        request["protocol"],
        family,
        request["port"],
        request["source_port"],
        request["lifetime"],
    )
    payload = head + address.ljust(16, b"\0")
    payload += struct.pack(">H", len(command)) + command
    return payload.ljust(1084 if words else 76, b"\0")


def decode(payload: bytes) -> dict[str, Any]:
    """Read a payload back, and keep every rule of sections 5.2 to 5.4."""
    fields = struct.unpack(_HEAD, payload[:20])
    version, flags, time, protocol, family, port, source_port, lifetime = fields
    address = payload[20:36]
    length = int.from_bytes(payload[36:38], "big")
    is_command = len(payload) == 1084
    _must(version == 1)
    _must(flags == int(is_command))
    _must(time < 2**63)
    _must(38 + length <= len(payload))
    _must(not any(payload[38 + length :]))
    if is_command:
        _must(not any(payload[10:36]))
        _must(length > 0)
    else:
        _must(length == 0)
        _must(protocol in {6, 17})
        _must(port > 0)
        _must(lifetime <= 86400)
    return {
        "time": time,
        "protocol": protocol,
        "port": port,
        "lifetime": lifetime,
        "address": _address(family, address),
        "source_port": source_port,
        "command": _words(payload[38 : 38 + length]),
    }


def _must(rule: bool) -> None:
    if not rule:
        raise RefusedError("malformed")


def _address(family: int, field: bytes) -> str:
    if family == 0:
        _must(field == bytes(16))
        return ""
    _must(field != bytes(16))
    if family == 4:
        _must(field[4:] == bytes(12))
        return str(IPv4Address(field[:4]))
    _must(family == 6)
    parsed = IPv6Address(field)
    _must(parsed.ipv4_mapped is None)
    return str(parsed)


def _words(field: bytes) -> list[str]:
    words: list[str] = []
    while field:
        _must(len(field) >= 2)
        end = 2 + int.from_bytes(field[:2], "big")
        _must(end <= len(field))
        _must(b"\0" not in field[2:end])
        try:
            words.append(field[2:end].decode())
        except UnicodeDecodeError:
            _must(False)
        field = field[end:]
    _must(len(words) <= 64)
    _must(words == [] or words[0] != "")
    return words
