"""X25519 and ChaCha20-Poly1305 from OpenSSL's own library, by ctypes.

The `cryptography` library calls the same code, but takes 15 to 90 ms more to load
(ADR 0024). A client that knocks needs no more than this: nothing is decrypted here.

To import this module fails with ImportError where the library is missing, is another
one, or refuses these algorithms, as it may in FIPS mode. `primitives` is where it is
imported, and knows what to do then.

Each function makes what it needs of OpenSSL's objects, and frees them before it
returns: no pointer outlives a call, and OpenSSL keeps none of ours. C checks neither
types nor sizes, so ctypes is told every type, and every size is checked here.
"""

from __future__ import annotations

from ctypes import (
    CDLL,
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_ubyte,
    c_void_p,
)

# Only glibc has it, and without it this module is not for the system.
from os import RTLD_DEEPBIND

from .errors import Unauthentic
from .limits import AEAD_TAG_SIZE, COMMAND_DATAGRAM, KEY_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LibcryptoError", "PrivateKey", "encrypt"]

_NAME = "libcrypto.so.3"
"""OpenSSL 3. Under this name its functions stay as they are."""

# Noise section 5.1: a key encrypts once in this handshake, so its counter stays zero.
_NONCE = bytes(12)
_GET_TAG = 0x10  # EVP_CTRL_AEAD_GET_TAG of openssl/evp.h


class LibcryptoError(Exception):
    """A function of OpenSSL failed; the message is its name."""


class _Key(c_void_p):
    """EVP_PKEY *. Four types, so that ctypes refuses one for another."""


class _KeyContext(c_void_p):
    """EVP_PKEY_CTX *."""


class _Cipher(c_void_p):
    """const EVP_CIPHER *."""


class _CipherContext(c_void_p):
    """EVP_CIPHER_CTX *."""


# ctypes takes bytes as a c_char_p, which C must not write to: const unsigned char *.
# As POINTER(c_ubyte) it takes an array of ours and no bytes: unsigned char *. A plain
# c_void_p is for what is always NULL here.
_IN, _OUT = c_char_p, POINTER(c_ubyte)
_OUT_INT, _OUT_SIZE = POINTER(c_int), POINTER(c_size_t)
_NEW_RAW_KEY = (_Key, c_void_p, c_char_p, c_char_p, _IN, c_size_t)
_DECLARATIONS: dict[str, tuple[Any, ...]] = {
    "EVP_PKEY_new_raw_private_key_ex": _NEW_RAW_KEY,
    "EVP_PKEY_new_raw_public_key_ex": _NEW_RAW_KEY,
    "EVP_PKEY_get_raw_public_key": (c_int, _Key, _OUT, _OUT_SIZE),
    "EVP_PKEY_free": (None, _Key),
    "EVP_PKEY_CTX_new_from_pkey": (_KeyContext, c_void_p, _Key, c_char_p),
    "EVP_PKEY_derive_init": (c_int, _KeyContext),
    "EVP_PKEY_derive_set_peer": (c_int, _KeyContext, _Key),
    "EVP_PKEY_derive": (c_int, _KeyContext, _OUT, _OUT_SIZE),
    "EVP_PKEY_CTX_free": (None, _KeyContext),
    "EVP_chacha20_poly1305": (_Cipher,),
    "EVP_CIPHER_CTX_new": (_CipherContext,),
    "EVP_EncryptInit_ex2": (c_int, _CipherContext, _Cipher, _IN, _IN, c_void_p),
    "EVP_EncryptUpdate": (c_int, _CipherContext, _OUT, _OUT_INT, _IN, c_int),
    "EVP_EncryptFinal_ex": (c_int, _CipherContext, _OUT, _OUT_INT),
    "EVP_CIPHER_CTX_ctrl": (c_int, _CipherContext, c_int, c_int, _OUT),
    "EVP_CIPHER_CTX_free": (None, _CipherContext),
    "ERR_clear_error": (None,),
}
"""Result and arguments of each function, as openssl/evp.h and err.h declare them."""


def _load() -> CDLL:
    """Return the library, with all of its functions declared.

    Raises:
        ImportError: it is not there, or one of them is not.
    """
    try:
        # A Python that has an OpenSSL of its own inside may export the same names, and
        # then the library would call functions of another version instead of its own.
        library = CDLL(_NAME, RTLD_DEEPBIND)
        for name, (result, *arguments) in _DECLARATIONS.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = result
            if result is not None:
                function.errcheck = _checked
    except (OSError, AttributeError) as error:
        raise ImportError(f"{_NAME}: {error}") from error
    return library


def _checked(result: Any, function: Any, _: object) -> Any:
    """Return what a function returned, which is 1 or a pointer that is not NULL.

    ctypes calls this after each call of OpenSSL, so none can go unchecked.

    Raises:
        LibcryptoError: it is something else.
    """
    if not result or (type(result) is int and result != 1):
        _lib.ERR_clear_error()
        raise LibcryptoError(function.__name__)
    return result


