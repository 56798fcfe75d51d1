"""AES-256-CBC with the padding of PKCS #7 (RFC 5652 section 6.3)."""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from ..errors import Unauthentic

BLOCK = 16


def encrypt(key: bytes, vector: bytes, plain: bytes) -> bytes:
    """Encrypt `plain`: 1 to 16 bytes longer than it was."""
    pad = BLOCK - len(plain) % BLOCK
    writer = Cipher(AES(key), CBC(vector)).encryptor()
    return writer.update(plain + bytes([pad]) * pad) + writer.finalize()


def decrypt(key: bytes, vector: bytes, sealed: bytes) -> bytes:
    """Decrypt what `encrypt` has made: one block or more, and nothing beside.

    Raises:
        Unauthentic: the padding is wrong, so the key or the bytes are.
    """
    reader = Cipher(AES(key), CBC(vector)).decryptor()
    padded = reader.update(sealed) + reader.finalize()
    pad = padded[-1]
    if not 0 < pad <= BLOCK or padded[-pad:] != bytes([pad]) * pad:
        raise Unauthentic("padding")
    return padded[:-pad]
