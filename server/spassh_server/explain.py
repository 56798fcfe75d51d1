"""What would happen to a packet, step by step. Pure: nothing is granted or written.

The steps are the daemon's own functions, in the order of `pipeline` and of
`spassh.protocol.opening`. What it says is for the administrator alone: to a stranger it
would tell what is wrong with a forgery.
"""

from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from spassh.protocol.errors import (
    NotOurs,
    PacketError,
    Replayed,
    Unauthentic,
)
from spassh.protocol.limits import DATAGRAM_SIZES
from spassh.protocol.opening import ServerKeys, open_datagram
from spassh.protocol.request import Request
from spassh.protocol.signed import Signed

from .addresses import text
from .datagram import Datagram
from .envelope import Enclosed, Opened
from .firewall import Width
from .fwknop_keys import FwknopGnupgKey, FwknopKey
from .openers.fwknop import has_form, open_for
from .pipeline import Admission
from .policy import Approval, Approvals, Order, Refusal, decide_all, rules
from .ports import Port
from .replay import IDENTITY_SIZE, Entry
from .users import User, UserKey, Users


class Step(NamedTuple):
    """One thing that is looked at."""

    name: str
    """datagram, gate, handshake, request, replay, time, signature, policy, firewall or
    grant."""
    passed: bool
    """Whether the packet gets to the next step."""
    text: str


class Scene(NamedTuple):
    """What a packet meets on its way."""

    keys: ServerKeys
    users: Users
    replay: Admission
    """A copy, in which the packets that would be granted are remembered."""
    widths: frozenset[Width]
    """What the packet filter can enforce."""
    firewall: str
    """Its name."""
    problem: str = ""
    """Why none works here, or empty."""


def explain(datagram: Datagram, now: int, scene: Scene) -> Iterator[Step]:
    """Yield what happens to `datagram` at the time `now` (ms), to its end.

    The last step is "grant" if it would be granted, and else one that is not passed.
    """
    size, source = len(datagram.payload), text(datagram.source)
    found = f"{size} bytes from {source}, source port {datagram.source_port}"
    by = f", by {datagram.transport}" * bool(datagram.transport)
    yield Step("datagram", True, found + by)
    opened = yield from _open(datagram, scene)
    if isinstance(opened, Enclosed):
        yield Step("request", True, _message(opened.message))
        yield _GPG
    elif opened is not None:
        yield from _follow(opened, datagram, now, scene)


def _follow(
    opened: Opened, datagram: Datagram, now: int, scene: Scene
) -> Iterator[Step]:
    """Yield what happens to an authentic request."""
    for request in (opened.request, *opened.others):
        yield Step("request", True, _wish(request, opened.signed))
    if not (yield from _admit(opened, datagram.source, now, scene.replay)):
        return
    if opened.signed is not None and opened.user.gnupg:
        yield _GPG
        return
    if not (yield from _keep_rules(opened, datagram, now)):
        return
    decision = decide_all(opened, datagram, now, scene.widths)
    if isinstance(decision, Refusal):
        yield Step("policy", False, decision.reason)
    elif isinstance(decision, Order):
        yield Step("grant", True, _order(decision))
    elif scene.problem:
        yield Step("firewall", False, scene.problem)
    else:
        each = decision.each if isinstance(decision, Approvals) else (decision,)
        for approval in each:
            yield Step("grant", True, f"{_approval(approval)}, by {scene.firewall}")


def _open(
    datagram: Datagram, scene: Scene
) -> Generator[Step, None, Opened | Enclosed | None]:
    """Go through gate and handshake; return the request if it is authentic."""
    if datagram.transport:
        return (yield from _open_carried(datagram.payload, scene.users))
    return (yield from _open_any(datagram.payload, scene))


def _open_any(
    payload: bytes, scene: Scene
) -> Generator[Step, None, Opened | Enclosed | None]:
    """Go through what a datagram to the knock port may be."""
    names: list[str] = []

    def find_psk(public: bytes) -> bytes:
        psk = scene.users.psk(public)
        names.append(scene.users.owner(public)[1].name)
        return psk

    try:
        opened = open_datagram(payload, scene.keys, find_psk)
    except NotOurs as error:
        if _tries_fwknop(scene.users) and has_form(payload):
            return (yield from _open_fwknop(payload, scene.users))
        yield Step("gate", False, _not_ours(str(error)))
        return None
    except PacketError as error:
        yield _GATE
        if isinstance(error, Unauthentic):
            yield Step("handshake", False, _unauthentic(str(error), names))
        else:
            yield Step("handshake", True, f"made by {names[0]}")
            yield Step("request", False, f"breaks a rule of the protocol: {error}")
        return None
    yield _GATE
    key, user = scene.users.owner(opened.client)
    yield Step("handshake", True, _made_by(user, key))
    return Opened(opened.request, user, key, opened.identity, signed=opened.signed)


def _tries_fwknop(users: Users) -> int:
    """Return how many keys for packets of fwknop there are."""
    return len(users.fwknop) + len(users.fwknop_gnupg)


