"""fwknop 2.6 of Debian, unpacked and not installed: its programs, and libfko.

scripts/test unpacks it, so that no service of it is enabled on this host.
"""

import ctypes
import os
from base64 import b64encode
from contextlib import suppress
from typing import Any, NamedTuple, Self

from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.message import Message

from .network import Host, LabError
from .programs import REPOSITORY, Daemon

UNPACKED = os.path.join(REPOSITORY, ".fwknop")
LIBRARIES = os.path.join(UNPACKED, "usr", "lib", f"{os.uname().machine}-linux-gnu")
CLIENT = os.path.join(UNPACKED, "usr", "bin", "fwknop")
DAEMON = os.path.join(UNPACKED, "usr", "sbin", "fwknopd")

MISSING = not os.path.exists(CLIENT)
WHY = "fwknop is not unpacked: scripts/test does that"

_CBC, _CBC_LEGACY = 2, 8
NUMBERS = {name: number for number, name in enumerate(DIGESTS, 1)}
"""What libfko calls each digest."""


def keys_options(keys: Keys, *, base64: bool) -> list[str]:
    """Return the client's options for these keys, which are ASCII if not base64."""
    form = "key-base64-" if base64 else "key-"

    def spell(key: bytes) -> str:
        return b64encode(key).decode() if base64 else key.decode("ascii")

    words = [f"--{form}rijndael", spell(keys.encryption)]
    if keys.hmac:
        words += ["--use-hmac", f"--{form}hmac", spell(keys.hmac)]
        words += ["--hmac-digest-type", keys.hmac_digest.upper()]
    if keys.legacy:
        words += ["--encryption-mode", "legacy"]
    return words


def stanza(keys: Keys, *, base64: bool) -> str:
    """Spell these keys as lines of access.conf."""

    def spell(name: str, key: bytes) -> str:
        if base64:
            return f"{name}_BASE64 {b64encode(key).decode()}\n"
        return f"{name} {key.decode('ascii')}\n"

    lines = spell("KEY", keys.encryption)
    if keys.hmac:
        lines += spell("HMAC_KEY", keys.hmac)
        lines += f"HMAC_DIGEST_TYPE {keys.hmac_digest.upper()}\n"
    return lines


class Fwknop:
    """The client on a host."""

    def __init__(self, host: Host, directory: str) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._host = host
        self._environment = host.environment | {
            "HOME": directory,
            "LD_LIBRARY_PATH": LIBRARIES,
        }
        self._packet = os.path.join(directory, "packet")

    def __call__(self, *words: str) -> bytes:
        """Run the client; return the packet that it has made, and mostly sent."""
        with suppress(FileNotFoundError):
            os.unlink(self._packet)
        argv = [CLIENT, "--no-save-args", "--no-rc-file", "-B", self._packet, *words]
        done = self._host.run(argv, check=False, env=self._environment)
        try:
            with open(self._packet, "rb") as file:
                return file.read().strip()
        except FileNotFoundError as error:
            raise LabError(f"{argv}: {done.stdout}{done.stderr}") from error


class FkoError(Exception):
    """libfko has refused; the number is its own."""


class Fields(NamedTuple):
    """What libfko has read in a packet."""

    user: str
    time: int
    type: int
    message: str
    nat_access: str
    timeout: int


