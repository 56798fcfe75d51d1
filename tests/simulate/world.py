"""Client and server joined in memory: real packets, a real store, a clock set by hand.

    client --seal--> the network (a list) --> consider --> limits --> a firewall
                                                 |
                                          the store on disk

A test moves packets and the clock; nothing happens by itself, and nothing waits.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from unit.server.frames import PORT, ipv4, ipv6, udp

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import PacketError, Replayed
from spassh.protocol.limits import RANDOMNESS_SIZE
from spassh.protocol.opening import ServerKeys
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import Request
from spassh_server import config, limits
from spassh_server.datagram import DLT_RAW
from spassh_server.envelope import Envelope
from spassh_server.firewall import ActiveGrant, Grant, Width
from spassh_server.openers.native import NativeOpener
from spassh_server.pipeline import Rejected, consider
from spassh_server.pipeline import World as Stage
from spassh_server.policy import Approval, Refusal
from spassh_server.ports import Port
from spassh_server.privsep.bounds import Bounds
from spassh_server.privsep.message import (
    GrantMessage,
    decode_request,
    encode_grant,
)
from spassh_server.quota import GrantQuota, RequestQuota
from spassh_server.repeats import Repeats
from spassh_server.seen import SeenMessages
from spassh_server.store import ReplayStore
from spassh_server.users import User, UserKey, Users

SSH = Port(6, 22)
START = 1_767_225_600.0  # 2026-01-01 00:00:00 UTC
SETTINGS = config.parse("grant_ports = ['tcp/22', 'tcp/80']", "/spasshd.toml")


class Hand:
    """A clock that a hand moves."""

    def __init__(self) -> None:
        self.seconds = START

    @property
    def ms(self) -> int:
        return round(self.seconds * 1000)

    def wait(self, seconds: float) -> None:
        """Let time pass; or, below zero, set the clock back."""
        self.seconds += seconds


class Packet(NamedTuple):
    """A datagram under way. Whoever sees it can deliver it, from anywhere."""

    payload: bytes
    source: str


class MemoryFirewall:
    """Keeps each grant until its time: what the kernel does for the real ones."""

    name = "memory"
    expires_by_itself = True
    holds = True
    widths = frozenset(Width)

    def __init__(self, clock: Hand) -> None:
        self._clock = clock
        self.ends: dict[Grant, float] = {}
        self.history: list[Grant] = []

    def unavailable(self) -> str | None:
        return None

    def prepare(self) -> None:
        pass

    def hold(self, seconds: int) -> None:
        pass

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        self.history.append(grant)
        end = self._clock.seconds + seconds
        self.ends[grant] = max(end, self.ends.get(grant, end))

    def revoke(self, grant: Grant) -> None:
        self.ends.pop(grant, None)

    def grants(self) -> list[ActiveGrant]:
        now = self._clock.seconds
        return [
            ActiveGrant(grant, int(end - now))
            for grant, end in self.ends.items()
            if end > now
        ]

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        return 0

    def warnings(self) -> list[str]:
        return []

    def in_place(self) -> bool:
        return True

    def repair(self) -> bool:
        return False

    def sweep(self) -> float | None:
        return None

    def remove(self) -> None:
        self.ends.clear()


class Client:
    """A client with a key of its own, and a clock that may be wrong."""

    def __init__(self, name: str, clock: Hand, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self._clock = clock
        self._secret = blake2b(name.encode(), digest_size=32).digest()
        self._sent = 0

    @property
    def public(self) -> bytes:
        return PrivateKey(self._secret).public

    def psk(self, server: bytes) -> bytes:
        """Return the key that this client shares with one server."""
        return blake2b(self._secret + server, digest_size=32).digest()

    def knock(
        self,
        server: "Server",
        *,
        source: str = "192.0.2.7",
        port: Port = SSH,
        address: str = "",
        lifetime: int = 0,
        source_port: int = 0,
    ) -> Packet:
        """Make a packet as the program does; the network has it now."""
        wanted = ip_address(address).packed if address else b""
        time = round((self._clock.seconds + self.skew) * 1000)
        request = Request(
            time, port.protocol, port.number, lifetime, wanted, source_port
        )
        self._sent += 1
        keys = ClientKeys(self._secret, server.public, self.psk(server.public))
        seed = f"{self.name} {self._sent}".encode()
        randomness = blake2b(seed, digest_size=RANDOMNESS_SIZE).digest()
        return Packet(seal(request, keys, randomness), source)


class Server:
    """A server: what survives a restart is its disk and its firewall."""

    def __init__(self, name: str, disk: Path, clock: Hand) -> None:
        self._clock = clock
        self._keys = ServerKeys(blake2b(name.encode(), digest_size=32).digest())
        disk.mkdir()
        self._directory = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
        self._users: list[User] = []
        self._boot = 0
        self.firewall = MemoryFirewall(clock)
        self.outcomes: list[str] = []
        """What became of each packet, in order; a replay's is `duplicate` or not."""
        self._begin()

    @property
    def public(self) -> bytes:
        return self._keys.public

    def enroll(self, client: Client, **changes: Any) -> None:
        """Let `client` in to port tcp/22 for 15 s, but for `changes`."""
        key = UserKey(client.public, client.psk(self.public))
        user = User(
            client.name,
            (key,),
            frozenset({SSH}),
            lifetime=15,
            max_lifetime=15,
            sources=(),
            any_address=False,
        )
        self._users.append(user._replace(**changes))
        self._opener.users = Users(self._users)

    def receive(
        self, packet: Packet, source: str = "", source_port: int = 40_000
    ) -> str:
        """Take a packet off the wire; return what became of it."""
        source = source or packet.source
        wrap = ipv6 if ":" in source else ipv4
        frame = wrap(udp(packet.payload, source_port=source_port), source=source)
        self.outcomes.append(self._judge(frame))
        return self.outcomes[-1]

    def _judge(self, frame: bytes) -> str:
        try:
            decision = consider(frame, DLT_RAW[0], self._clock.ms, self._stage)
        except PacketError as error:
            return error.outcome
        if isinstance(decision, Rejected):
            why = decision.error
            if isinstance(why, Replayed) and why.same_source:
                return "duplicate"
            return why.outcome
        if isinstance(decision, Refusal):
            return "refused"
        assert isinstance(decision, Approval), "nobody has a command or fwknop here"
        return self._grant(decision)

    def _grant(self, approval: Approval) -> str:
        now = self._clock.seconds
        if not self._live.allow(*approval, now):
            return "refused"
        user, grant, seconds = approval
        data = encode_grant(GrantMessage(1, grant, seconds, user))
        wanted = decode_request(data)
        assert isinstance(wanted, GrantMessage)
        if not self._bounds.allow(wanted, self._clock.seconds):
            return "refused"
        self.firewall.grant(wanted.grant, wanted.seconds, wanted.user)
        return "granted"

    def lets_in(
        self, address: str, port: Port = SSH, *, source_port: int = 50_000
    ) -> bool:
        """Tell whether the firewall lets a connection from `address` through."""
        packed = ip_address(address).packed
        live = {active.grant for active in self.firewall.grants()}
        flow = Grant(packed, port, Width.FLOW, source_port)
        return not live.isdisjoint({Grant(packed, port), flow})

    def restart(self) -> None:
        """Kill the program and start it again. The machine went on."""
        self._store._close()
        self._begin()

    def reboot(self) -> None:
        """Start the machine again: the firewall has forgotten everything."""
        self._boot += 1
        self.firewall.remove()
        self.restart()

    def _begin(self) -> None:
        boot = str(self._boot).encode().ljust(36)
        self._store = ReplayStore(self._directory, self._clock.ms, boot)
        self._opener = NativeOpener(self._keys, Users(self._users))
        requests = RequestQuota(limits.REQUEST_BURST, limits.REQUESTS_PER_SECOND)
        envelope = Envelope([self._opener])
        widths = self.firewall.widths
        repeats, seen = Repeats(limits.MAX_REPEATS), SeenMessages()
        replay = self._store
        self._stage = Stage(PORT, envelope, replay, repeats, requests, widths, seen)
        self._live = GrantQuota(limits.MAX_GRANTS_PER_USER)
        self._bounds = Bounds(SETTINGS)
        for active in self.firewall.grants():
            left, now = active.seconds_left, self._clock.seconds
            if not self._bounds.adopt(active.grant, left, now):
                self.firewall.revoke(active.grant)

    def close(self) -> None:
        self._store._close()
        os.close(self._directory)


class World:
    """One server, one client that it knows, and a clock that starts a second later."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._servers: list[Server] = []
        self.clock = Hand()
        self.server = self.another_server("server")
        self.client = Client("ada", self.clock)
        self.server.enroll(self.client)
        # What was made before a server's first start is refused.
        self.clock.wait(120)

    def another_server(self, name: str) -> Server:
        server = Server(name, self._disk / name, self.clock)
        self._servers.append(server)
        return server

    def close(self) -> None:
        for server in self._servers:
            server.close()


@contextmanager
def world(disk: Path) -> Iterator[World]:
    """Make a world, and take it down again."""
    made = World(disk)
    try:
        yield made
    finally:
        made.close()
