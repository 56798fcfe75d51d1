"""What the listener asks the helper that runs gpg, and what waits for that.

As in `asking`, all that waits is bounded, one user's burst delays nobody else's, and
nothing here ever blocks.
"""

import socket
from collections.abc import Callable
from enum import Enum

from .fair_lines import FairLines
from .limits import (
    MAX_OUTSTANDING_MESSAGES,
    MAX_WAITING_MESSAGES,
    MAX_WAITING_MESSAGES_PER_USER,
    SIGNED_BURST,
    SIGNED_PER_SECOND,
)
from .openpgp.message import (
    ANSWER_SIZE,
    LOST,
    Answer,
    HelperMessageError,
    Question,
    Verdict,
    decode_answer,
    encode_question,
)
from .pipeline import Pending, PendingFwknop
from .quota import RequestQuota

AnyPending = Pending | PendingFwknop


class Taken(Enum):
    """What becomes of a message that was handed over."""

    ASKED = "asked"
    BUSY = "busy"
    TOO_MANY = "too many signed requests"
    NO_HELPER = "gpg does not run here"


class Signatures:
    """Knows which answer belongs to which signed request."""

    def __init__(self, helper: socket.socket | None) -> None:
        """Take our end of the helper's socket; None if there is no helper."""
        self._socket = helper
        self._quota = RequestQuota(SIGNED_BURST, SIGNED_PER_SECOND)
        self._number = 0
        self._waiting: FairLines[AnyPending] = FairLines()
        self._outstanding: dict[int, AnyPending] = {}
        self._dropped: set[int] = set()
        """What nobody waits for any more: the helper has the messages all the same."""

    def fileno(self) -> int:
        """Return the descriptor that polls readable for an answer; -1 for none."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def idle(self) -> bool:
        """Whether every message has its answer."""
        return not self._waiting and not self._outstanding

    def ask(self, pending: AnyPending) -> Taken:
        """Have gpg look at a message, now or later."""
        if self._socket is None:
            return Taken.NO_HELPER
        # gpg is dear: whoever has a user's keys, and not the OpenPGP key, can send
        # messages that it has to look at.
        if not self._quota.take(pending.user, pending.arrived):
            return Taken.TOO_MANY
        if (
            len(self._waiting) >= MAX_WAITING_MESSAGES
            or self._waiting.waiting(pending.user) >= MAX_WAITING_MESSAGES_PER_USER
        ):
            return Taken.BUSY
        self._waiting.add(pending)
        self._send_waiting()
        return Taken.ASKED

    def drop(self, unwanted: Callable[[AnyPending], bool]) -> None:
        """Have nothing come of what is `unwanted`, whatever gpg says of it."""
        self._waiting.drop(unwanted)
        self._dropped.update(
            number for number, one in self._outstanding.items() if unwanted(one)
        )

    def read(self) -> list[tuple[AnyPending, Answer]]:
        """Read one answer; if the helper has gone, that is the answer to everything.

        If only it has begun anew, it is the answer to what it was asked before.

        Whoever polls its descriptor looks at `fileno` again, which is -1 then.
        """
        answer = self._receive()
        if answer is None:
            return self._lose()
        if answer.number == LOST:
            lost = [(one, answer) for one in self._forget()]
            self._send_waiting()
            return lost
        pending = self._outstanding.pop(answer.number, None)
        is_wanted = answer.number not in self._dropped
        self._dropped.discard(answer.number)
        self._send_waiting()
        return [(pending, answer)] if pending is not None and is_wanted else []

    def _receive(self) -> Answer | None:
        """Return what the helper says, or None if it has gone or says nonsense."""
        if self._socket is None:
            return None
        try:
            return decode_answer(self._socket.recv(ANSWER_SIZE + 1))
        except (OSError, HelperMessageError):
            return None

    def _lose(self) -> list[tuple[AnyPending, Answer]]:
        self._socket = None
        lost = [*self._forget(), *self._waiting.drop(lambda _: True)]
        return [(one, Answer(0, Verdict.FAILED)) for one in lost]

    def _forget(self) -> list[AnyPending]:
        """Forget what was asked, and return what somebody waits for."""
        asked, dropped = self._outstanding, self._dropped
        self._outstanding, self._dropped = {}, set()
        return [one for number, one in asked.items() if number not in dropped]

    def _send_waiting(self) -> None:
        while self._socket is not None:
            if len(self._outstanding) >= MAX_OUTSTANDING_MESSAGES:
                return
            pending = self._waiting.take({}, self._may_be_sent)
            if pending is None:
                return
            self._number = self._number % 0xFFFFFFFF + 1
            self._outstanding[self._number] = pending
            question = Question(self._number, pending.message)
            try:
                self._socket.send(encode_question(question), socket.MSG_DONTWAIT)
            except OSError:
                # It has gone, and that can be read as well: `read` tells everybody.
                return

    def _may_be_sent(self, pending: AnyPending) -> bool:
        """Leave one of the helper's two workers to the others, whoever this is.

        A message can take gpg as long as it may take: that of a stranger, and that of a
        user who wants it so.
        """
        return all(one.user != pending.user for one in self._outstanding.values())
