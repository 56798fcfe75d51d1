"""Keys of fwknop: their text forms, and what AES gets of them."""

import pytest

from spassh.protocol.errors import TextFormError
from spassh.protocol.fwknop.keys import (
    MAX_HMAC_KEY,
    MAX_KEY,
    Keys,
    derive,
    from_base64,
    from_passphrase,
)


def test_the_key_of_aes_is_the_one_of_the_real_client() -> None:
    key, vector = derive(Keys(bytes(range(32))), bytes.fromhex("56c0857f3dc81a26"))
    assert key.hex() == (
        "751a4e70ed66d861c37290955891b6abc47b0a0d727e88ac3ff04f978f2d9940"
    )
    assert vector.hex() == "b14cfbcdcaa9f86bdf8756df4cf26b3e"


def test_the_key_of_a_legacy_client_is_the_one_of_the_real_client() -> None:
    salt = bytes.fromhex("5ac8376fd91b8b70")
    key, vector = derive(Keys(b"shortpw", legacy=True), salt)
    assert key.hex() == (
        "2737e20d118b1db1c3e1163ca6304c56b42102d90a0939648bc94a3268879435"
    )
    assert vector.hex() == "64c4f05bd0c60c6f6c67f896a7e8c179"


def test_of_a_legacy_key_16_bytes_count() -> None:
    long = Keys(b"0123456789abcdefXYZ", legacy=True)
    short = Keys(b"0123456789abcdef", legacy=True)
    assert derive(long, bytes(8)) == derive(short, bytes(8))
    assert derive(long._replace(legacy=False), bytes(8)) != derive(short, bytes(8))


def test_a_key_in_base64_has_its_padding() -> None:
    assert from_base64("AAECAw==", MAX_KEY) == bytes(range(4))
    assert len(from_base64("QUFB" * 45 + "QQ==", MAX_HMAC_KEY)) == MAX_HMAC_KEY


@pytest.mark.parametrize(
    "text", ["", "AAECAw", "AAECAw=", "AAECAx==", "AA ECAw==", "AAECAw==\n", "\u00e4"]
)
def test_what_is_no_base64_is_refused_and_not_told(text: str) -> None:
    with pytest.raises(TextFormError) as caught:
        from_base64(text, MAX_KEY)
    assert not text or text not in str(caught.value)


def test_a_key_has_at_least_one_byte_and_no_more_than_fwknop_takes() -> None:
    assert from_passphrase("x" * MAX_KEY, MAX_KEY) == b"x" * MAX_KEY
    for text in ("", "x" * (MAX_KEY + 1)):
        with pytest.raises(TextFormError, match="and not 1 to 32"):
            from_passphrase(text, MAX_KEY)
    with pytest.raises(TextFormError, match="has 33 bytes"):
        from_base64("QUFB" * 11, MAX_KEY)
