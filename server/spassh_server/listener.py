"""The listener's loop: everything the unprivileged half does once it is unprivileged.

One poll(2) waits for frames, the granter's answers, signals and the administrator,
with a timeout only while the replay store is not synced, or where the service manager
wants to be told that we are alive: idle means asleep.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

from spassh.protocol.errors import PacketError, Replayed
from spassh.protocol.opening import ServerKeys

from . import control, events
from .asking import Asking
from .capture import Capture
from .capture_file import CaptureFile
from .clock import now_ms
from .config import Config
from .envelope import Envelope, Opener
from .firewall import Width
from .libpcap import CaptureError
from .limits import (
    MAX_OUTSTANDING_GRANTS,
    MAX_REPEATS,
    REQUEST_BURST,
    REQUESTS_PER_SECOND,
    SYNC_QUIET_MS,
    SYNC_SECONDS,
)
from .openers.fwknop import FwknopOpener
from .openers.native import NativeOpener
from .openpgp.message import Answer as GpgAnswer
from .pipeline import (
    Decision,
    Others,
    Pending,
    PendingFwknop,
    Rejected,
    World,
    consider,
)
from .policy import Approval, Approvals, Order, Refusal
from .privsep import message
from .privsep.message import Answer
from .quota import RequestQuota
from .reload import Reload
from .repeats import Repeats
from .report import Report
from .seen import SeenMessages
from .settle import settle
from .settle_fwknop import settle_fwknop
from .signatures import AnyPending, Signatures, Taken
from .store import ReplayStore
from .systemd import Notifier
from .users import Users, lax_keys

_NO_WIDTHS: Final[frozenset[Width]] = frozenset()
"""Until the granter has said what its packet filter can do, it can do nothing."""
_OF_A_RELOAD: Final = {message.USER_FILE, message.MAIN_FILE, message.NO_USERS_DIR}


class GranterGoneError(Exception):
    """The granter left. It has said why."""


class Listener:
    """Judges frames, and passes what it approves on to the granter."""

    def __init__(
        self,
        *,
        config: Config,
        keys: ServerKeys,
        captures: Sequence[Capture | CaptureFile],
        store: ReplayStore,
        granter: socket.socket,
        server: control.ControlServer,
        poll: select.poll,
        notifier: Notifier,
        helper: socket.socket | None = None,
    ) -> None:
        self._config = config
        self._server = keys.public
        self._captures = {capture.fileno(): capture for capture in captures}
        self._store = store
        self._granter = granter
        self._control = server
        self._poll = poll
        self._answers = select.poll()
        self._answers.register(granter, select.POLLIN)
        self._notifier = notifier
        tagged = all(isinstance(one, Capture) and one.kept.untagged for one in captures)
        self._opener = NativeOpener(keys, Users([]), tagged=tagged)
        foreign = self._foreign_openers()
        transports = frozenset(config.fwknop_transports)
        self._world = World(
            config.knock_port,
            # The cheapest to reject first.
            Envelope([self._opener, *foreign]),
            store,
            Repeats(MAX_REPEATS),
            RequestQuota(REQUEST_BURST, REQUESTS_PER_SECOND),
            _NO_WIDTHS,
            SeenMessages(),
            Others(transports, Envelope(foreign)) if transports else None,
        )
        self._report = Report()
        self._asking = Asking(self._send, self._report)
        self._signatures = Signatures(helper)
        self._helper = self._signatures.fileno()
        self._reload = Reload(config)
        self._synced = 0.0
        self._store_problem = store.problem
        self._ready = False
        self._stopping = False
        self._for_good = False
        self._pinged = 0.0
        self._damage: CaptureError | None = None

    def _foreign_openers(self) -> list[Opener]:
        """Return the formats that this daemon takes beside the native one."""
        if not self._config.fwknop:
            return []
        return [FwknopOpener(lambda: self._opener.users)]

    def serve(self) -> bool:
        """Work until SIGTERM, SIGINT or the stop verb, or until the files are read.

        Returns:
            Whether it was the stop verb: then nobody is to start us again.

        Raises:
            GranterGoneError: the granter left.
            CaptureError: an interface went away, where that cannot be waited out, or a
                file of packets is damaged; all before that was judged.
        """
        wake, wake_end = socket.socketpair()
        wake_end.setblocking(False)
        signal.set_wakeup_fd(wake_end.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        # A file that reaches RLIMIT_FSIZE is an error of write(2), not the end of us.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for fd in (wake.fileno(), self._granter.fileno(), self._helper):
            if fd >= 0:
                self._poll.register(fd, select.POLLIN)
        self._pinged = time.monotonic()
        with wake, wake_end:
            # Until it hears this, the granter does not touch the firewall.
            self._send(self._reload.begin())
            while not self._stopping:
                ready = self._poll.poll(self._until_next())
                for fd, _ in ready:
                    if fd == wake.fileno():
                        self._read_signals(wake.recv(64))
                    else:
                        self._read(fd)
                self._sync(quiet=not ready)
                self._say_store_problem()
                self._say_set_back()
                self._ping()
                self._end_with_files()
            self._store.sync()
            # Who ends a whole group of processes sends a second one, to the other half.
            signal.set_wakeup_fd(-1)
        self._notifier.send("STOPPING=1")
        events.say("stopped")
        if self._damage is not None:
            raise self._damage
        return self._for_good

    def _read(self, fd: int) -> None:
        if fd in self._captures:
            self._read_frames(self._captures[fd])
        elif fd == self._granter.fileno():
            self._read_granter()
        elif fd == self._helper:
            self._read_helper()
        else:
            self._read_control(fd)

    def _until_next(self) -> int | None:
        """Return the milliseconds after which to go on even if nothing happens."""
        waits = []
        if self._store.unsynced:
            waits.append(SYNC_QUIET_MS)
        if self._notifier.watchdog_seconds is not None:
            left = self._pinged + self._notifier.watchdog_seconds - time.monotonic()
            waits.append(max(0, int(left * 1000)) + 1)
        return min(waits, default=None)

    # Frames

    def _read_frames(self, capture: Capture | CaptureFile) -> None:
        try:
            for frame in capture.frames():
                self._report.count("frames")
                self._judge(frame, capture.link)
        except CaptureError as error:
            if not isinstance(capture, CaptureFile):
                raise
            # What came before the damage was good, and its answers are still due.
            self._damage = error

    def _judge(self, frame: bytes, link: int) -> None:
        try:
            decision = consider(frame, link, now_ms(), self._world)
        except PacketError as error:
            self._report.count(error.outcome)
        except Exception as error:  # noqa: BLE001 - a bug must not end the guard
            self._report.bug(error)
        else:
            self._act(decision)

    def _act(self, decision: Decision) -> None:
        if isinstance(decision, Approval):
            self._asking.approve(decision)
        elif isinstance(decision, Approvals):
            for approval in decision.each:
                self._asking.approve(approval)
        elif isinstance(decision, Order):
            self._asking.order(decision)
        elif isinstance(decision, (Pending, PendingFwknop)):
            self._ask_helper(decision)
        elif isinstance(decision, Refusal):
            self._report.denied(
                "refused", decision.user, decision.address, decision.reason
            )
        else:
            self._reject(decision)

    def _reject(self, decision: Rejected) -> None:
        error = decision.error
        # The network makes duplicates, and `any` sees a packet once for each device it
        # passes: the same datagram from the same address is no attack.
        if isinstance(error, Replayed) and error.same_source:
            self._report.count("duplicate")
            return
        self._report.denied(error.outcome, decision.user, decision.source, str(error))

    def _end_with_files(self) -> None:
        """Stop when there is nothing more to read, and every grant has its answer."""
        for fd, capture in list(self._captures.items()):
            if isinstance(capture, CaptureFile) and capture.ended:
                self._poll.unregister(fd)
                del self._captures[fd]
        if not self._captures and self._asking.idle and self._signatures.idle:
            self._stopping = True

    # Signed requests

    def _ask_helper(self, pending: AnyPending) -> None:
        taken = self._signatures.ask(pending)
        if taken is Taken.BUSY:
            self._report.count("busy")
        elif taken is not Taken.ASKED:
            self._report.denied("refused", pending.user, pending.address, taken.value)

    def _read_helper(self) -> None:
        for pending, answer in self._signatures.read():
            self._act(self._settle(pending, answer))
        if self._signatures.fileno() < 0:
            self._poll.unregister(self._helper)
            events.error(
                "gnupg: the helper has ended: signed requests are refused",
                "see above why, and restart spasshd",
            )

    def _settle(self, pending: AnyPending, answer: GpgAnswer) -> Decision:
        users, widths = self._opener.users, self._world.widths
        if isinstance(pending, PendingFwknop):
            return settle_fwknop(
                pending,
                answer,
                users=users,
                replay=self._store,
                now=now_ms(),
                widths=widths,
            )
        return settle(
            pending,
            answer,
            server=self._server,
            users=users,
            now=now_ms(),
            widths=widths,
        )

    # The replay store

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

    def _send(self, data: bytes) -> None:
        try:
            self._granter.send(data)
        except OSError as error:
            raise GranterGoneError from error

    def _read_granter(self) -> None:
        """Read what the granter has said, as much as it is asked at once.

        One answer for each turn would leave it idle while there are many frames.
        """
        for _ in range(MAX_OUTSTANDING_GRANTS):
            self._read_answer()
            if not self._answers.poll(0):
                return

    def _read_answer(self) -> None:
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
            # The user files follow: the daemon is ready when it has them.
            self._world = self._world._replace(widths=answer.widths)
        elif answer.kind in _OF_A_RELOAD:
            self._reload.add(answer, fds)
        elif answer.kind == message.USERS_END:
            self._end_reload(answer)
        elif answer.kind == message.PONG:
            self._notifier.send("WATCHDOG=1")
        else:
            self._asking.answered(answer)

    def _ping(self) -> None:
        """Ask the granter for a sign of life, in time for the watchdog.

        That hears from us when the granter has answered: one that hangs is as bad as a
        listener that does.
        """
        every = self._notifier.watchdog_seconds
        now = time.monotonic()
        if every is not None and now - self._pinged >= every:
            self._pinged = now
            self._send(message.encode_ping(0))

    # Users

    def _end_reload(self, answer: Answer) -> None:
        users = self._reload.end(answer, self._opener.users)
        if users is None:
            return
        self._opener.users = users
        self._world.repeats.clear()
        self._asking.keep(users.by_name)
        for warning in lax_keys(users.by_name.values()):
            events.say("warning", text=warning)
        if self._ready:
            events.say("reloaded", users=len(users))
            return
        self._ready = True
        # Not before there are users: their packets would be refused for nothing, and
        # those of a file are there once.
        for fd in self._captures:
            self._poll.register(fd, select.POLLIN)
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
                self._stopping = self._for_good = True
                answer({})
            elif request == control.PROTECT:
                self._asking.protect(answer)
            else:
                self._ask_granter(request, answer)

    def _ask_granter(self, request: str, answer: control.Reply) -> None:
        wanted, login = control.parse_revoke(request), control.parse_proof(request)
        if wanted is not None:
            # What gpg still looks at would be granted when all is gone.
            self._signatures.drop(lambda one: one.may_get(wanted.user, wanted.address))
            self._asking.revoke(wanted, answer)
        elif login is not None:
            self._asking.prove(login, answer)
        else:
            answer({"error": "unknown request"})

    def _status(self) -> dict[str, Any]:
        return {
            "ready": self._ready,
            "pid": os.getpid(),
            "users": len(self._opener.users),
            "widths": [width.label for width in sorted(self._world.widths)],
            "counters": dict(self._report.counters),
            "remembered": len(self._store),
            "store_problem": self._store.problem,
            "gpg": self._signatures.fileno() >= 0,
            "capture_drops": sum(one.dropped() for one in self._captures.values()),
        }
