"""Opens packets of fwknop, for the users that have keys for them."""

import shlex
from collections.abc import Callable

from spassh.protocol.errors import Malformed
from spassh.protocol.fwknop.message import COMMAND, OF_THIS_HOST, Message
from spassh.protocol.limits import MAX_ARGUMENTS
from spassh.protocol.request import Request

from ..envelope import Opened, Target
from ..users import Users


class FwknopOpener:
    """Opens packets of fwknop for the users that are current."""

    def __init__(self, users: Callable[[], Users]) -> None:
        """Take the function that returns the users."""
        self._users = users

    def open(self, payload: bytes) -> Opened:
        """Open `payload`.

        Raises:
            NotOurs: no user has the key that it was made with.
            Unauthentic, Malformed: one has, and it is not right.
        """
        return open_for(payload, self._users())


def open_for(payload: bytes, users: Users) -> Opened:
    """Open `payload` with the key of one of `users`.

    Raises:
        PacketError: as `FwknopOpener.open`.
    """
    opened = users.fwknop_keyring.open(payload)
    key, user = users.fwknop[opened.number]
    message = opened.message
    first, *others = requests(message)
    target = None
    if message.target is not None:
        target = Target(*message.target, message.type in OF_THIS_HOST)
    return Opened(first, user, key, opened.identity, tuple(others), target)


def requests(message: Message) -> list[Request]:
    """Return what `message` asks for: a command, or one port or more.

    Raises:
        Malformed: it is a command line that nobody can cut into words.
    """
    time = message.time * 1000
    if message.type == COMMAND:
        # The address of a command says nothing that the packet's source does not.
        return [Request(time, command=_words(message.command))]
    # The same port again would be one more grant for the packet filter to make.
    return [
        Request(time, protocol, port, message.timeout, message.address)
        for protocol, port in dict.fromkeys(message.ports)
    ]


def _words(line: str) -> tuple[str, ...]:
    """Cut a command line as a shell would, which there is none to look at the words."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Malformed("quotes of a command") from error
    if not 0 < len(words) <= MAX_ARGUMENTS or not words[0]:
        raise Malformed("words of a command")
    return tuple(words)
