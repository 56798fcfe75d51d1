"""Everything that happens to a packet between the wire and the firewall, in order.

    capture -> datagram -> envelope -> replay -> quota -> policy -> granter -> firewall
                                                      `-> helper: gpg -> policy

Of a packet of fwknop by GnuPG, nobody knows what is in it before gpg has opened it. So
the replay check is behind gpg, and before it there is one that knows the packets alone.

This is the file to read first. Nothing before the replay check stores or logs anything,
so a stranger's packet leaves no trace but a counter. And nothing before it asks gpg.
"""

from typing import Final, NamedTuple, Protocol

from spassh.protocol.errors import NotOurs, PacketError

from .carried import parse_any
from .datagram import Datagram, parse
from .envelope import Enclosed, Envelope, Opened
from .firewall import Width
from .policy import Approval, Approvals, Order, Refusal, decide_all
from .quota import RequestQuota
from .repeats import Known, Repeats
from .replay import IDENTITY_SIZE, Entry
from .seen import SeenMessages
from .transports import Transport
from .users import UserKey

UNKNOWN: Final = "?"
"""Whose a packet is for which nothing but the signature says that. No user's name."""


class Admission(Protocol):
    """The replay check: `replay.ReplayMemory`, or a durable one around it."""

    def check(self, entry: Entry, source: bytes, now: int) -> None:
        """Raise `Stale` or `Replayed` if `entry` would not be accepted."""

    def admit(self, entry: Entry, source: bytes, now: int) -> None:
        """Accept `entry` once, or raise `Stale` or `Replayed`."""


class Others(NamedTuple):
    """What is listened to beside UDP to the knock port."""

    transports: frozenset[Transport]
    envelope: Envelope
    """The formats that come by them: the native one is for the knock port alone."""


class World(NamedTuple):
    """What a packet meets on its way."""

    knock_port: int
    envelope: Envelope
    replay: Admission
    repeats: Repeats
    quota: RequestQuota
    widths: frozenset[Width]
    """What the packet filter of this host can enforce."""
    seen: SeenMessages
    others: Others | None = None


class Pending(NamedTuple):
    """A signed request of a user whose requests have to be, before gpg has seen it."""

    opened: Opened
    datagram: Datagram
    message: bytes
    """The OpenPGP message."""
    ephemeral: bytes
    """`e` of the datagram."""
    arrived: int
    """When it arrived, in milliseconds since 1970-01-01 UTC."""

    @property
    def user(self) -> str:
        """The user's name."""
        return self.opened.user.name

    @property
    def address(self) -> bytes:
        """Whom to name in the log: nobody knows yet which address is to be allowed."""
        return self.datagram.source

    def may_get(self, user: str, address: bytes) -> bool:
        """Tell whether it may ask for what is this user's, this address's, or at all.

        Which address is to be allowed, the message says.
        """
        if user:
            return self.user == user
        return not address or address == self.address or self.opened.user.any_address


class PendingFwknop(NamedTuple):
    """A packet of fwknop by GnuPG, before gpg has seen it."""

    enclosed: Enclosed
    datagram: Datagram
    arrived: int
    """When it arrived, in milliseconds since 1970-01-01 UTC."""

    @property
    def message(self) -> bytes:
        """The OpenPGP message."""
        return self.enclosed.message

    @property
    def user(self) -> str:
        """The user's name, or `UNKNOWN`: all of these share what one user may ask."""
        return UNKNOWN if self.enclosed.user is None else self.enclosed.user.name

    @property
    def address(self) -> bytes:
        """Whom to name in the log: nobody knows yet which address is to be allowed."""
        return self.datagram.source

    def may_get(self, user: str, address: bytes) -> bool:
        """Tell whether it may ask for what is this user's, this address's, or at all.

        Which address is to be allowed, the message says, and of some whose it is.
        """
        its = self.enclosed.user
        if user:
            return its is None or its.name == user
        return not address or address == self.address or its is None or its.any_address


class Rejected(NamedTuple):
    """An authentic packet that came too late or for the second time."""

    user: str
    source: bytes
    error: PacketError


Decision = Approval | Approvals | Order | Refusal | Rejected | Pending | PendingFwknop
"""What becomes of an authentic request."""


def consider(frame: bytes, link: int, now: int, world: World) -> Decision:
    """Judge one frame of link type `link`, captured at `now` (milliseconds).

    Raises:
        PacketError: not an authentic packet. Count it, and say nothing to anybody.
    """
    datagram, envelope = _take(frame, link, world)
    known = world.repeats.find(datagram.payload)
    if known and known.is_native and datagram.transport:
        raise NotOurs("another port")
    rejected = known and _rejected(known, datagram.source, now, world)
    if rejected:
        return rejected
    opened = envelope.open(datagram.payload)
    if isinstance(opened, Enclosed):
        return _consider_enclosed(PendingFwknop(opened, datagram, now), world)
    source, request, user = datagram.source, opened.request, opened.user
    entry = Entry(opened.identity[:IDENTITY_SIZE], request.time)
    known = Known(user.name, entry, isinstance(opened.key, UserKey))
    rejected = _rejected(known, source, now, world)
    if rejected:
        world.repeats.add(datagram.payload, known)
        return rejected
    # Behind the check: who sends a user's old packets again must not use the user's
    # quota up. Before it is remembered: one user must not fill the memory of all.
    if not world.quota.take(user.name, now):
        return Refusal(user.name, request.address or source, "too many requests")
    world.replay.admit(entry, source, now)
    if opened.signed is not None and user.gnupg:
        return Pending(opened, datagram, *opened.signed, now)
    return decide_all(opened, datagram, now, world.widths)


def _take(frame: bytes, link: int, world: World) -> tuple[Datagram, Envelope]:
    """Return what came, and the formats that it may have."""
    others = world.others
    if others is None:
        return parse(frame, link, world.knock_port), world.envelope
    datagram = parse_any(frame, link, world.knock_port, others.transports)
    return datagram, others.envelope if datagram.transport else world.envelope


def _rejected(known: Known, source: bytes, now: int, world: World) -> Rejected | None:
    try:
        world.replay.check(known.entry, source, now)
    except PacketError as error:
        return Rejected(known.user, source, error)
    return None


def _consider_enclosed(
    pending: PendingFwknop, world: World
) -> Rejected | Refusal | PendingFwknop:
    """Judge a packet of which nobody has seen what is in it."""
    user, identity, source = pending.user, pending.enclosed.identity, pending.address
    try:
        world.seen.check(user, identity, source)
    except PacketError as error:
        return Rejected(user, source, error)
    if not world.quota.take(user, pending.arrived):
        return Refusal(user, source, "too many requests")
    world.seen.add(user, identity, source)
    return pending
