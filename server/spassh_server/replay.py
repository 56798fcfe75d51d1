"""Which datagrams were accepted already (PROTOCOL.md section 6.3).

The memory holds the newest identities, whatever their age, and two floors: nothing at
or below either is accepted. What is forgotten raises the one to its time. So what the
memory knew is never accepted twice, neither when the clock is set back nor when the
memory is full; forgetting costs late genuine datagrams instead.

The other floor is the clock at a start that may have lost entries. A clock that was
ahead then would refuse everybody until its time has come, so that floor comes down once
the clock is seen to have gone back.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from spassh.protocol.errors import Replayed, Stale
from spassh.protocol.limits import WINDOW_MS

IDENTITY_SIZE = 16
"""Bytes kept of a handshake hash: collisions would need 2^64 accepted datagrams."""


class Entry(NamedTuple):
    """One accepted datagram."""

    identity: bytes
    """The first 16 bytes of its handshake hash."""
    time: int
    """Its time, in milliseconds since 1970-01-01 UTC."""


class OutsideWindow(Stale):
    """Its time is outside the window around the server's clock."""

    def __init__(self, late: int) -> None:
        """Take by how much it comes late, in milliseconds; early is less than zero."""
        super().__init__(late)
        self.late = late

    def __str__(self) -> str:
        # Not before somebody asks: whoever sends old packets again fast has it raised
        # for each, and few of them get into the log.
        way = "behind" if self.late > 0 else "ahead"
        return f"its clock is {abs(self.late) / 1000:.0f} s {way}"


class ReplayMemory:
    """Remembers accepted datagrams. Pure: whoever calls it keeps the durable copy."""

    def __init__(
        self,
        capacity: int,
        floor: int,
        entries: Iterable[Entry] = (),
        start: int = -1,
    ) -> None:
        """Begin with what an earlier run remembered, oldest first.

        `floor` (ms) is what that run had forgotten, and `start` (ms) the time before
        which it, or a run before it, may have lost entries.
        """
        self._capacity = capacity
        self._seen: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self.floor = floor
        """The latest time of what was forgotten. It never falls."""
        self.start = start
        """The clock at the start. It falls when that clock turns out to be ahead."""
        for entry in entries:
            self._remember(entry, b"")

    def __len__(self) -> int:
        return len(self._seen)

    def entries(self) -> list[Entry]:
        """List what is remembered, oldest first."""
        return [Entry(identity, time) for identity, (time, _) in self._seen.items()]

    def lower_start(self, now: int) -> int:
        """Bring `start` down to `now` (ms) if the clock has gone back; return by what.

        Within a window it stays: that much may be lost, and is over in a minute.
        """
        ahead = self.start - now
        if ahead <= WINDOW_MS:
            return 0
        self.start = now
        return ahead

    def admit(self, entry: Entry, source: bytes, now: int) -> None:
        """Accept `entry` at the time `now` (ms), once.

        Raises:
            Stale, Replayed: as `check`.
        """
        self.check(entry, source, now)
        self._remember(entry, source)

    def check(self, entry: Entry, source: bytes, now: int) -> None:
        """See whether `entry` would be accepted at the time `now` (ms).

        Raises:
            Stale: its time is outside the window, or not above the floor.
            Replayed: it was accepted before. `same_source` of the error tells a
                duplicate that the network made from a packet somebody recorded.
        """
        self.lower_start(now)
        before = self._seen.get(entry.identity)
        if before is not None:
            error = Replayed("accepted before")
            error.same_source = before[1] == source
            raise error
        if abs(now - entry.time) > WINDOW_MS:
            raise OutsideWindow(now - entry.time)
        if entry.time <= max(self.floor, self.start):
            raise Stale("made before this server began to remember")

    def _remember(self, entry: Entry, source: bytes) -> None:
        self._seen[entry.identity] = (entry.time, source)
        if len(self._seen) > self._capacity:
            _, (time, _) = self._seen.popitem(last=False)
            self.floor = max(self.floor, time)
