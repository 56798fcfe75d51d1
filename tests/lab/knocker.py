"""A user of the daemon whose datagrams a test makes itself."""

import os
from collections.abc import Iterator
from time import time_ns

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh.protocol.limits import ACCESS_DATAGRAM, TAG_SIZE
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import Request
from spassh_server import config
from spassh_server.daemon import load_server_keys

from .programs import Spasshd


def now_ms() -> int:
    return time_ns() // 1_000_000


def noise(spasshd: Spasshd, size: int = ACCESS_DATAGRAM) -> bytes:
    """Make a datagram that has the right tag and nothing else that is right.

    The kernel's filter lets it through, and the daemon counts it as `not-ours`.
    """
    return next(noises(spasshd, size))


def noises(spasshd: Spasshd, size: int = ACCESS_DATAGRAM) -> Iterator[bytes]:
    """Make such datagrams without end, which all begin differently."""
    gate = load_server_keys(config.load(spasshd.config)).gate
    while True:
        body = os.urandom(size - TAG_SIZE)
        yield gate.tag(body) + body


class Knocker:
    """A user with a key, enrolled by a file in users.d. A daemon reads it at start."""

    def __init__(self, spasshd: Spasshd, name: str, *lines: str) -> None:
        """Write the user's file, with `lines` before the key."""
        settings = config.load(spasshd.config)
        secret, psk = os.urandom(32), os.urandom(32)
        self.name = name
        self.keys = ClientKeys(secret, load_server_keys(settings).public, psk)
        public = encode_key(PUBLIC, PrivateKey(secret).public)
        key = f'[[key]]\npublic = "{public}"\npsk = "{encode_key(PSK, psk)}"\n'
        path = os.path.join(settings.users_dir, f"{name}.toml")
        mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(path, mode, 0o600), "w", encoding="ascii") as file:
            file.write("\n".join([*lines, key]))

    def seal(self, *, lifetime: int = 0, address: bytes = b"", port: int = 22) -> bytes:
        """Make a fresh datagram that asks for a port of TCP."""
        request = Request(now_ms(), 6, port, lifetime, address)
        return seal(request, self.keys, os.urandom(33))
