"""Who was let in from where: what ending a user's connections takes. Pure.

The kernel knows connections by their addresses alone, and a grant is long over while
its session lives. So this remembers, since the granter's start, and in bounds. Of an
IPv6 address that is its network: whoever has one address of a /64 has them all, and
could otherwise have each of them remembered until the first is forgotten.
"""

from collections import OrderedDict

from ..addresses import place
from ..limits import ADDRESSES_PER_USER, MAX_USER_FILES, MAX_USERS_IN_MAIN_FILE

_MAX_USERS = MAX_USER_FILES + MAX_USERS_IN_MAIN_FILE


class Ledger:
    """The newest addresses of each user."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[bytes, None]] = OrderedDict()
        self._forgetful: set[str] = set()

    def note(self, user: str, address: bytes) -> None:
        """Remember that `user` was let in from `address` (4 or 16 bytes)."""
        addresses = self._users.setdefault(user, OrderedDict())
        self._users.move_to_end(user)
        addresses[place(address)] = None
        addresses.move_to_end(place(address))
        if len(addresses) > ADDRESSES_PER_USER:
            addresses.popitem(last=False)
            self._forgetful.add(user)
        if len(self._users) > _MAX_USERS:
            self._forgetful.discard(self._users.popitem(last=False)[0])

    def places(self, user: str) -> frozenset[bytes]:
        """Return the `place` of each address that `user` was let in from."""
        return frozenset(self._users.get(user, ()))

    def is_complete(self, user: str) -> bool:
        """Tell whether none of them was forgotten."""
        return user not in self._forgetful
