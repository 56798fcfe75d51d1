"""Its results are checked in tests/vectors/test_noise_vectors.py."""

from spassh.protocol.halfsiphash import halfsiphash

KEY = bytes(range(8))


def test_every_byte_of_the_key_counts() -> None:
    results = {
        halfsiphash(KEY[:at] + b"\xff" + KEY[at + 1 :], bytes(8)) for at in range(8)
    }
    assert len(results | {halfsiphash(KEY, bytes(8))}) == 9


def test_every_byte_of_the_message_counts() -> None:
    message = bytes(8)
    results = {
        halfsiphash(KEY, message[:at] + b"\x01" + message[at + 1 :]) for at in range(8)
    }
    assert len(results | {halfsiphash(KEY, message)}) == 9


def test_the_length_of_the_message_counts() -> None:
    assert len({halfsiphash(KEY, bytes(size)) for size in range(257)}) == 257
