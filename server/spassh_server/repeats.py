"""Datagrams that were rejected though authentic: the next copy is cheap. Pure.

Whoever has recorded a packet can send it as fast as a network goes. It passes every
check up to the key exchange, which takes longer than all the others together, and then
is refused: genuine packets would drown. So what it was is remembered by its bytes. That
decides nothing: the replay check has the last word on a copy as well.
"""

from typing import NamedTuple
from zlib import crc32

from .replay import Entry


class Known(NamedTuple):
    """What an authentic datagram was."""

    user: str
    """Who made it."""
    entry: Entry
    """What the replay check is to be asked for."""
    is_native: bool = True
    """Whether it is nothing where only packets of fwknop are."""


class Repeats:
    """Remembers up to a number of datagrams.

    Beyond that, each takes the place of one that its own bytes choose. Nobody chooses
    the bytes of somebody else's datagram; and of twice as many that are sent in turn a
    fifth is found here, where none would be if the oldest had to go.
    """

    def __init__(self, capacity: int) -> None:
        """Remember up to `capacity` datagrams, of 1500 bytes at most each."""
        self._capacity = capacity
        self._known: dict[bytes, Known] = {}
        self._places: list[bytes] = []

    def __len__(self) -> int:
        return len(self._places)

    def find(self, datagram: bytes) -> Known | None:
        """Return what `datagram` was, if it is remembered."""
        return self._known.get(datagram)

    def add(self, datagram: bytes, known: Known) -> None:
        """Remember `datagram`, in the place of another one where there is no room."""
        if datagram not in self._known:
            if len(self._places) < self._capacity:
                self._places.append(datagram)
            else:
                place = crc32(datagram) % self._capacity
                del self._known[self._places[place]]
                self._places[place] = datagram
        self._known[datagram] = known

    def clear(self) -> None:
        """Forget all: there are other users now."""
        self._known.clear()
        self._places.clear()
