"""Who was let in from where: what ending a user's connections takes. Pure.

The kernel knows connections by their addresses alone, and a grant is long over while
its session lives. So this remembers, since the granter's start, and in bounds.
"""

from collections import OrderedDict

from ..limits import ADDRESSES_PER_USER, MAX_USER_FILES, MAX_USERS_IN_MAIN_FILE

_MAX_USERS = MAX_USER_FILES + MAX_USERS_IN_MAIN_FILE


class Ledger:
    """The newest addresses of each user."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, OrderedDict[bytes, None]] = OrderedDict()

    def note(self, user: str, address: bytes) -> None:
        """Remember that `user` was let in from `address` (4 or 16 bytes)."""
        addresses = self._users.setdefault(user, OrderedDict())
        self._users.move_to_end(user)
        addresses[address] = None
        addresses.move_to_end(address)
        if len(addresses) > ADDRESSES_PER_USER:
            addresses.popitem(last=False)
        if len(self._users) > _MAX_USERS:
            self._users.popitem(last=False)

    def addresses(self, user: str) -> set[bytes]:
        """Return the addresses that `user` was let in from."""
        return set(self._users.get(user, ()))
