"""OpenSSL's library beside `cryptography`, and whatever can be wrong with it.

A mistake here would not raise: it would write where it must not. So there are tests of
what is made and freed, and of each argument that is no use.
"""

import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spassh import protocol
from spassh.protocol import crypto, primitives
from spassh.protocol.errors import Unauthentic

libcrypto = pytest.importorskip(
    "spassh.protocol.libcrypto", reason="OpenSSL 3 is not on this system"
)

ROOT = str(Path(__file__).parents[3])
SECRET, PUBLIC = bytes(range(32)), crypto.PrivateKey(bytes(range(1, 33))).public


def test_the_client_takes_it_where_it_is() -> None:
    assert primitives.fastest is libcrypto


def test_what_openssl_says_of_a_bad_key_is_not_left_to_the_next_who_asks() -> None:
    key = libcrypto.PrivateKey(SECRET)
    with pytest.raises(Unauthentic):
        key.exchange(bytes(32))
    assert libcrypto.CDLL("libcrypto.so.3").ERR_peek_error() == 0


def test_what_is_encrypted_is_decrypted_by_the_other() -> None:
    sealed = libcrypto.encrypt(SECRET, b"context", b"plain")
    assert crypto.decrypt(SECRET, b"context", sealed) == b"plain"


OPERATIONS: dict[str, Callable[[], object]] = {
    "key": lambda: libcrypto.PrivateKey(SECRET),
    "exchange": lambda: libcrypto.PrivateKey(SECRET).exchange(PUBLIC),
    "encrypt": lambda: libcrypto.encrypt(SECRET, b"context", b"plain"),
}


# What C would not notice


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: libcrypto.PrivateKey(bytes(size)),
        lambda: libcrypto.PrivateKey(SECRET).exchange(bytes(size)),
        lambda: libcrypto.encrypt(bytes(size), b"", b""),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{size} bytes, and not 32 to 32$"):
            call()


def test_more_than_a_datagram_holds_is_refused() -> None:
    for texts in ((bytes(1201), b""), (b"", bytes(1201))):
        with pytest.raises(ValueError, match=r"^1201 bytes, and not 0 to 1200$"):
            libcrypto.encrypt(SECRET, *texts)


@pytest.mark.parametrize("data", [bytearray(32), memoryview(bytes(32)), "x" * 32, None])
def test_nothing_but_bytes_is_handed_over(data: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: libcrypto.PrivateKey(data),
        lambda: libcrypto.PrivateKey(SECRET).exchange(data),
        lambda: libcrypto.encrypt(data, b"", b""),
        lambda: libcrypto.encrypt(SECRET, data, b""),
        lambda: libcrypto.encrypt(SECRET, b"", data),
    ]
    for call in calls:
        with pytest.raises((TypeError, ctypes.ArgumentError)):
            call()


def test_bytes_are_no_buffer_to_write_to() -> None:
    with pytest.raises(ctypes.ArgumentError):
        libcrypto._lib.EVP_PKEY_get_raw_public_key(None, bytes(32), None)


def test_one_kind_of_pointer_is_not_taken_for_another() -> None:
    cipher = libcrypto._lib.EVP_chacha20_poly1305()
    for name in ("EVP_PKEY_free", "EVP_PKEY_CTX_free", "EVP_CIPHER_CTX_free"):
        with pytest.raises(ctypes.ArgumentError):
            getattr(libcrypto._lib, name)(cipher)


class Short:
    """OpenSSL with one function that writes less than it should."""

    def __init__(self, name: str) -> None:
        self._library = libcrypto._lib
        self._name = name

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            if name == self._name:
                size = arguments[2]._obj
                size.value -= 1
            return result

        return call


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("EVP_PKEY_get_raw_public_key", "31 bytes, and not 32"),
        ("EVP_PKEY_derive", "31 bytes, and not 32"),
        ("EVP_EncryptUpdate", "4 bytes, and not 5"),
        ("EVP_EncryptFinal_ex", "-1 bytes, and not 0"),
    ],
)
def test_a_buffer_that_is_not_full_is_not_used(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libcrypto, "_lib", Short(name))
    operation = OPERATIONS["encrypt" if "Encrypt" in name else "exchange"]
    with pytest.raises(libcrypto.LibcryptoError, match=f"^{said}$"):
        operation()


# What is made is freed

MAKERS = {
    "EVP_PKEY_new_raw_private_key_ex",
    "EVP_PKEY_new_raw_public_key_ex",
    "EVP_PKEY_CTX_new_from_pkey",
    "EVP_CIPHER_CTX_new",
}
FREERS = {"EVP_PKEY_free", "EVP_PKEY_CTX_free", "EVP_CIPHER_CTX_free"}


