"""What becomes of a packet of fwknop by GnuPG when gpg has looked at it.

It does not depend on the network, and on the time by its arguments alone.
"""

from spassh.protocol.errors import PacketError
from spassh.protocol.limits import WINDOW_MS

from .firewall import Width
from .fwknop_keys import FwknopGnupgKey
from .openers.fwknop import open_text
from .openpgp.message import REASONS, Answer, Verdict
from .pipeline import Admission, PendingFwknop, Rejected
from .policy import Approval, Approvals, Order, Refusal, decide_all
from .replay import IDENTITY_SIZE, Entry
from .users import User, Users


def settle_fwknop(
    pending: PendingFwknop,
    answer: Answer,
    *,
    users: Users,
    replay: Admission,
    now: int,
    widths: frozenset[Width],
) -> Approval | Approvals | Order | Refusal | Rejected:
    """Judge the request that was in an OpenPGP message.

    Args:
        pending: what it came in.
        answer: what gpg says.
        users: those of now, who may be others than when the packet came.
        replay: the replay memory, where this request is remembered.
        now: milliseconds since 1970-01-01 UTC.
        widths: what the packet filter of this host can enforce.
    """

    def refuse(reason: str) -> Refusal:
        return Refusal(pending.user, pending.address, reason)

    if answer.verdict != Verdict.GOOD:
        return refuse(REASONS[answer.verdict])
    # Before anything is remembered: what others sign must not use it up.
    owner = _owner(pending, answer.fingerprint, users)
    if isinstance(owner, str):
        return refuse(owner)
    # Of the time of its arrival: what waits for gpg does not grow stale by that.
    if abs(pending.arrived - answer.time * 1000) > WINDOW_MS:
        return refuse("the OpenPGP signature was made at another time")
    try:
        opened = open_text(answer.text, answer.fingerprint, *owner)
    except PacketError as error:
        return refuse(f"what is signed is no request: {error}")
    entry = Entry(opened.identity[:IDENTITY_SIZE], opened.request.time)
    try:
        replay.admit(entry, pending.address, pending.arrived)
    except PacketError as error:
        return Rejected(opened.user.name, pending.address, error)
    return decide_all(opened, pending.datagram, now, widths)


def _owner(
    pending: PendingFwknop, signer: str, users: Users
) -> tuple[FwknopGnupgKey, User] | str:
    """Return key and user as they are now, or why it is nobody's."""
    enclosed = pending.enclosed
    owner = users.owner_of_message(enclosed.key.hmac, signer)
    if enclosed.user is None:
        return owner or "it has no HMAC, and is signed by nobody who needs none"
    if owner is None or owner[1].name != enclosed.user.name:
        return "the user's key is gone meanwhile"
    if signer not in owner[0].signers:
        return "the request is signed by none of the user's OpenPGP keys"
    return owner
