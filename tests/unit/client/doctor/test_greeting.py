"""The first words of sshd, and our last ones."""

from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spassh.verbs.doctor.greeting import MAX_BYTES, farewell, find_greeting


@pytest.mark.parametrize(
    ("data", "greeting"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "SSH-2.0-OpenSSH_9.2p1"),
        (b"SSH-2.0-x\nmore", "SSH-2.0-x"),
        (b"Welcome!\r\nSSH-2.0-x\r\n", "SSH-2.0-x"),
        (b"SSH-2.0-\xff\n", "SSH-2.0-\ufffd"),
        (b"SSH-2.0-" + b"x" * 500 + b"\n", "SSH-2.0-" + "x" * 247),
        (b"", None),
        (b"SSH-2.0-not-yet", None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None),
        (b"x" * MAX_BYTES, ""),
        (b"x\n" * (MAX_BYTES // 2), ""),
    ],
)
def test_a_greeting_is_found_or_more_has_to_come(
    data: bytes, greeting: str | None
) -> None:
    assert find_greeting(data) == greeting


@given(st.text(max_size=60))
def test_the_farewell_is_a_packet_as_the_rfc_has_it(reason: str) -> None:
    """RFC 4253 section 6: without a cipher, a multiple of 8, and padding from 4 on."""
    greeting, _, packet = farewell(reason).partition(b"\r\n")
    assert greeting == b"SSH-2.0-spassh"
    length, padding = unpack("!IB", packet[:5])
    assert length == len(packet) - 4
    assert len(packet) % 8 == 0
    assert 4 <= padding < 12
    payload = packet[5 : len(packet) - padding]
    kind, code, size = unpack("!BII", payload[:9])
    assert (kind, code) == (1, 11)
    assert payload[9 : 9 + size].decode() == reason
    assert payload[9 + size :] == bytes(4)
