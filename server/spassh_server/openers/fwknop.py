"""Opens packets of fwknop, for the users that have keys for them."""

import shlex
from collections.abc import Callable

from spassh.protocol.errors import Malformed
from spassh.protocol.fwknop import openpgp, text
from spassh.protocol.fwknop.message import COMMAND, OF_THIS_HOST, Message
from spassh.protocol.fwknop.opening import has_form as has_symmetric_form
from spassh.protocol.limits import MAX_ARGUMENTS
from spassh.protocol.request import Request

from ..envelope import Enclosed, Opened, Target
from ..fwknop_keys import FwknopGnupgKey, FwknopKey
from ..users import User, Users


class FwknopOpener:
    """Opens packets of fwknop for the users that are current."""

    def __init__(self, users: Callable[[], Users]) -> None:
        """Take the function that returns the users."""
        self._users = users

    def open(self, payload: bytes) -> Opened | Enclosed:
        """Open `payload`.

        Raises:
            NotOurs: no user has the key that it was made with.
            Unauthentic, Malformed: one has, and it is not right.
        """
        return open_for(payload, self._users())


def has_form(payload: bytes) -> bool:
    """Tell whether `payload` could be a packet of fwknop for all that it looks like."""
    return has_symmetric_form(payload) or openpgp.has_form(payload)


def open_for(payload: bytes, users: Users) -> Opened | Enclosed:
    """Open `payload` with the key of one of `users`.

    Raises:
        PacketError: as `FwknopOpener.open`.
    """
    if openpgp.has_form(payload):
        return _enclosed(payload, users)
    opened = users.fwknop_keyring.open(payload)
    key, user = users.fwknop[opened.number]
    return request_of(opened.message, opened.identity, key, user)


def _enclosed(payload: bytes, users: Users) -> Enclosed:
    enclosed = users.fwknop_messages.open(payload)
    key, user = users.fwknop_gnupg[enclosed.number]
    owner = user if key.hmac.key else None
    return Enclosed(enclosed.message, enclosed.identity, key, owner)


def open_text(signed: bytes, signer: str, key: FwknopGnupgKey, user: User) -> Opened:
    """Return the request in a text that `signer` has signed for `user`.

    Raises:
        Unauthentic, Malformed: it is no text of a packet.
    """
    text.check(signed)
    message = text.read(signed, legacy=key.legacy)
    opened = request_of(message, text.identity(signed), key, user)
    return opened._replace(signer=signer)


def request_of(
    message: Message, identity: bytes, key: FwknopKey | FwknopGnupgKey, user: User
) -> Opened:
    """Return what `message` asks for, made with that key of that user.

    Raises:
        Malformed: as `requests`.
    """
    first, *others = requests(message)
    target = None
    if message.target is not None:
        target = Target(*message.target, message.type in OF_THIS_HOST)
    return Opened(first, user, key, identity, tuple(others), target)


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
