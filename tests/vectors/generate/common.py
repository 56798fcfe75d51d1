"""What all generators share: the keys, the clock, and packets that break one rule.

Nothing here checks what it is asked to make: that is the point of it.
"""

from hashlib import blake2b
from ipaddress import ip_address
from json import dumps
from struct import Struct
from typing import Any, NamedTuple

from spassh.protocol.crypto import PrivateKey, encrypt
from spassh.protocol.noise import write_first_message
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh.protocol.packet import PROLOGUE, ClientKeys, Gate, seal
from spassh.protocol.request import Request

NOW = 1_767_225_600_000  # 2026-01-01 00:00:00 UTC
SOURCE = "192.0.2.7"

SERVER_SECRET = bytes(range(32))
SERVER = PrivateKey(SERVER_SECRET)
CLIENT_SECRET = bytes(range(32, 64))
CLIENT = PrivateKey(CLIENT_SECRET)
PSK = bytes(range(64, 96))
STRANGER = PrivateKey(bytes(range(96, 128)))
OTHER_SERVER = PrivateKey(bytes(range(128, 160)))

ACCESS_SIZE = 76
COMMAND_SIZE = 1084
# version, flags, time, protocol, family, port, source port, lifetime, address, command
_FIELDS = Struct("!BBQBBHHI16sH")


class Vector(NamedTuple):
    """One file: its name, its headers in order, and the packet."""

    name: str
    headers: dict[str, str]
    packet: bytes

    def text(self) -> str:
        """Spell the whole file."""
        lines = [f"{key}: {value}" for key, value in self.headers.items()]
        spelled = self.packet.hex()
        rows = [spelled[at : at + 64] for at in range(0, len(spelled), 64)]
        return "\n".join([*lines, "", *rows, ""])


def vector(
    name: str, expect: str, comment: str, packet: bytes, **headers: str
) -> Vector:
    """Describe `packet`; `headers` come last, with spaces for underscores."""
    common = {
        "comment": comment,
        "expect": expect,
        "now": str(NOW),
        "source": SOURCE,
        "server key": SERVER.public.hex(),
        "server secret": SERVER_SECRET.hex(),
        "client key": CLIENT.public.hex(),
        "psk": PSK.hex(),
    }
    extra = {key.replace("_", " "): value for key, value in headers.items()}
    return Vector(name, common | extra, packet)


def success(name: str, comment: str, request: Request, **headers: str) -> Vector:
    """Make a datagram as a client does, and say all that is needed to repeat it."""
    spare = headers.pop("spare", "")
    random = randomness(name)[:32] + (bytes.fromhex(spare) or randomness(name)[32:])
    packet = seal(request, ClientKeys(CLIENT_SECRET, SERVER.public, PSK), random)
    opened = open_datagram(packet, ServerKeys(SERVER_SECRET), lambda _: PSK)
    return vector(
        name,
        headers.pop("expect", "success"),
        comment,
        packet,
        **headers,
        client_secret=CLIENT_SECRET.hex(),
        randomness=random.hex(),
        request=spell(request),
        handshake_hash=opened.identity.hex(),
    )


def spell(request: Request) -> str:
    """Spell a request as one line of JSON."""
    address = str(ip_address(request.address)) if request.address else ""
    fields = request._asdict() | {"address": address}
    return dumps(fields, separators=(", ", ": "))


def randomness(name: str) -> bytes:
    """Return the 33 bytes that the datagram of this file consumes."""
    return blake2b(name.encode(), digest_size=33).digest()


def access(rest: bytes = b"", **changes: Any) -> bytes:
    """Pack a payload of the access class: valid but for `changes` and `rest`."""
    return _pack(ACCESS_SIZE, rest, {"protocol": 6, "port": 22} | changes)


def command(*arguments: bytes, rest: bytes | None = None, **changes: Any) -> bytes:
    """Pack a payload of the command class: valid but for `changes`, or `rest`."""
    spelled = b"".join(len(word).to_bytes(2, "big") + word for word in arguments)
    rest = spelled if rest is None else rest
    return _pack(COMMAND_SIZE, rest, {"flags": 1, "length": len(rest)} | changes)


def _pack(size: int, rest: bytes, changes: dict[str, Any]) -> bytes:
    fields = {
        "version": 1,
        "flags": 0,
        "time": NOW,
        "protocol": 0,
        "family": 0,
        "port": 0,
        "source_port": 0,
        "lifetime": 0,
        "address": bytes(16),
        "length": 0,
    }
    return (_FIELDS.pack(*(fields | changes).values()) + rest).ljust(size, b"\0")


class Sealed(NamedTuple):
    """The Noise message, before the gate is put around it."""

    ephemeral: bytes
    static: bytes
    payload: bytes

    def flip(self, field: str, bit: int) -> "Sealed":
        """Return the message with one bit of one field changed."""
        return self._replace(**{field: flip(getattr(self, field), bit)})

    def datagram(self, gate: Gate | None = None) -> bytes:
        """Put a tag and a mac around it that are right, whatever is inside."""
        gate = gate or Gate(SERVER.public)
        body = gate.tag(self.ephemeral) + b"".join(self)
        return body + gate.mac(body)


def message(
    name: str,
    payload: bytes,
    *,
    prologue: bytes = PROLOGUE,
    static: PrivateKey = CLIENT,
    ephemeral: PrivateKey | None = None,
    spelling: bytes = b"",
    responder: bytes = SERVER.public,
    psk: bytes = PSK,
) -> Sealed:
    """Write a first message with any of its inputs exchanged."""
    ephemeral = ephemeral or PrivateKey(randomness(name)[:32])
    written = write_first_message(
        prologue=prologue,
        static=static,
        ephemeral=ephemeral,
        ephemeral_spelling=spelling or ephemeral.public,
        responder=responder,
        psk=psk,
        payload=payload,
        encrypt=encrypt,
    )
    return Sealed(written.ephemeral, written.static, written.payload)


def flip(data: bytes, bit: int) -> bytes:
    """Change one bit; bit 0 is the lowest of the first byte."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
