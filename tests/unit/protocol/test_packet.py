from hashlib import blake2b, blake2s

import pytest
from vectors.generate.common import CLIENT_SECRET, PSK, SERVER

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import Malformed, Unauthentic
from spassh.protocol.halfsiphash import halfsiphash
from spassh.protocol.packet import ClientKeys, Gate, seal, split
from spassh.protocol.request import Request

KEYS = ClientKeys(CLIENT_SECRET, SERVER.public, PSK)
ACCESS = Request(time=1, protocol=6, port=22)
COMMAND = Request(time=1, command=("w",))


def randomness(seed: int) -> bytes:
    return blake2b(seed.to_bytes(4, "big"), digest_size=33).digest()


def test_the_gate_keys_follow_from_the_public_key_by_their_labels() -> None:
    tag_key = blake2s(b"spassh 1 tag" + SERVER.public, digest_size=8).digest()
    mac_key = blake2s(b"spassh 1 mac" + SERVER.public).digest()
    gate = Gate(SERVER.public)
    assert gate.tag_key == tag_key
    assert gate.tag(bytes(range(32))) == halfsiphash(tag_key, bytes(range(8)))
    mac = blake2s(b"anything", key=mac_key, digest_size=16).digest()
    assert gate.mac(b"anything") == mac


def test_a_datagram_is_tag_and_handshake_and_mac() -> None:
    for request, size in ((ACCESS, 192), (COMMAND, 1200)):
        datagram = seal(request, KEYS, randomness(0))
        parts = split(datagram)
        assert len(datagram) == size
        assert b"".join(parts) == datagram
        assert [len(part) for part in parts] == [4, 32, 48, size - 100, 16]
        assert parts.tag == Gate(SERVER.public).tag(parts.ephemeral)
        assert parts.mac == Gate(SERVER.public).mac(datagram[:-16])


def test_datagrams_have_no_constant_bit() -> None:
    for request in (ACCESS, COMMAND):
        datagrams = [seal(request, KEYS, randomness(seed)) for seed in range(200)]
        numbers = [int.from_bytes(datagram, "big") for datagram in datagrams]
        ones, zeros = 0, 0
        for number in numbers:
            ones |= number
            zeros |= ~number
        every_bit = (1 << 8 * len(datagrams[0])) - 1
        assert ones == every_bit
        assert zeros & every_bit == every_bit


def test_the_spare_bit_of_the_ephemeral_key_is_set_half_of_the_time() -> None:
    tops = [seal(ACCESS, KEYS, randomness(seed))[35] >> 7 for seed in range(200)]
    assert 70 < sum(tops) < 130


def test_the_spare_bit_is_the_top_bit_of_the_last_random_byte() -> None:
    secret = bytes(range(32))
    public = PrivateKey(secret).public
    clear = [seal(ACCESS, KEYS, secret + bytes([spare])) for spare in (0x00, 0x7F)]
    spelled = [seal(ACCESS, KEYS, secret + bytes([spare])) for spare in (0x80, 0xFF)]
    assert clear[0] == clear[1]
    assert spelled[0] == spelled[1]
    assert split(clear[0]).ephemeral == public
    assert split(spelled[0]).ephemeral == public[:31] + bytes([public[31] | 0x80])


def test_the_size_of_a_datagram_tells_nothing_but_whether_it_has_a_command() -> None:
    widest = Request(1 << 62, 17, 65535, 86400, b"\xff" * 16, 65535)
    longest = Request(1, command=("x" * 1044,))
    assert len(seal(widest, KEYS, randomness(0))) == len(
        seal(ACCESS, KEYS, randomness(0))
    )
    assert len(seal(longest, KEYS, randomness(0))) == len(
        seal(COMMAND, KEYS, randomness(0))
    )


def test_the_same_randomness_makes_the_same_datagram() -> None:
    assert seal(ACCESS, KEYS, randomness(1)) == seal(ACCESS, KEYS, randomness(1))


def test_other_randomness_changes_every_field() -> None:
    one, two = (split(seal(ACCESS, KEYS, randomness(seed))) for seed in (1, 2))
    assert all(a != b for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("size", [0, 32, 34])
def test_randomness_of_another_size_is_a_programming_error(size: int) -> None:
    with pytest.raises(ValueError, match=r"^randomness must be 33 bytes$"):
        seal(ACCESS, KEYS, bytes(size))


def test_a_server_key_of_low_order_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Unauthentic, match="low-order"):
        seal(ACCESS, KEYS._replace(server=bytes(32)), randomness(0))


def test_a_request_that_breaks_a_rule_is_not_sealed() -> None:
    with pytest.raises(Malformed, match="port"):
        seal(ACCESS._replace(port=0), KEYS, randomness(0))


def test_no_secret_and_no_plain_text_is_in_a_datagram() -> None:
    datagram = seal(Request(1, command=("readable",)), KEYS, randomness(0))
    client = PrivateKey(CLIENT_SECRET).public
    for hidden in (CLIENT_SECRET, PSK, client, SERVER.public, b"readable", bytes(8)):
        assert hidden not in datagram
