"""Which OpenPGP messages gpg was asked about, where nothing outside says their time.

The replay memory remembers what is inside of them, which is known when gpg has opened
them. Whoever sends a recorded packet again must not have gpg open it again, and use up
what its user may ask gpg for. Pure.

What one user's HMAC was around says nothing of another's: who copies a message before
it arrives, and sends it with an HMAC of their own or with none, must not use it up. Nor
must they have the messages of others forgotten.
"""

from collections import OrderedDict

from spassh.protocol.errors import Replayed

from .limits import MAX_SEEN_MESSAGES
from .replay import IDENTITY_SIZE


class SeenMessages:
    """The newest messages of each user, whatever their age."""

    def __init__(self) -> None:
        self._users: dict[str, OrderedDict[bytes, bytes]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def check(self, user: str, identity: bytes, source: bytes) -> None:
        """See that this message is a new one of the user's.

        Raises:
            Replayed: it is not, as `ReplayMemory.check` has it.
        """
        before = self._of(user).get(identity[:IDENTITY_SIZE])
        if before is not None:
            error = Replayed("seen before")
            error.same_source = before == source
            raise error

    def add(self, user: str, identity: bytes, source: bytes) -> None:
        """Remember this message, which is a new one.

        If there are too many, the oldest one is forgotten of the user who has most.
        """
        self._of(user)[identity[:IDENTITY_SIZE]] = source
        self._count += 1
        if self._count > MAX_SEEN_MESSAGES:
            most = max(self._users.values(), key=len)
            most.popitem(last=False)
            self._count -= 1

    def _of(self, user: str) -> OrderedDict[bytes, bytes]:
        return self._users.setdefault(user, OrderedDict())
