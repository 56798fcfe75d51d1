"""The listener's loop: everything the unprivileged half does once it is unprivileged.

One poll(2) waits for frames, the granter's answers, signals and the administrator,
with a timeout only while the replay store is not synced: idle means asleep.
"""

import os
import select
import signal
import socket
import time
from collections import Counter, deque
from typing import Any

from spassh.protocol.errors import PacketError, Replayed
from spassh.protocol.opening import ServerKeys

from . import control, events
from .addresses import text
from .capture import Capture
from .clock import now_ms
from .config import Config
from .envelope import Envelope
from .limits import (
    GRANTED_LINES_PER_SECOND,
    MAX_GRANTS_PER_USER,
    MAX_OUTSTANDING_GRANTS,
    MAX_WAITING_GRANTS,
    OTHER_LINES_PER_SECOND,
    REQUEST_BURST,
    REQUESTS_PER_SECOND,
    SYNC_QUIET_MS,
    SYNC_SECONDS,
)
from .openers.native import NativeOpener
from .pipeline import Rejected, World, consider
from .policy import Approval, Refusal
from .privsep import message
from .privsep.message import Answer, GrantMessage
from .quota import GrantQuota, RequestQuota
from .reload import Reload
from .store import ReplayStore
from .systemd import Notifier
from .users import Users


class GranterGoneError(Exception):
    """The granter left. It has said why."""


