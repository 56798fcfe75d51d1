import hmac

import pytest

from spassh.protocol.hashing import blake2s, expand


def test_the_hash_is_blake2s_of_rfc_7693() -> None:
    expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    assert expected == blake2s(b"abc").hexdigest()


@pytest.mark.parametrize("outputs", [2, 3])
def test_keys_are_derived_as_noise_says(outputs: int) -> None:
    chaining_key, material = bytes(range(32)), bytes(range(32, 64))
    secret = hmac.digest(chaining_key, material, "blake2s256")
    expected = [b""]
    for number in range(1, outputs + 1):
        chunk = expected[-1] + bytes([number])
        expected.append(hmac.digest(secret, chunk, "blake2s256"))
    assert expected[1:] == expand(chaining_key, material, outputs)
