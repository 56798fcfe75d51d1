"""A server for the verbs that change keys: one user, whose keys come and go.

What it says of a knock is what the knock was: it opens the datagrams that arrive.
"""

from collections.abc import Callable
from typing import Any

from unit.client.parties import NOW_MS, PSK_BYTES, SERVER_KEYS, Gate

from spassh.errors import SpasshError
from spassh.profile import Profile, load_keys
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import PacketError, Unauthentic
from spassh.protocol.invite import Invite
from spassh.protocol.keys import PUBLIC, decode_key
from spassh.protocol.opening import open_datagram
from spassh.verbs.remote import Grant, Spasshd, Status


class ModelServer(Spasshd):
    """Stands in the place of `remote.Spasshd`."""

    def __init__(self, gate: Gate, user: str = "alice") -> None:
        self.gate = gate
        self.user = user
        self.keys: dict[bytes, bytes] = {}
        """The psk of each public key."""
        self.begun = lambda _: None  # type: Callable[[str], None]
        """Is told of each thing that happens, before and after it."""
        self.busy = False
        """Whether others are let in all the time."""
        self.deaf = False
        """Whether no knock arrives."""
        self.forgetful = False
        """Whether it cannot write down what it has accepted."""
        self._granted = 0
        self._accepted: list[bytes] = []
        self._others = 0

    def add_key(self, secret: bytes, psk: bytes = PSK_BYTES) -> None:
        self.keys[PrivateKey(secret).public] = psk

    def lets_in(self, profile: Profile, home: str) -> bool:
        """Tell whether somebody with this profile gets in."""
        keys = load_keys(profile, home)
        return self.keys.get(PrivateKey(keys.secret).public) == keys.psk

    # What Spasshd does over ssh

    def add(self, name: str, public: str, address: str, beside: str = "") -> Invite:
        self.begun("add")
        key = decode_key(PUBLIC, public)
        if name != self.user or (
            key not in self.keys
            and (not beside or decode_key(PUBLIC, beside) not in self.keys)
        ):
            raise SpasshError(f"no {name} with such a key")
        psk = self.keys.setdefault(key, bytes([len(self.keys) + 40]) * 32)
        self.begun("added")
        port = self.gate.knock_port
        return Invite(name, address, port, SERVER_KEYS.public, psk, key)

    def remove_key(self, name: str, public: str) -> None:
        self.begun("remove")
        key = decode_key(PUBLIC, public)
        if name != self.user or set(self.keys) <= {key}:
            raise SpasshError("the only key")
        self.keys.pop(key, None)
        self.begun("removed")

    def running_status(self) -> Status:
        self.begun("status")
        self._others += self.busy
        arrived = self.gate.collect()
        for datagram in [] if self.deaf else self.gate.knocks[len(self._accepted) :]:
            self._take(datagram)
        counters = {"granted": self._granted + self._others, "frames": arrived}
        grants = (Grant(self.user, "192.0.2.2", "tcp/22", 14),)
        return Status(True, counters, grants)

    def has_accepted(self, datagram: bytes) -> bool:
        self.begun("ask")
        return not self.forgetful and datagram in self._accepted

    def shut(self, grew: dict[str, int], knock_port: int) -> SpasshError:
        return Spasshd.shut(self, grew, knock_port)

    _host = "server"

    def _take(self, datagram: bytes) -> None:
        def psk(client: bytes) -> bytes:
            if client not in self.keys:
                raise Unauthentic("unknown client")
            return self.keys[client]

        try:
            opened = open_datagram(datagram, SERVER_KEYS, psk)
        except PacketError:
            self._accepted.append(b"")
            return
        assert opened.request.time == NOW_MS
        self._accepted.append(datagram)
        self._granted += 1


def stands_for(server: ModelServer) -> Callable[..., Any]:
    """Return what takes the place of the class `Spasshd`."""
    return lambda *_: server
