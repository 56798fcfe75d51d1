"""What others computed: Noise from cacophony, HalfSipHash from its authors."""

import json
from hashlib import blake2s
from pathlib import Path

import pytest

from spassh.protocol import crypto, primitives
from spassh.protocol.crypto import PrivateKey, decrypt
from spassh.protocol.halfsiphash import halfsiphash
from spassh.protocol.noise import (
    PROTOCOL_NAME,
    read_first_message,
    write_first_message,
)

CHECKOUT = Path(__file__).parents[2]
NOISE = CHECKOUT.parent / "shared" / "vectors" / "noise.json"

# Key 00 01 ... 07, message 00 01 ... of 0 to 8 bytes.
HALFSIPHASH = (
    "a9359f5b",
    "27475ab8",
    "fa62a603",
    "8afee704",
    "2a6e4689",
    "c5fab669",
    "5863fc23",
    "8bcf63c5",
    "d0b8848f",
)


class IKpsk1:
    """The vector of our protocol, and its first message cut into its fields."""

    def __init__(self) -> None:
        vectors = json.loads(NOISE.read_text(encoding="utf-8"))["vectors"]
        name = PROTOCOL_NAME.decode()
        (self._fields,) = [each for each in vectors if each["protocol_name"] == name]
        first = self._fields["messages"][0]
        message = bytes.fromhex(first["ciphertext"])
        self.payload = bytes.fromhex(first["payload"])
        self.ephemeral, self.static = message[:32], message[32:80]
        self.sealed_payload = message[80:]
        self.second = bytes.fromhex(self._fields["messages"][1]["ciphertext"])
        (self.psk,) = [bytes.fromhex(psk) for psk in self._fields["init_psks"]]

    def __getitem__(self, field: str) -> bytes:
        return bytes.fromhex(self._fields[field])


def hash_after_second(first: bytes, message: bytes) -> bytes:
    """Go on from our hash to the one in the vector, which takes no key."""
    ephemeral = blake2s(first + message[:32]).digest()
    return blake2s(ephemeral + message[32:]).digest()


@pytest.fixture(name="vector")
def _vector() -> IKpsk1:
    if not NOISE.exists():
        pytest.skip(f"{NOISE} is not there: the cacophony vectors are not ours to ship")
    return IKpsk1()


@pytest.mark.parametrize("by", [crypto, primitives.fastest])
def test_the_first_message_of_cacophony_is_written(
    vector: IKpsk1, by: "primitives.Primitives"
) -> None:
    ephemeral = by.PrivateKey(vector["init_ephemeral"])
    written = write_first_message(
        prologue=vector["init_prologue"],
        static=by.PrivateKey(vector["init_static"]),
        ephemeral=ephemeral,
        ephemeral_spelling=ephemeral.public,
        responder=vector["init_remote_static"],
        psk=vector.psk,
        payload=vector.payload,
        encrypt=by.encrypt,
    )
    assert vector.ephemeral == written.ephemeral
    assert vector.static == written.static
    assert vector.sealed_payload == written.payload
    assert vector["handshake_hash"] == hash_after_second(written.hash, vector.second)


def test_the_first_message_of_cacophony_is_read(vector: IKpsk1) -> None:
    client = PrivateKey(vector["init_static"]).public
    static = PrivateKey(vector["resp_static"])
    read = read_first_message(
        prologue=vector["resp_prologue"],
        static=static,
        shared=static.exchange,
        find_psk=lambda public: vector.psk if public == client else b"",
        ephemeral=vector.ephemeral,
        sealed_static=vector.static,
        sealed_payload=vector.sealed_payload,
        decrypt=decrypt,
    )
    assert client == read.client
    assert vector.payload == read.payload
    assert vector["handshake_hash"] == hash_after_second(read.hash, vector.second)


@pytest.mark.parametrize("size", range(9))
def test_halfsiphash_is_what_its_authors_compute(size: int) -> None:
    key = bytes(range(8))
    assert HALFSIPHASH[size] == halfsiphash(key, bytes(range(size))).hex()
