"""Everything that happens to a packet between the wire and the firewall, in order.

    capture -> datagram -> envelope -> replay -> policy -> (granter) -> firewall

This is the file to read first. Nothing before the replay check stores or logs anything,
so a stranger's packet leaves no trace but a counter.
"""

from typing import NamedTuple, Protocol

from spassh.protocol.errors import PacketError

from .datagram import parse
from .envelope import Envelope, Opened
from .policy import Approval, Refusal, decide
from .replay import IDENTITY_SIZE, Entry


class Admission(Protocol):
    """The replay check: `replay.ReplayMemory`, or a durable one around it."""

    def admit(self, entry: Entry, source: bytes, now: int) -> None:
        """Accept `entry` once, or raise `Stale` or `Replayed`."""


class World(NamedTuple):
    """What a packet meets on its way."""

    knock_port: int
    envelope: Envelope
    replay: Admission


class Rejected(NamedTuple):
    """An authentic packet that came too late or for the second time."""

    user: str
    source: bytes
    error: PacketError


def consider(
    frame: bytes, link: int, now: int, world: World
) -> Approval | Refusal | Rejected:
    """Judge one frame of link type `link`, captured at `now` (milliseconds).

    Raises:
        PacketError: not an authentic packet. Count it, and say nothing to anybody.
    """
    datagram = parse(frame, link, world.knock_port)
    opened: Opened = world.envelope.open(datagram.payload)
    entry = Entry(opened.identity[:IDENTITY_SIZE], opened.request.time)
    try:
        world.replay.admit(entry, datagram.source, now)
    except PacketError as error:
        return Rejected(opened.user.name, datagram.source, error)
    return decide(opened.request, datagram.source, opened.user)
