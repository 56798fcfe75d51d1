"""What becomes of a signed request when gpg has looked at it. Pure."""

from spassh.protocol.errors import PacketError, Unauthentic
from spassh.protocol.limits import WINDOW_MS
from spassh.protocol.request import Request
from spassh.protocol.signed import decode_text

from .envelope import Opened
from .firewall import Width
from .openpgp.message import REASONS, Answer, Verdict
from .pipeline import Pending
from .policy import Approval, Order, Refusal, decide
from .users import User, UserKey, Users


def settle(
    pending: Pending,
    answer: Answer,
    *,
    server: bytes,
    users: Users,
    now: int,
    widths: frozenset[Width],
) -> Approval | Order | Refusal:
    """Judge the request that was in an OpenPGP message (PROTOCOL.md 5.6 and 5.7).

    Args:
        pending: what it came in.
        answer: what gpg says.
        server: the server's public key, 32 bytes.
        users: those of now, who may be others than when the datagram came.
        now: milliseconds since 1970-01-01 UTC.
        widths: what the packet filter of this host can enforce.
    """

    def refuse(reason: str) -> Refusal:
        return Refusal(pending.user, pending.address, reason)

    if answer.verdict != Verdict.GOOD:
        return refuse(REASONS[answer.verdict])
    owner = _owner(pending, users)
    if owner is None:
        return refuse("the user's key is gone meanwhile")
    # Of the time of its arrival: what waits for gpg does not grow stale by that.
    if abs(pending.arrived - answer.time * 1000) > WINDOW_MS:
        return refuse("the OpenPGP signature was made at another time")
    try:
        request = decode_text(answer.text, server, pending.ephemeral)
    except PacketError as error:
        return refuse(f"what is signed is no request: {error}")
    if request.time != pending.opened.request.time:
        return refuse("what is signed has another time")
    opened = _opened(pending, owner, request, answer.fingerprint)
    return decide(opened, pending.datagram, now, widths)


def _owner(pending: Pending, users: Users) -> tuple[UserKey, User] | None:
    """Return key and user as they are now, unless one of them is gone."""
    before = pending.opened.key
    if not isinstance(before, UserKey):
        return None  # No other format than ours has such messages.
    try:
        psk = users.psk(before.public)
    except Unauthentic:
        return None
    key, user = users.owner(before.public)
    same = psk == before.psk and user.name == pending.user
    return (key, user) if same else None


def _opened(
    pending: Pending, owner: tuple[UserKey, User], request: Request, signer: str
) -> Opened:
    key, user = owner
    identity = pending.opened.identity
    return Opened(request, user, key, identity, signer=signer)