class Library:
    """libfko, by ctypes: the C code behind every program of fwknop 2."""

    def __init__(self) -> None:
        for name in ("libassuan.so.0", "libgpgme.so.11"):
            ctypes.CDLL(os.path.join(LIBRARIES, name), ctypes.RTLD_GLOBAL)
        self._fko = ctypes.CDLL(os.path.join(LIBRARIES, "libfko.so.3"))
        self._fko.fko_destroy.argtypes = [ctypes.c_void_p]

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._fko, f"fko_{name}")(*arguments)
        if status:
            raise FkoError(f"{name}: {status}")

    def open(self, payload: bytes, keys: Keys) -> Fields:
        """Open a packet as fwknopd does."""
        with Context(self) as context:
            self.call(
                "new_with_data",
                ctypes.byref(context.pointer),
                payload,
                keys.encryption,
                len(keys.encryption),
                _CBC_LEGACY if keys.legacy else _CBC,
                keys.hmac or None,
                len(keys.hmac),
                NUMBERS[keys.hmac_digest] if keys.hmac else 0,
            )
            return Fields(
                context.text("username"),
                context.number("timestamp", ctypes.c_long),
                context.number("spa_message_type", ctypes.c_short),
                context.text("spa_message"),
                context.text("spa_nat_access"),
                context.number("spa_client_timeout", ctypes.c_int),
            )

    def make(
        self, message: Message, text: str, nat: str, keys: Keys, digest: str
    ) -> bytes:
        """Make a packet as the client does; time and rand are its own.

        `text` and `nat` are the message and where its port leads, as they are spelled.
        """
        with Context(self) as context:
            pointer = context.pointer
            self.call("new", ctypes.byref(pointer))
            self.call("set_username", pointer, message.user.encode())
            mode = _CBC_LEGACY if keys.legacy else _CBC
            self.call("set_spa_encryption_mode", pointer, mode)
            kind = ctypes.c_short(message.type)
            self.call("set_spa_message_type", pointer, kind)
            self.call("set_spa_message", pointer, text.encode())
            if nat:
                self.call("set_spa_nat_access", pointer, nat.encode())
            if message.timeout:
                self.call("set_spa_client_timeout", pointer, message.timeout)
            number = ctypes.c_short(NUMBERS[digest])
            self.call("set_spa_digest_type", pointer, number)
            if keys.hmac:
                number = ctypes.c_short(NUMBERS[keys.hmac_digest])
                self.call("set_spa_hmac_type", pointer, number)
            self.call(
                "spa_data_final",
                pointer,
                keys.encryption,
                len(keys.encryption),
                keys.hmac or None,
                len(keys.hmac),
            )
            return context.text("spa_data").encode()

    def destroy(self, pointer: ctypes.c_void_p) -> None:
        self._fko.fko_destroy(pointer)


class Fwknopd:
    """The daemon on a host. It opens ports by rules of iptables before all others."""

    PORT = 62202

    def __init__(
        self,
        host: Host,
        directory: str,
        access: str,
        heard: str = f"udp port {PORT}",
        conf: str = "",
    ) -> None:
        """Start it with this access.conf; `stop` ends it.

        `heard` is the filter of its capture, and `conf` more lines of fwknopd.conf.
        """
        os.makedirs(directory, mode=0o700)
        self._directory = directory
        config = self._write(
            "fwknopd.conf",
            f"PCAP_INTF eth0;\nPCAP_LOOP_SLEEP 1000;\nPCAP_FILTER {heard};\n{conf}",
        )
        argv = [DAEMON, "-f", "-c", config, "-a", self._write("access.conf", access)]
        for option, name in (("-r", ""), ("-p", "pid"), ("-d", "digest")):
            argv += [option, os.path.join(directory, name)]
        self.daemon = Daemon(
            host,
            ["env", f"LD_LIBRARY_PATH={LIBRARIES}", *argv],
            os.path.join(directory, "fwknopd.log"),
        )
        self.daemon.wait_log("Starting fwknopd main event loop")

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self._directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)
        return path


class Context:
    """One packet in libfko, which is freed at the end."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self.pointer = ctypes.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pointer.value is not None:
            self._library.destroy(self.pointer)

    def text(self, name: str) -> str:
        found = ctypes.c_char_p()
        self._library.call(f"get_{name}", self.pointer, ctypes.byref(found))
        return (found.value or b"").decode("ascii")

    def number(self, name: str, kind: Any) -> int:
        found = kind()
        self._library.call(f"get_{name}", self.pointer, ctypes.byref(found))
        return int(found.value)
