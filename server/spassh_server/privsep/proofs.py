"""What shows that somebody gets in through a drop that is on trial.

That is a connection which was not there when the drop came into place, from an address
that a knock has let in to this port since then. The grants of before are taken back at
that moment, so nobody comes through on an older one.
"""

from collections.abc import Callable, Iterable

from ..firewall.sessions import Session
from ..limits import MAX_PROVED
from ..ports import Port
from .message import Connection

_TCP = 6

Begun = Callable[[Iterable[Port]], frozenset[Session]]
"""Lists the connections to these ports that have begun; raises OSError if it cannot."""


class Proofs:
    """The connections of before, and who was let in since then."""

    def __init__(self, begun: Begun) -> None:
        self._list = begun
        self._before: frozenset[Connection] | None = None
        self._knocked: dict[tuple[bytes, int], None] = {}

    def begin(self, ports: Iterable[Port]) -> None:
        """Begin anew: the drop of `ports` has just come into place.

        Raises:
            OSError: who was there before is not known. Nothing will prove anything.
        """
        self.end()
        self._before = frozenset(
            Connection(*session.remote, session.local[1])
            for session in self._list(ports)
        )

    def end(self) -> None:
        """Take nothing for a proof any more."""
        self._before = None
        self._knocked.clear()

    def note(self, address: bytes, port: Port) -> None:
        """Remember that `address` was let in to `port`; of too many, the last ones."""
        if self._before is None or port.protocol != _TCP:
            return
        self._knocked.pop((address, port.number), None)
        self._knocked[address, port.number] = None
        if len(self._knocked) > MAX_PROVED:
            del self._knocked[next(iter(self._knocked))]

    def holds(self, connection: Connection) -> bool:
        """Tell whether `connection` came through the drop by a knock since then."""
        if self._before is None or connection in self._before:
            return False
        return (connection.address, connection.port) in self._knocked
