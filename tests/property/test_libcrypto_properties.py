"""OpenSSL's library and `cryptography` compute the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors.strategies import keys32, repeatable

from spassh.protocol import crypto
from spassh.protocol.errors import Unauthentic

libcrypto = pytest.importorskip(
    "spassh.protocol.libcrypto", reason="OpenSSL 3 is not on this system"
)


@repeatable
@given(keys32, keys32)
def test_keys_and_exchanges_are_the_same(secret: bytes, public: bytes) -> None:
    one, other = libcrypto.PrivateKey(secret), crypto.PrivateKey(secret)
    assert one.public == other.public
    try:
        shared = other.exchange(public)
    except Unauthentic as error:
        with pytest.raises(Unauthentic, match=f"^{error}$"):
            one.exchange(public)
    else:
        assert one.exchange(public) == shared


@repeatable
@given(keys32, st.binary(max_size=1200), st.binary(max_size=1200))
def test_what_is_encrypted_is_the_same(
    key: bytes, associated: bytes, plain: bytes
) -> None:
    sealed = libcrypto.encrypt(key, associated, plain)
    assert sealed == crypto.encrypt(key, associated, plain)
    assert crypto.decrypt(key, associated, sealed) == plain
