"""Opens the native packet (docs/PROTOCOL.md)."""

from spassh.protocol.opening import ServerKeys, open_datagram

from ..envelope import Opened
from ..users import Users


class NativeOpener:
    """Opens native datagrams for the users that are current."""

    def __init__(self, keys: ServerKeys, users: Users, *, tagged: bool = False) -> None:
        """Take the server's keys; `users` may be replaced at any time.

        `tagged` says that the kernel lets nothing through that has not the right tag.
        """
        self._keys = keys
        self.users = users
        self._tagged = tagged

    def open(self, payload: bytes) -> Opened:
        """Open `payload`.

        Raises:
            NotOurs: it is no datagram for this server.
            Unauthentic, Malformed: it is, and it is not right.
        """
        users = self.users
        opened = open_datagram(payload, self._keys, users.psk, tagged=self._tagged)
        key, user = users.owner(opened.client)
        return Opened(opened.request, user, key, opened.identity, signed=opened.signed)
