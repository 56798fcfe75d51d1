"""What the listener asks of the granter, and what becomes of it.

What waits is bounded everywhere, so that a busy firewall never stops the listener, and
nothing here ever blocks. Few requests are on their way at once: what the granter has to
read is in one line, behind which everybody waits.
"""

import time
from collections import Counter
from collections.abc import Callable, Container
from typing import Any

from . import events
from .addresses import text
from .fair_lines import FairLines
from .limits import (
    MAX_GRANTS_PER_USER,
    MAX_OUTSTANDING_GRANTS,
    MAX_WAITING_GRANTS,
    MAX_WAITING_PER_USER,
)
from .policy import Approval, Order
from .privsep import message
from .privsep.message import (
    Answer,
    Connection,
    GrantMessage,
    Proof,
    Revoke,
    RunMessage,
)
from .quota import GrantQuota
from .report import Report

Reply = Callable[[Any], None]

_REFUSED = "the packet filter refused: see the log"


class Asking:
    """Numbers the requests, and knows what each answer is the answer to."""

    def __init__(self, send: Callable[[bytes], None], report: Report) -> None:
        """`send` sends a message to the granter."""
        self._send = send
        self._report = report
        self._live = GrantQuota(MAX_GRANTS_PER_USER)
        self._number = 0
        self._waiting: FairLines[Approval | Order] = FairLines()
        self._outstanding: dict[int, Approval | Order] = {}
        self._replies: dict[int, Callable[[Answer], None]] = {}

    @property
    def idle(self) -> bool:
        """Whether every request has its answer."""
        return not self._waiting and not self._outstanding and not self._replies

    def approve(self, approval: Approval) -> None:
        """Ask for a grant, unless its user has too many."""
        user, grant, seconds = approval
        if not self._has_room(user):
            self._report.count("busy")
        elif self._live.allow(user, grant, seconds, time.monotonic()):
            self._waiting.add(approval)
            self._send_waiting()
        else:
            reason = "too many live grants"
            self._report.denied("refused", user, grant.address, reason)

    def order(self, order: Order) -> None:
        """Ask for a command."""
        if not self._has_room(order.user):
            self._report.count("busy")
            return
        self._waiting.add(order)
        self._send_waiting()

    def revoke(self, wanted: Revoke, reply: Reply) -> None:
        """Ask for grants to be taken back; `reply` gets what became of it."""
        # What waits here would be asked for afterwards, and be there when all is gone.
        self._waiting.drop(lambda one: _concerns(wanted, one))
        number = self._expect(lambda answer: self._revoked(wanted, answer, reply))
        self._send(message.encode_revoke(wanted._replace(number=number)))

    def protect(self, reply: Reply) -> None:
        """Have the granter read again what is to be protected."""
        number = self._expect(lambda answer: reply(_of(answer, _REFUSED)))
        self._send(message.encode_protect(number))

    def prove(self, connection: Connection, reply: Reply) -> None:
        """Ask whether a connection came through the drop on trial."""
        number = self._expect(
            lambda answer: reply({"proved": answer.kind == message.GRANTED})
        )
        self._send(message.encode_proof(Proof(number, connection)))

    def _expect(self, take: Callable[[Answer], None]) -> int:
        """Return the number of a question whose answer goes to `take`."""
        number = self._next()
        self._replies[number] = take
        return number

    def keep(self, users: Container[str]) -> None:
        """Ask for nothing more for those who are not among `users` any more."""
        self._waiting.drop(lambda one: one.user not in users)

    def answered(self, answer: Answer) -> None:
        """Take an answer in. One to a question that nobody asked is ignored."""
        if answer.number in self._replies:
            self._replies.pop(answer.number)(answer)
        elif answer.number in self._outstanding:
            self._judge(self._outstanding.pop(answer.number), answer.kind)
            self._send_waiting()

    def _revoked(self, wanted: Revoke, answer: Answer, reply: Reply) -> None:
        if answer.kind != message.REVOKED:
            reply({"error": _REFUSED})
            return
        self._live.forget(wanted.user, wanted.address)
        # No user is called "-".
        whom = text(wanted.address) if wanted.address else wanted.user or "-"
        events.say(
            "revoked", whom=whom, grants=answer.grants, connections=answer.sessions
        )
        reply(
            {
                "grants": answer.grants,
                "sessions": answer.sessions,
                "forgotten": answer.forgotten,
            }
        )

    def _judge(self, asked: Approval | Order, kind: int) -> None:
        if isinstance(asked, Order):
            self._judge_order(asked, kind)
            return
        user, grant, seconds = asked
        if kind == message.GRANTED:
            # It lives from now on, however long it has waited.
            self._live.extend(user, grant, seconds, time.monotonic())
            self._report.granted(asked)
        elif kind == message.REFUSED:
            reason = f"{grant.port} is over the granter's limits"
            self._report.denied("refused", user, grant.address, reason)
        else:
            reason = "the packet filter refused"
            self._report.denied("failed", user, grant.address, reason)

    def _judge_order(self, order: Order, kind: int) -> None:
        name = order.command.name
        if kind == message.GRANTED:
            self._report.ordered(order)
        elif kind == message.REFUSED:
            reason = f"command {name} is over the granter's limits"
            self._report.denied("refused", order.user, order.address, reason)
        else:
            reason = f"command {name} cannot run"
            self._report.denied("failed", order.user, order.address, reason)

    def _has_room(self, user: str) -> bool:
        if self._waiting.waiting(user) >= MAX_WAITING_PER_USER:
            return False
        return len(self._waiting) < MAX_WAITING_GRANTS

    def _send_waiting(self) -> None:
        while len(self._outstanding) < MAX_OUTSTANDING_GRANTS:
            under_way = Counter(one.user for one in self._outstanding.values())
            asked = self._waiting.take(under_way)
            if asked is None:
                return
            number = self._next()
            self._outstanding[number] = asked
            self._send(_encode(asked, number))

    def _next(self) -> int:
        self._number = (self._number + 1) & 0xFFFFFFFF
        return self._number


def _of(answer: Answer, failure: str) -> dict[str, str]:
    return {} if answer.kind == message.GRANTED else {"error": failure}


def _concerns(wanted: Revoke, asked: Approval | Order) -> bool:
    """Tell whether `wanted` takes back what is `asked` for."""
    if wanted.user:
        return asked.user == wanted.user
    if wanted.address and isinstance(asked, Approval):
        return asked.grant.address == wanted.address
    return not wanted.address


def _encode(asked: Approval | Order, number: int) -> bytes:
    if isinstance(asked, Order):
        user, address, command, argv = asked
        return message.encode_run(RunMessage(number, user, address, argv, command.name))
    wanted = GrantMessage(number, asked.grant, asked.seconds, asked.user)
    return message.encode_grant(wanted)