_lib = _load()


class PrivateKey:
    """An X25519 secret of 32 bytes and the public key that belongs to it."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """Take the 32 secret bytes; clamping is OpenSSL's (RFC 7748 section 5)."""
        self._secret = secret
        public, size = (c_ubyte * KEY_SIZE)(), c_size_t(KEY_SIZE)
        key = _open(_lib.EVP_PKEY_new_raw_private_key_ex, secret)
        try:
            _lib.EVP_PKEY_get_raw_public_key(key, public, byref(size))
        finally:
            _lib.EVP_PKEY_free(key)
        _check_written(size.value, KEY_SIZE)
        self.public = bytes(public)

    def exchange(self, public: bytes) -> bytes:
        """Return the 32-byte shared secret with `public`, whose bit 255 is ignored.

        Raises:
            Unauthentic: the result is all zero, so `public` is of low order.
        """
        shared, size = (c_ubyte * KEY_SIZE)(), c_size_t(KEY_SIZE)
        mine = theirs = context = None  # NULL, which may be freed.
        try:
            mine = _open(_lib.EVP_PKEY_new_raw_private_key_ex, self._secret)
            theirs = _open(_lib.EVP_PKEY_new_raw_public_key_ex, public)
            context = _lib.EVP_PKEY_CTX_new_from_pkey(None, mine, None)
            _lib.EVP_PKEY_derive_init(context)
            _lib.EVP_PKEY_derive_set_peer(context, theirs)
            try:
                _lib.EVP_PKEY_derive(context, shared, byref(size))
            except LibcryptoError as error:
                raise Unauthentic("low-order point") from error
        finally:
            _lib.EVP_PKEY_CTX_free(context)
            _lib.EVP_PKEY_free(theirs)
            _lib.EVP_PKEY_free(mine)
        _check_written(size.value, KEY_SIZE)
        return bytes(shared)


def encrypt(key: bytes, associated: bytes, plain: bytes) -> bytes:
    """Seal `plain` under the 32-byte `key`: 16 bytes longer than it was."""
    _check_size(key, KEY_SIZE, KEY_SIZE)
    # Before a length is told as a C int: ctypes would cut it off, not complain.
    _check_size(associated, 0, COMMAND_DATAGRAM)
    _check_size(plain, 0, COMMAND_DATAGRAM)
    sealed, tag = (c_ubyte * len(plain))(), (c_ubyte * AEAD_TAG_SIZE)()
    written = c_int(0)
    context = _lib.EVP_CIPHER_CTX_new()
    try:
        cipher = _lib.EVP_chacha20_poly1305()
        _lib.EVP_EncryptInit_ex2(context, cipher, key, _NONCE, None)
        _lib.EVP_EncryptUpdate(
            context, None, byref(written), associated, len(associated)
        )
        _lib.EVP_EncryptUpdate(context, sealed, byref(written), plain, len(plain))
        _check_written(written.value, len(plain))
        # A stream cipher has nothing left to write; there is room for more, though.
        _lib.EVP_EncryptFinal_ex(context, tag, byref(written))
        _check_written(written.value, 0)
        _lib.EVP_CIPHER_CTX_ctrl(context, _GET_TAG, AEAD_TAG_SIZE, tag)
    finally:
        _lib.EVP_CIPHER_CTX_free(context)
    return bytes(sealed) + bytes(tag)


def _open(function: Any, key: bytes) -> _Key:
    """Make an EVP_PKEY of 32 bytes. Whoever calls this has to free it."""
    _check_size(key, KEY_SIZE, KEY_SIZE)
    made: _Key = function(None, b"X25519", None, key, KEY_SIZE)
    return made


def _check_size(data: bytes, least: int, most: int) -> None:
    if not least <= len(data) <= most:
        raise ValueError(f"{len(data)} bytes, and not {least} to {most}")


def _check_written(size: int, expected: int) -> None:
    if size != expected:
        raise LibcryptoError(f"{size} bytes, and not {expected}")


def _prove() -> None:
    """See that it computes: a library that does not is as good as missing.

    Raises:
        ImportError: it refuses, or its results are wrong.
    """
    try:
        # RFC 7748 section 6.1: the public key is what is shared with the point 9.
        pair = PrivateKey(bytes(range(KEY_SIZE)))
        shared = pair.exchange(b"\x09".ljust(KEY_SIZE, b"\0"))
        # RFC 8439 section 2.8 with a key, data and plaintext of nothing but zeros.
        tag = encrypt(bytes(KEY_SIZE), b"", b"")
    except (LibcryptoError, Unauthentic) as error:
        raise ImportError(f"{_NAME}: {error}") from error
    if shared != pair.public or tag.hex() != "4eb972c9a8fb3a1b382bb4d36f5ffad1":
        raise ImportError(f"{_NAME}: wrong results")


_prove()