class Listener:
    """Judges frames, and passes what it approves on to the granter."""

    def __init__(
        self,
        *,
        config: Config,
        keys: ServerKeys,
        captures: list[Capture],
        store: ReplayStore,
        granter: socket.socket,
        server: control.ControlServer,
        poll: select.poll,
        notifier: Notifier,
    ) -> None:
        self._config = config
        self._captures = {capture.fileno(): capture for capture in captures}
        self._store = store
        self._granter = granter
        self._control = server
        self._poll = poll
        self._notifier = notifier
        self._opener = NativeOpener(keys, Users([]))
        self._world = World(
            config.knock_port,
            Envelope([self._opener]),
            store,
            RequestQuota(REQUEST_BURST, REQUESTS_PER_SECOND),
        )
        self._live = GrantQuota(MAX_GRANTS_PER_USER)
        self._grants_log = events.Limiter(time.monotonic, GRANTED_LINES_PER_SECOND)
        self._limiter = events.Limiter(time.monotonic, OTHER_LINES_PER_SECOND)
        self._counters: Counter[str] = Counter()
        self._number = 0
        self._outstanding: dict[int, Approval] = {}
        self._waiting: deque[Approval] = deque()
        self._reload = Reload(config)
        self._synced = 0.0
        self._store_problem = store.problem
        self._ready = False
        self._stopping = False

    def serve(self) -> None:
        """Work until SIGTERM, SIGINT or the stop verb.

        Raises:
            GranterGoneError: the granter left.
            CaptureError: an interface went away.
        """
        wake, wake_end = socket.socketpair()
        wake_end.setblocking(False)
        signal.set_wakeup_fd(wake_end.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        # A file that reaches RLIMIT_FSIZE is an error of write(2), not the end of us.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for fd in (wake.fileno(), self._granter.fileno(), *self._captures):
            self._poll.register(fd, select.POLLIN)
        with wake, wake_end:
            # Until it hears this, the granter does not touch the firewall.
            self._send(self._reload.begin())
            while not self._stopping:
                ready = self._poll.poll(SYNC_QUIET_MS if self._store.unsynced else None)
                for fd, _ in ready:
                    if fd in self._captures:
                        self._read_frames(self._captures[fd])
                    elif fd == self._granter.fileno():
                        self._read_granter()
                    elif fd == wake.fileno():
                        self._read_signals(wake.recv(64))
                    else:
                        self._read_control(fd)
                self._sync(quiet=not ready)
                self._say_store_problem()
                self._say_set_back()
            self._store.sync()
        self._notifier.send("STOPPING=1")
        events.say("stopped")

    # Frames

    def _read_frames(self, capture: Capture) -> None:
        for frame in capture.frames():
            self._counters["frames"] += 1
            try:
                decision = consider(frame, capture.link, now_ms(), self._world)
            except PacketError as error:
                self._counters[error.outcome] += 1
            except Exception as error:  # noqa: BLE001 - a bug must not end the guard
                self._counters["bug"] += 1
                self._limiter.say("bug", error=type(error).__name__, text=error)
            else:
                self._act(decision)

    def _act(self, decision: Approval | Refusal | Rejected) -> None:
        if isinstance(decision, Approval):
            self._approve(decision)
        elif isinstance(decision, Refusal):
            self._count_and_say(
                "refused", decision.user, decision.address, decision.reason
            )
        else:
            self._reject(decision)

    def _reject(self, decision: Rejected) -> None:
        error = decision.error
        # The network makes duplicates, and `any` sees a packet once for each device it
        # passes: the same datagram from the same address is no attack.
        if isinstance(error, Replayed) and error.same_source:
            self._counters["duplicate"] += 1
            return
        self._count_and_say(error.outcome, decision.user, decision.source, str(error))

    def _count_and_say(
        self, event: str, user: str, address: bytes, reason: str
    ) -> None:
        self._counters[event] += 1
        self._limiter.say(event, user=user, address=text(address), reason=reason)

    def _sync(self, *, quiet: bool) -> None:
        """Have the store synced when nobody waits, and after a while in any case.

        A disk takes milliseconds, which the next client would have to wait.
        """
        now = time.monotonic()
        if not self._store.unsynced:
            self._synced = now
        elif quiet or now - self._synced > SYNC_SECONDS:
            self._store.sync()
            self._synced = now

    def _say_store_problem(self) -> None:
        """Say what keeps the replay memory from the disk, and when that has ended."""
        if self._store.problem != self._store_problem:
            self._store_problem = self._store.problem
            events.say("store", problem=self._store_problem or "none any more")

    def _say_set_back(self) -> None:
        """Say that the clock was ahead at the start, and what was done about it."""
        if self._store.set_back:
            events.say("clock", set_back=self._store.set_back // 1000)
            self._store.set_back = 0

    # The granter

    def _approve(self, approval: Approval) -> None:
        """Queue a grant. What waits is bounded, so a busy firewall never stops us."""
        if len(self._waiting) >= MAX_WAITING_GRANTS:
            self._counters["busy"] += 1
            return
        user, grant, seconds = approval
        if not self._live.allow(user, grant, seconds, time.monotonic()):
            self._count_and_say("refused", user, grant.address, "too many live grants")
            return
        self._waiting.append(approval)
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and len(self._outstanding) < MAX_OUTSTANDING_GRANTS:
            approval = self._waiting.popleft()
            self._number = (self._number + 1) & 0xFFFFFFFF
            self._outstanding[self._number] = approval
            wanted = GrantMessage(self._number, approval.grant, approval.seconds)
            self._send(message.encode_grant(wanted))

    def _send(self, data: bytes) -> None:
        try:
            self._granter.send(data)
        except OSError as error:
            raise GranterGoneError from error

    def _read_granter(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._granter, message.SIZE + 1, 1)
        except OSError as error:
            raise GranterGoneError from error
        if not data:
            raise GranterGoneError
        try:
            self._handle_answer(message.decode_answer(data), fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _handle_answer(self, answer: Answer, fds: list[int]) -> None:
        if answer.kind == message.READY:
            return  # The user files follow: the daemon is ready when it has them.
        if answer.kind == message.USER_FILE:
            self._reload.add(answer, fds)
        elif answer.kind == message.USERS_END:
            self._end_reload(answer)
        else:
            self._say_granted(answer)
            self._send_waiting()

    def _say_granted(self, answer: Answer) -> None:
        approval = self._outstanding.pop(answer.number, None)
        if approval is None:
            return
        user, grant = approval.user, approval.grant
        if answer.kind == message.GRANTED:
            self._counters["granted"] += 1
            # It lives from now on, however long it has waited.
            self._live.extend(user, grant, approval.seconds, time.monotonic())
            self._grants_log.say(
                "granted",
                user=user,
                address=text(grant.address),
                port=grant.port,
                seconds=approval.seconds,
            )
        elif answer.kind == message.REFUSED:
            reason = f"{grant.port} is over the granter's limits"
            self._count_and_say("refused", user, grant.address, reason)
        else:
            self._count_and_say("failed", user, grant.address, "the firewall refused")

    # Users

    def _end_reload(self, answer: Answer) -> None:
        users = self._reload.end(answer, self._opener.users)
        if users is None:
            return
        self._opener.users = users
        if self._ready:
            events.say("reloaded", users=len(users))
            return
        self._ready = True
        self._notifier.send("READY=1")
        events.say(
            "ready",
            users=len(users),
            knock_port=f"udp/{self._config.knock_port}",
            interfaces=",".join(self._config.interfaces),
            protect=",".join(map(str, self._config.protect)) or "nothing",
        )

    # The administrator

    def _read_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
        elif signal.SIGHUP in numbers:
            self._send(self._reload.begin())

    def _read_control(self, fd: int) -> None:
        for request, answer in self._control.requests(fd):
            if request == control.STATUS:
                answer(self._status())
            elif request == control.RELOAD:
                self._send(self._reload.begin(answer))
            elif request == control.STOP:
                self._stopping = True
                answer({})
            else:
                answer({"errors": ["unknown request"]})

    def _status(self) -> dict[str, Any]:
        return {
            "ready": self._ready,
            "pid": os.getpid(),
            "users": len(self._opener.users),
            "counters": dict(self._counters),
            "remembered": len(self._store),
            "store_problem": self._store.problem,
            "capture_drops": sum(one.dropped() for one in self._captures.values()),
        }
