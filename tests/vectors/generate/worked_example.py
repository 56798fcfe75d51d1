"""The worked example of PROTOCOL.md section 10: each value on the way to a datagram.

It is the vector access_ipv4_source, computed step by step as section 4 tells it.
`PYTHONPATH=.:tests python -m vectors.generate.worked_example` prints it.
"""

from spassh.protocol.crypto import PrivateKey, encrypt
from spassh.protocol.hashing import blake2s, expand
from spassh.protocol.invite import Invite, encode_invite
from spassh.protocol.keys import PSK as PSK_PREFIX
from spassh.protocol.keys import PUBLIC, SECRET, encode_key
from spassh.protocol.noise import PROTOCOL_NAME
from spassh.protocol.packet import PROLOGUE, Gate
from spassh.protocol.sealed_invite import seal_invite

from .common import (
    CLIENT,
    CLIENT_SECRET,
    PSK,
    SERVER,
    SERVER_SECRET,
    access,
    randomness,
)

_LABEL = 18


PASSPHRASE = "correct horse battery staple"  # noqa: S105 - it is in PROTOCOL.md
SALT = bytes(range(96, 112))


def _hash(*data: bytes) -> bytes:
    return blake2s(b"".join(data)).digest()


def packet() -> tuple[list[tuple[str, bytes]], bytes]:
    """Return each step's name and value, and the datagram."""
    random = randomness("access_ipv4_source")[:32] + b"\xc5"
    payload = access()
    steps = [
        ("server secret", SERVER_SECRET),
        ("S", SERVER.public),
        ("client secret c", CLIENT_SECRET),
        ("C", CLIENT.public),
        ("psk", PSK),
        ("randomness", random),
        ("payload", payload),
    ]

    def step(label: str, value: bytes) -> bytes:
        steps.append((label, value))
        return value

    secret = PrivateKey(random[:32])
    step("X25519(x, 9)", secret.public)
    top = secret.public[31] | random[32] & 0x80
    e = step("e", secret.public[:31] + bytes([top]))
    h = ck = step("h0 = ck0", _hash(PROTOCOL_NAME))
    h = step("h1", _hash(h, PROLOGUE))
    h = step("h2", _hash(h, SERVER.public))
    h = step("h3", _hash(h, e))
    ck, k = expand(ck, e, 2)
    step("ck1", ck)
    es = step("es", secret.exchange(SERVER.public))
    ck, k = expand(ck, es, 2)
    step("ck2", ck)
    step("k2", k)
    static = step("encrypted C", encrypt(k, h, CLIENT.public))
    h = step("h4", _hash(h, static))
    ss = step("ss", CLIENT.exchange(SERVER.public))
    ck, k = expand(ck, ss, 2)
    step("ck3", ck)
    ck, extra, k = expand(ck, PSK, 3)
    step("ck4", ck)
    step("t4", extra)
    step("k4", k)
    h = step("h5", _hash(h, extra))
    sealed = step("encrypted payload", encrypt(k, h, payload))
    step("h6 (identity)", _hash(h, sealed))
    gate = Gate(SERVER.public)
    step("tag key", gate.tag_key)
    tag = step("tag", gate.tag(e))
    step("mac key", gate.mac_key)
    body = tag + e + static + sealed
    mac = step("mac", gate.mac(body))
    return steps, step("datagram", body + mac)


def texts() -> list[str]:
    """Return the keys above, and invites with them, in their text forms."""
    invite = Invite(
        "alice", "host.example", 62201, SERVER.public, PSK, CLIENT.public, b""
    )
    return [
        encode_key(PUBLIC, SERVER.public),
        encode_key(SECRET, CLIENT_SECRET),
        encode_key(PSK_PREFIX, PSK),
        encode_invite(invite),
        encode_invite(invite._replace(secret=CLIENT_SECRET)),
        seal_invite(invite._replace(secret=CLIENT_SECRET), PASSPHRASE, SALT),
    ]


def text() -> str:
    """Return the lines between the fences of section 10."""
    lines = []
    for label, value in packet()[0]:
        spelled = value.hex()
        for at in range(0, len(spelled), 64):
            row = spelled[at : at + 64]
            lines.append(f"{'' if at else label:{_LABEL}}{row}")
    return "\n".join([*lines, "", *texts(), ""])


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - its output is pasted into PROTOCOL.md
