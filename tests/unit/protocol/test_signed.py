"""Requests inside of OpenPGP messages: sections 5.5 and 5.6, and nothing of gpg."""

from pathlib import Path

import pytest
from vectors.generate.common import (
    CLIENT,
    CLIENT_SECRET,
    NOW,
    OTHER_SERVER,
    PSK,
    SERVER,
    SERVER_SECRET,
    randomness,
)

from spassh.protocol.errors import Malformed, PacketError, Unauthentic
from spassh.protocol.limits import MAX_MESSAGE, MAX_TEXT
from spassh.protocol.opening import Opened, ServerKeys, open_datagram
from spassh.protocol.packet import ClientKeys, ephemeral_spelling, seal_payload
from spassh.protocol.request import Request
from spassh.protocol.signed import (
    Signed,
    decode_signed,
    decode_text,
    encode_signed,
    encode_text,
    is_signed,
)

KEYS = ServerKeys(SERVER_SECRET)
EPHEMERAL = bytes(range(160, 192))
ACCESS = Request(NOW, 6, 22, source_port=40_000)
COMMAND = Request(NOW, command=("ls", "", "é"))
LONGEST = Request(NOW, command=("x" * 1044,))
TEXT = encode_text(ACCESS, SERVER.public, EPHEMERAL)


def sealed(payload: bytes, random: bytes) -> bytes:
    return seal_payload(payload, ClientKeys(CLIENT_SECRET, SERVER.public, PSK), random)


def opened(datagram: bytes) -> Opened:
    return open_datagram(datagram, KEYS, lambda _: PSK)


def test_a_text_is_spelled_byte_by_byte_as_the_specification_says() -> None:
    request = Request(time=1, command=("ls", "é"))
    expected = (
        b"spassh gnupg 1\0\0"
        + SERVER.public
        + EPHEMERAL
        + bytes.fromhex("01 01 0000000000000001")
        + bytes(26)
        + b"\0\x08\0\2ls\0\2\xc3\xa9"
    )
    assert encode_text(request, SERVER.public, EPHEMERAL) == expected
    assert decode_text(expected, SERVER.public, EPHEMERAL) == request


def test_the_text_in_the_specification_is_what_is_signed() -> None:
    """Section 5.6 has it for the server and the time of the worked example."""
    path = Path(__file__).parents[3] / "docs" / "PROTOCOL.md"
    section = path.read_text(encoding="utf-8").partition("### 5.6 ")[2]
    example = bytes.fromhex(section.split("```\n")[3])
    text = encode_text(Request(NOW, 6, 22), SERVER.public, EPHEMERAL)
    assert example == text


def test_a_payload_is_spelled_byte_by_byte_as_the_specification_says() -> None:
    payload = encode_signed(0x0102030405060708, b"openpgp")
    assert payload == bytes.fromhex("01 02 0102030405060708 0007") + b"openpgp".ljust(
        1072, b"\0"
    )
    assert is_signed(payload)
    assert decode_signed(payload) == (0x0102030405060708, b"openpgp")


@pytest.mark.parametrize("request_", [ACCESS, COMMAND, LONGEST])
def test_what_is_signed_is_what_is_read(request_: Request) -> None:
    text = encode_text(request_, SERVER.public, EPHEMERAL)
    assert len(text) <= MAX_TEXT
    assert decode_text(text, SERVER.public, EPHEMERAL) == request_


def test_a_text_for_another_server_is_refused() -> None:
    with pytest.raises(Unauthentic, match="another server or datagram"):
        decode_text(TEXT, OTHER_SERVER.public, EPHEMERAL)


def test_a_text_of_another_datagram_is_refused() -> None:
    with pytest.raises(Unauthentic, match="another server or datagram"):
        decode_text(TEXT, SERVER.public, bytes(32))


@pytest.mark.parametrize(
    "text",
    [TEXT, encode_text(COMMAND, SERVER.public, EPHEMERAL)],
    ids=["access", "run"],
)
def test_no_mutation_of_a_text_is_the_same_request(text: bytes) -> None:
    """Bits are flipped, ends cut off or added: another request, or a PacketError."""
    wanted = decode_text(text, SERVER.public, EPHEMERAL)
    mutations = [text[:size] for size in range(len(text))]
    mutations += [text[size:] for size in range(1, len(text) + 1)]
    mutations += [text + bytes(size) for size in (1, 2, 38, 1200)]
    for bit in range(8 * len(text)):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        mutations.append(bytes(changed))
    read = []
    for one in mutations:
        try:
            read.append(decode_text(one, SERVER.public, EPHEMERAL))
        except PacketError:
            continue
    assert read  # Another port or time is a request as well.
    assert wanted not in read
    assert len(set(read)) == len(read)


def test_no_mutation_of_a_payload_is_anything_but_a_packet_error() -> None:
    payload = encode_signed(NOW, b"m" * 40)
    used = len(payload.rstrip(b"\0"))
    # In the padding, which has to be nothing, another bit of each byte.
    padding = range(used, len(payload))
    bits = (*range(8 * used), *(8 * at + at % 8 for at in padding))
    read = set()
    for bit in bits:
        changed = bytearray(payload)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = opened(sealed(bytes(changed), randomness("flip")))
        except PacketError:
            continue
        read.add((found.request, found.signed and found.signed.message))
    # Another time or another message: no other bit may differ.
    assert len(read) >= 63 + 8 * 40
    assert (Request(NOW), b"m" * 40) not in read


@pytest.mark.parametrize("message", [b"", b"m" * (MAX_MESSAGE + 1)])
def test_a_message_that_does_not_fit_has_no_spelling(message: bytes) -> None:
    with pytest.raises(Malformed, match="message length"):
        encode_signed(NOW, message)


@pytest.mark.parametrize("time", [-1, 1 << 63])
def test_a_time_that_is_none_has_no_spelling(time: int) -> None:
    with pytest.raises(Malformed, match="time"):
        encode_signed(time, b"m")


def test_the_largest_message_fits_the_datagram() -> None:
    datagram = sealed(encode_signed(NOW, b"m" * MAX_MESSAGE), randomness("large"))
    assert len(datagram) == 1200
    signed = opened(datagram).signed
    assert signed is not None
    assert signed.message == b"m" * MAX_MESSAGE


def test_a_datagram_says_its_sender_its_time_and_its_message() -> None:
    random = randomness("signed")
    found = opened(sealed(encode_signed(NOW, b"m"), random))
    assert found.client == CLIENT.public
    assert found.request == Request(NOW)
    assert found.signed == Signed(b"m", ephemeral_spelling(random))


def test_the_spelling_of_the_ephemeral_key_has_its_spare_bit() -> None:
    random = randomness("signed")[:32]
    bits = {ephemeral_spelling(random + bytes([last]))[-1] >> 7 for last in (0, 255)}
    assert bits == {0, 1}


def test_randomness_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="33 bytes"):
        ephemeral_spelling(bytes(32))
