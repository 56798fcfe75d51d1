"""Which OpenPGP messages gpg was asked about, where nothing outside says their time.

The replay memory remembers what is inside of them, which is known when gpg has opened
them. Whoever sends a recorded packet again must not have gpg open it again, and use up
what its user may ask gpg for. Pure.
"""

from collections import OrderedDict

from spassh.protocol.errors import Replayed

from .limits import MAX_SEEN_MESSAGES
from .replay import IDENTITY_SIZE


class SeenMessages:
    """The newest messages, whatever their age."""

    def __init__(self) -> None:
        self._sources: OrderedDict[bytes, bytes] = OrderedDict()

    def check(self, identity: bytes, source: bytes) -> None:
        """See that this message is a new one.

        Raises:
            Replayed: it is not, as `ReplayMemory.check` has it.
        """
        before = self._sources.get(identity[:IDENTITY_SIZE])
        if before is not None:
            error = Replayed("seen before")
            error.same_source = before == source
            raise error

    def add(self, identity: bytes, source: bytes) -> None:
        """Remember this message; the oldest one is forgotten if there are too many."""
        self._sources[identity[:IDENTITY_SIZE]] = source
        if len(self._sources) > MAX_SEEN_MESSAGES:
            self._sources.popitem(last=False)
