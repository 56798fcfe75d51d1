"""Sealed invites a second time, written from docs/PROTOCOL.md section 7 alone."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2s, scrypt
from struct import pack
from unicodedata import normalize

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PREFIX = b"spassh-sealed-1-"


def body(
    user: str, address: str, port: int, server: bytes, psk: bytes, secret: bytes
) -> bytes:
    """Section 7.2, of an invite with a secret key."""
    names = b"".join(bytes([len(one)]) + one.encode() for one in (user, address))
    return b"\1" + pack(">H", port) + server + psk + secret + names


def _key(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    spelled = normalize("NFC", passphrase).encode()
    memory = 256 * 1024 * 1024
    key = scrypt(spelled, salt=salt, n=131072, r=8, p=1, maxmem=memory, dklen=32)
    return ChaCha20Poly1305(key)


def _check(data: bytes) -> bytes:
    return blake2s(PREFIX + data, digest_size=4).digest()


def seal(plain: bytes, passphrase: str, salt: bytes) -> str:
    """Section 7.3."""
    data = salt + _key(passphrase, salt).encrypt(bytes(12), plain, PREFIX)
    return (PREFIX + urlsafe_b64encode(data + _check(data)).rstrip(b"=")).decode()


def unseal(text: str, passphrase: str) -> bytes:
    """Section 7.3, backwards; returns the body."""
    spelled = text.encode().removeprefix(PREFIX)
    data = urlsafe_b64decode(spelled + b"=" * (-len(spelled) % 4))
    data, check = data[:-4], data[-4:]
    if check != _check(data):
        raise ValueError("check")
    return _key(passphrase, data[:16]).decrypt(bytes(12), data[16:], PREFIX)
