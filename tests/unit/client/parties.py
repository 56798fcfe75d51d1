"""The two parties of a knock on one computer: a home with profiles, and a server."""

import os
import select
import socket
from pathlib import Path
from typing import Self

from spassh.profile import Keys, Profile
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import Unauthentic
from spassh.protocol.invite import Invite, encode_invite
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.protocol.opening import Opened, ServerKeys, open_datagram
from spassh.resolve import Address

SERVER_KEYS = ServerKeys(b"server".ljust(32, b"\1"))
CLIENT_SECRET = b"client".ljust(32, b"\2")
CLIENT = PrivateKey(CLIENT_SECRET).public
PSK_BYTES = b"psk".ljust(32, b"\3")
KEYS = Keys(CLIENT_SECRET, SERVER_KEYS.public, PSK_BYTES)

NOW_MS = 1_700_000_000_000

PATIENCE = 20
"""Seconds after which what a test waits for will not come any more."""

LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

FIELDS = {
    "hosts": '["server.example", "192.0.2.1"]',
    "user": '"alice"',
    "server": f'"{encode_key(PUBLIC, SERVER_KEYS.public)}"',
    "psk": f'"{encode_key(PSK, PSK_BYTES)}"',
    "secret": f'"{encode_key(SECRET, CLIENT_SECRET)}"',
}
"""A profile that is right, as TOML."""

PROFILE = Profile(
    "/nowhere/server.toml",
    ("server.example", "192.0.2.1"),
    "alice",
    encode_key(PUBLIC, SERVER_KEYS.public),
    encode_key(PSK, PSK_BYTES),
    encode_key(SECRET, CLIENT_SECRET),
)

INVITE = Invite(
    "alice",
    "server.example",
    62201,
    SERVER_KEYS.public,
    PSK_BYTES,
    CLIENT,
    CLIENT_SECRET,
)


class Home:
    """A configuration directory."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.profiles = path / "profiles"

    @property
    def key(self) -> Path:
        return Path(self.path) / "key"

    def write(self, name: str, text: str | bytes, mode: int = 0o600) -> Path:
        """Write one file among the profiles."""
        self.profiles.mkdir(parents=True, exist_ok=True)
        path = self.profiles / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def profile(self, name: str = "server.toml", /, **fields: str) -> Path:
        """Write a profile, some of whose fields are other TOML, or "" for absent."""
        lines = FIELDS | fields
        text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
        return self.write(name, text)

    def write_key(self, text: str = "", mode: int = 0o600) -> Path:
        Path(self.path).mkdir(parents=True, exist_ok=True)
        self.key.write_text(text or encode_key(SECRET, CLIENT_SECRET) + "\n")
        self.key.chmod(mode)
        return self.key

    def names(self) -> list[str]:
        """Return every file below, so that a test sees what was left behind."""
        return sorted(
            os.path.relpath(os.path.join(directory, name), self.path)
            for directory, _, names in os.walk(self.path)
            for name in names
        )


def invite(**changes: object) -> str:
    return encode_invite(INVITE._replace(**changes))  # type: ignore[arg-type]


def open_knock(datagram: bytes) -> Opened:
    """Open a datagram as the server does that knows our one client."""

    def find_psk(client: bytes) -> bytes:
        if client != CLIENT:
            raise Unauthentic("unknown client")
        return PSK_BYTES

    return open_datagram(datagram, SERVER_KEYS, find_psk)


def address(sock: socket.socket) -> Address:
    """Return the address of a socket that waits for somebody."""
    return Address(sock.family, sock.getsockname())


class Gate:
    """A server on the loopback: a UDP port for knocks, and a TCP port.

    The TCP port is bound and not listened to, so it refuses, until `open`.
    """

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.udp = socket.socket(family, socket.SOCK_DGRAM)
        self.udp.bind((LOOPBACKS[family], 0))
        self.udp.setblocking(False)
        self.tcp = socket.socket(family, socket.SOCK_STREAM)
        self.tcp.bind((LOOPBACKS[family], 0))
        self.knocks: list[bytes] = []
        self.sources: list[str] = []
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.udp.close()
        self.tcp.close()

    @property
    def address(self) -> Address:
        return address(self.tcp)

    @property
    def port(self) -> int:
        port: int = self.tcp.getsockname()[1]
        return port

    @property
    def knock_port(self) -> int:
        port: int = self.udp.getsockname()[1]
        return port

    def open(self) -> None:
        self.tcp.listen()

    def collect(self) -> int:
        """Take in the knocks that have come; return how many there were so far."""
        while select.select([self.udp], [], [], 0)[0]:
            datagram, source = self.udp.recvfrom(2048)
            self.knocks.append(datagram)
            self.sources.append(source[0])
            self.ports.append(source[1])
        return len(self.knocks)

    def accept(self) -> socket.socket:
        self.tcp.settimeout(20)
        return self.tcp.accept()[0]

    def nobody_else(self) -> bool:
        """Tell whether nobody waits to be accepted."""
        return not select.select([self.tcp], [], [], 0)[0]


class Shut:
    """A TCP port on the loopback that does not answer: its queue is full."""

    def __init__(self) -> None:
        self.tcp = socket.socket()
        self.tcp.bind(("127.0.0.1", 0))
        self.tcp.listen(0)
        self.tcp.settimeout(PATIENCE)
        self._fillers = [socket.create_connection(self.tcp.getsockname())]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._fillers, self.tcp):
            sock.close()

    @property
    def address(self) -> Address:
        return address(self.tcp)

    @property
    def port(self) -> int:
        port: int = self.tcp.getsockname()[1]
        return port

    def open(self) -> None:
        """Make room for one more."""
        self.tcp.accept()[0].close()
