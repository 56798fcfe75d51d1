"""What libfko makes we open, and back: the C code behind every program of fwknop 2."""

import os
import random
from itertools import product

import pytest
from lab.fwknop import MISSING, WHY, FkoError, Library

from spassh.protocol.errors import PacketError
from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.limits import LEAST
from spassh.protocol.fwknop.message import (
    COMMAND,
    WITH_TARGET,
    WITH_TIMEOUT,
    Message,
)
from spassh.protocol.fwknop.opening import open_packet
from spassh.protocol.fwknop.packet import seal
from spassh.protocol.fwknop.values import (
    encode_address,
    encode_port,
    encode_target,
)

pytestmark = pytest.mark.skipif(MISSING, reason=WHY)

PACKETS = 1000

ACCESS = Message("1234567890123456", "alice", 1_700_000_000, 1, b"", ((6, 22),))


@pytest.fixture(scope="module")
def libfko() -> Library:
    return Library()


def spelled(message: Message) -> tuple[str, str]:
    """Return the message and the NAT access as libfko has them."""
    rest = message.command or ",".join(map(encode_port, message.ports))
    nat = encode_target(message.target) if message.target is not None else ""
    return f"{encode_address(message.address)},{rest}", nat


def any_keys(chance: random.Random) -> Keys:
    # A key in C that is a passphrase has no NUL, and that in base64 may have some.
    hmac = chance.randbytes(chance.choice((0, 1, 32, 64, 128)))
    key = chance.randbytes(chance.randint(1, 32))
    return Keys(key, hmac, chance.choice([*DIGESTS]), legacy=False)


def any_message(chance: random.Random) -> Message:
    kind = chance.randrange(7)
    address = chance.choice((b"", chance.randbytes(3) + b"\1"))
    message = ACCESS._replace(
        rand=f"{chance.randrange(10**16):016}",
        user=chance.choice(("u", "alice", "a.long-user_name@host with blanks")),
        time=chance.randrange(1 << 31),
        type=kind,
        address=address,
    )
    if kind == COMMAND:
        line = "/bin/echo " + "".join(chance.choices("ab 'x;|\"$", k=20))
        return message._replace(ports=(), command=line)
    ports = [(chance.choice((6, 17)), chance.randint(1, 65535)) for _ in range(2)]
    message = message._replace(ports=tuple(ports[: chance.randint(1, 2)]))
    if kind in WITH_TARGET:
        host = chance.choice(("10.0.0.5", "inner.example"))
        message = message._replace(target=(host, chance.randint(1, 65535)))
    if kind in WITH_TIMEOUT:
        message = message._replace(timeout=chance.randint(1, 65536))
    return message


def test_libfko_opens_what_we_make(libfko: Library) -> None:
    chance = random.Random(1)
    opened = 0
    while opened < PACKETS:
        message, keys = any_message(chance), any_keys(chance)
        digest = chance.choice([*DIGESTS])
        try:
            payload = seal(message, keys, chance.randbytes(8), digest)
        except PacketError:
            continue  # Longer than libfko takes.
        text, nat = spelled(message)
        fields = libfko.open(payload, keys)
        assert fields == (
            message.user,
            message.time,
            message.type,
            text,
            nat,
            message.timeout,
        )
        opened += 1


def test_we_open_what_libfko_makes(libfko: Library) -> None:
    chance = random.Random(2)
    opened = 0
    identities = set()
    while opened < PACKETS:
        message, keys = any_message(chance), any_keys(chance)
        keys = keys._replace(legacy=not keys.hmac and chance.random() < 0.5)
        if keys.legacy:
            keys = keys._replace(encryption=keys.encryption[:16])
        text, nat = spelled(message)
        try:
            payload = libfko.make(message, text, nat, keys, chance.choice([*DIGESTS]))
        except FkoError:
            continue  # Longer than it can send.
        if len(payload) < LEAST:
            continue
        found = open_packet(payload, [keys])
        assert found.message == message._replace(
            rand=found.message.rand, time=found.message.time
        )
        identities.add(found.identity)
        opened += 1
    assert len(identities) == PACKETS


def test_every_digest_goes_with_every_hmac_and_key_in_both_directions(
    libfko: Library,
) -> None:
    text, _ = spelled(ACCESS)
    for digest, hmac, key, legacy in product(
        DIGESTS, ["", *DIGESTS], [b"a passphrase", bytes(range(16))], [False, True]
    ):
        keys = Keys(key, b"hmac\0key" if hmac else b"", hmac or "sha256", legacy)
        payload = libfko.make(ACCESS, text, "", keys, digest)
        assert open_packet(payload, [keys]).message.ports == ACCESS.ports
        ours = seal(ACCESS, keys, os.urandom(8), digest)
        assert libfko.open(ours, keys).message == text


def test_libfko_is_lax_where_we_are_not(libfko: Library) -> None:
    """The reason for one spelling: each of these would open the port once more."""
    keys = Keys(b"key")
    payload = seal(ACCESS, keys, bytes(8))
    assert (len(payload) + 10) % 4
    text, _ = spelled(ACCESS)
    spare = payload[:-1] + bytes([payload[-1] + 1])
    for other in (payload + b"=", payload + b"==", payload + b"=AAAA", spare):
        assert libfko.open(other, keys).message == text
        with pytest.raises(PacketError):
            open_packet(other, [keys])