class Ledger:
    """OpenSSL with one call that fails, and a list of what is still to be freed."""

    def __init__(self, failing: int) -> None:
        self.live: list[int] = []
        self._library = libcrypto._lib
        self._left = failing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> Any:
            if name in FREERS:
                if arguments[0] is not None:
                    self.live.remove(arguments[0].value)
                return function(*arguments)
            for pointer in arguments:
                if isinstance(pointer, (libcrypto._Key, libcrypto._KeyContext)):
                    assert pointer.value in self.live, f"{name} uses what was freed"
            self._left -= 1
            if not self._left:
                raise libcrypto.LibcryptoError(name)
            result = function(*arguments)
            if name in MAKERS:
                self.live.append(result.value)
            return result

        return call

    @property
    def failed(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_whatever_call_fails_all_is_freed_once(
    operation: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for failing in range(1, 100):
        ledger = Ledger(failing)
        monkeypatch.setattr(libcrypto, "_lib", ledger)
        try:
            operation()
        except (libcrypto.LibcryptoError, Unauthentic):
            assert ledger.failed
        assert ledger.live == []
        monkeypatch.undo()
        if not ledger.failed:
            # This one went through, so every call had its turn to fail.
            assert failing > 2
            return
    raise AssertionError("it never works")


# Whatever is wrong with the library


def import_anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, libcrypto.__name__)
    monkeypatch.setattr(protocol, "libcrypto", libcrypto)
    return importlib.import_module(libcrypto.__name__)


class Altered:
    """The library with one function that is missing, or that always returns 0."""

    def __init__(self, missing: str = "", failing: str = "") -> None:
        self._library = libcrypto.CDLL("libcrypto.so.3")
        self._missing = missing
        if failing:
            returns_zero: Any = ctypes.CFUNCTYPE(ctypes.c_size_t)(lambda: 0)
            returns_zero.__name__ = failing
            setattr(self, failing, returns_zero)

    def __getattr__(self, name: str) -> Any:
        if name == self._missing:
            raise AttributeError(f"undefined symbol: {name}")
        return getattr(self._library, name)


def test_without_the_library_there_is_an_import_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str, _: int) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(ImportError, match=r"^libcrypto.so.3: .*cannot open"):
        import_anew(monkeypatch)


def test_the_library_calls_its_own_functions_whatever_python_has_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else those of another version may be called, which end in a crash."""
    modes = []

    def load(name: str, mode: int) -> ctypes.CDLL:
        modes.append(mode)
        real: ctypes.CDLL = libcrypto.CDLL(name, mode)
        return real

    monkeypatch.setattr(ctypes, "CDLL", load)
    import_anew(monkeypatch)
    assert modes == [os.RTLD_DEEPBIND]


def test_without_a_way_to_be_sure_of_that_there_is_an_import_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "RTLD_DEEPBIND")
    with pytest.raises(ImportError, match="RTLD_DEEPBIND"):
        import_anew(monkeypatch)


@pytest.mark.parametrize("name", libcrypto._DECLARATIONS)
def test_with_a_function_missing_there_is_an_import_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: Altered(missing=name))
    with pytest.raises(ImportError, match=f"undefined symbol: {name}$"):
        import_anew(monkeypatch)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (result, *_) in libcrypto._DECLARATIONS.items()
        if result is not None
    ],
)
def test_with_a_function_that_refuses_there_is_an_import_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: Altered(failing=name))
    expected = "low-order" if name == "EVP_PKEY_derive" else name
    with pytest.raises(ImportError, match=f"^libcrypto.so.3: {expected}"):
        import_anew(monkeypatch)


@pytest.mark.parametrize("function", ["exchange", "encrypt"])
def test_with_wrong_results_there_is_an_import_error(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    owner = libcrypto.PrivateKey if function == "exchange" else libcrypto
    monkeypatch.setattr(owner, function, lambda *_: bytes(32))
    with pytest.raises(ImportError, match=r"^libcrypto.so.3: wrong results$"):
        libcrypto._prove()


def test_the_client_takes_the_other_where_this_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, libcrypto.__name__, None)
    monkeypatch.delattr(protocol, "libcrypto")
    assert primitives._fastest() is crypto


def chosen(**environment: str) -> str:
    """Return what an interpreter with that environment takes."""
    program = (
        f"import sys; sys.path.insert(0, {ROOT!r})\n"
        "from spassh.protocol.primitives import fastest\n"
        "print(fastest.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        check=True,
        capture_output=True,
        env=environment,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_the_client_does_without_where_it_is_no_library(tmp_path: Path) -> None:
    assert chosen() == "spassh.protocol.libcrypto"
    (tmp_path / "libcrypto.so.3").touch()
    assert chosen(LD_LIBRARY_PATH=str(tmp_path)) == "spassh.protocol.crypto"


FIPS_ONLY = """
openssl_conf = init
[init]
alg_section = algorithms
[algorithms]
default_properties = fips=yes
"""


def test_the_client_does_without_where_openssl_refuses(tmp_path: Path) -> None:
    settings = tmp_path / "openssl.cnf"
    settings.write_text(FIPS_ONLY)
    assert chosen(OPENSSL_CONF=str(settings)) == "spassh.protocol.crypto"