def _open_carried(
    payload: bytes, users: Users
) -> Generator[Step, None, Opened | Enclosed | None]:
    """Go through what came by another way, and so has to be a packet of fwknop."""
    if has_form(payload):
        return (yield from _open_fwknop(payload, users))
    yield Step("gate", False, "it has not the form of a packet of fwknop")
    return None


def _open_fwknop(
    payload: bytes, users: Users
) -> Generator[Step, None, Opened | Enclosed | None]:
    """Try the keys for packets of fwknop; return the request if one fits."""
    yield Step("gate", True, "it has the form of a packet of fwknop")
    try:
        opened = open_for(payload, users)
    except NotOurs:
        what = f"none of the {_tries_fwknop(users)} keys for packets of fwknop fits"
        yield Step("handshake", False, what)
        return None
    except Unauthentic as error:
        what = f"{error}: its HMAC is right, and its encryption key is another"
        yield Step("handshake", False, what)
        return None
    except PacketError as error:
        yield Step("handshake", True, "a key for packets of fwknop fits")
        yield Step("request", False, f"breaks a rule of fwknop's format: {error}")
        return None
    if opened.user is None:
        what = "it has no HMAC that is known: only its signature can say whose it is"
        yield Step("handshake", True, what)
    else:
        yield Step("handshake", True, _made_by(opened.user, opened.key))
    return opened


def _made_by(user: User, key: UserKey | FwknopKey | FwknopGnupgKey) -> str:
    keys = user.all_keys
    return f"made by {user.name}, with key {keys.index(key) + 1} of {len(keys)}"


_GATE = Step("gate", True, "size, mac and tag are right: it is for this server")
_GPG = Step("signature", False, "gpg is not asked here: see the log of spasshd")


def _not_ours(reason: str) -> str:
    sizes = " or ".join(map(str, DATAGRAM_SIZES))
    remedies = {
        "size": f"a packet of ours has {sizes} bytes",
        "mac": "made for another server's key, or changed on the way",
        "tag": "made for another server's key, or changed on the way",
    }
    return f"wrong {reason}: {remedies[reason]}"


def _unauthentic(reason: str, names: list[str]) -> str:
    if names:
        return f"{reason}: {names[0]} has another psk here, or it was changed"
    return reason


def _admit(
    opened: Opened, source: bytes, now: int, replay: Admission
) -> Generator[Step, None, bool]:
    """Go through the replay check, and remember the packet."""
    request = opened.request
    entry = Entry(opened.identity[:IDENTITY_SIZE], request.time)
    try:
        replay.admit(entry, source, now)
    except Replayed as error:
        yield Step("replay", False, str(error))
        return False
    except PacketError as error:
        yield Step("replay", True, "not accepted before")
        yield Step("time", False, f"{error}: made {utc(request.time)}")
        return False
    yield Step("replay", True, "not accepted before")
    late = (now - request.time) / 1000
    when = f"{abs(late):.3f} s {'ago' if late >= 0 else 'in the future'}"
    yield Step("time", True, f"made {utc(request.time)}, {when}")
    return True


def _keep_rules(
    opened: Opened, datagram: Datagram, now: int
) -> Generator[Step, None, bool]:
    """Go through the rules, for each port that is asked for."""
    for request in (opened.request, *opened.others):
        one = opened._replace(request=request)
        for kept, demand, broken in rules(one, datagram, now):
            yield Step("policy", kept, demand if kept else broken)
            if not kept:
                return False
    return True


def _wish(request: Request, signed: Signed | None) -> str:
    if signed is not None:
        return _message(signed.message)
    if request.command:
        return f"run {_words(request.command)}"
    address = text(request.address) if request.address else "where it comes from"
    seconds = f"{request.lifetime} s" if request.lifetime else "the usual time"
    port = Port(request.protocol, request.port)
    wish = f"open {port} for {address}, for {seconds}"
    if request.source_port:
        wish += f", from source port {request.source_port}"
    return wish


def _message(message: bytes) -> str:
    return f"an OpenPGP message of {len(message)} bytes"


def _order(order: Order) -> str:
    command = order.command
    account = f"as {command.run_as}, for at most {command.seconds} s"
    return f"run {command.name} {account}: {_words(order.argv)}"


def _approval(approval: Approval) -> str:
    grant = approval.grant
    narrowed = {
        Width.FLOW: f", from source port {grant.source_port}",
        Width.ONCE: ", for one connection",
        Width.ADDRESS: "",
    }
    return (
        f"{text(grant.address)} may reach {grant.port} for {approval.seconds} s"
        f"{narrowed[grant.width]} (width {grant.width.label})"
    )


def _words(argv: tuple[str, ...]) -> str:
    """Spell what a client sent so that it cannot move a terminal's cursor."""
    return " ".join(map(ascii, argv))


def utc(milliseconds: int) -> str:
    """Spell a time as people do, in UTC; one of the far future as it is."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"{milliseconds} ms after 1970"
    return moment.isoformat(" ", "milliseconds").replace("+00:00", " UTC")
