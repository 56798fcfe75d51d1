"""The granter: the one program that writes the firewall. It never sees a network byte.

It trusts the listener with nothing but "an authentic user asked for this": ports,
lifetimes and the number of grants are checked again, against its own reading of the
configuration. It leaves when the listener does.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time

from .. import config, events
from ..addresses import text
from ..clock import wall_clock
from ..firewall import Firewall, FirewallError, Grant
from ..firewall.select import choose
from ..firewall.watch import Watch
from ..limits import MAX_USER_FILES, REPAIR_SECONDS
from ..toml import ConfigError
from . import message
from .message import Answer, GrantMessage, ListUsers, MessageError
from .sandbox import CAP_NET_ADMIN, CAP_NET_RAW, SandboxError, keep_capabilities

_SWEEP_SECONDS = 60
"""Longest time between two sweeps while there is something to expire."""


class Limits:
    """The most that the listener can make the granter do."""

    def __init__(self, settings: config.Config) -> None:
        self._ports = frozenset(settings.grant_ports)
        self._max_lifetime = settings.max_lifetime
        self._max_grants = settings.max_grants
        self._ends: dict[Grant, float] = {}

    def adopt(self, grant: Grant, ends: float) -> None:
        """Count a grant that an earlier run left in the kernel."""
        self._ends[grant] = ends

    def allow(self, wanted: GrantMessage, now: float) -> bool:
        """Tell whether `wanted` is within the limits at `now`, and count it if so."""
        if wanted.grant.port not in self._ports:
            return False
        if wanted.seconds > self._max_lifetime:
            return False
        if wanted.grant not in self._ends and len(self._ends) >= self._max_grants:
            self._ends = {one: end for one, end in self._ends.items() if end > now}
            if len(self._ends) >= self._max_grants:
                return False
        ends = now + wanted.seconds
        self._ends[wanted.grant] = max(ends, self._ends.get(wanted.grant, ends))
        return True


class Granter:
    """Answers the listener's messages until it leaves."""

    def __init__(
        self,
        sock: socket.socket,
        settings: config.Config,
        firewall: Firewall,
        users: int,
        watch: Watch | None = None,
    ) -> None:
        """Take our end of the socket, and users_dir as an open descriptor.

        `watch` hears of changes to the packet filter, where the kernel tells of them.
        """
        self._socket = sock
        self._users = users
        self._users_dir = settings.users_dir
        self._watch = watch
        self._changed = False
        self._complaint = ""
        self._firewall = firewall
        self._limits = Limits(settings)
        self._repaired = time.monotonic()

    def serve(self) -> None:
        """Work until the listener closes its end.

        Raises:
            MessageError: the listener broke the rules; it may have been taken over.
            FirewallError: the firewall could not even be prepared.
        """
        # The first word of the listener means that it captures and is nobody by now. A
        # listener that cannot start must not leave a drop that nobody can open.
        if not self._socket.recv(message.SIZE, socket.MSG_PEEK):
            return
        self._firewall.prepare()
        self._firewall.repair()
        for active in self._firewall.grants():
            self._limits.adopt(active.grant, time.monotonic() + active.seconds_left)
        self._answer(message.READY, 0)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if self._watch is not None:
            poll.register(self._watch, select.POLLIN)
        while True:
            waits = (self._until_sweep(), self._until_repair())
            ready = dict(
                poll.poll(min((w for w in waits if w is not None), default=None))
            )
            if self._watch is not None and self._watch.fileno() in ready:
                self._watch.drain()
                self._changed = True
            if self._socket.fileno() in ready:
                data = self._socket.recv(message.SIZE + 1)
                if not data:
                    return
                self._handle(message.decode_request(data))

    def _until_repair(self) -> int | None:
        """Repair if somebody changed the packet filter; return ms until it is time."""
        if not self._changed:
            return None
        left = self._repaired + REPAIR_SECONDS - time.monotonic()
        if left > 0:
            return int(left * 1000) + 1
        return None if self._repair(quiet=True) else REPAIR_SECONDS * 1000

    def _until_sweep(self) -> int | None:
        """Sweep what has expired; return milliseconds until the next time, or None."""
        if self._firewall.expires_by_itself:
            return None
        try:
            following = self._firewall.sweep()
        except FirewallError as error:
            events.error(error, error.hint)
            return 1000
        if following is None:
            return None
        # The clock may be set meanwhile, so look again from time to time.
        left = min(following - wall_clock(), _SWEEP_SECONDS)
        return max(0, int(left * 1000)) + 1

    def _handle(self, wanted: GrantMessage | ListUsers) -> None:
        if isinstance(wanted, ListUsers):
            self._hand_over_users(wanted.number)
        else:
            self._grant(wanted)

    def _grant(self, wanted: GrantMessage) -> None:
        if not self._limits.allow(wanted, time.monotonic()):
            self._answer(message.REFUSED, wanted.number)
            return
        try:
            self._firewall.grant(wanted.grant, wanted.seconds)
        except FirewallError as error:
            events.error(f"grant to {text(wanted.grant.address)}: {error}", error.hint)
            self._answer(message.FAILED, wanted.number)
        else:
            self._answer(message.GRANTED, wanted.number)
        self._repair()

    def _repair(self, *, quiet: bool = False) -> bool:
        """See that our rules are whole, at most so often; return False if it failed.

        With `quiet`, a failure that was reported last is not reported again.
        """
        now = time.monotonic()
        if now - self._repaired < REPAIR_SECONDS:
            return True
        self._repaired = now
        self._changed = False
        try:
            if self._firewall.repair():
                events.say("repaired", firewall=self._firewall.name)
        except FirewallError as error:
            # The port may be open: try again, and do not fill the log meanwhile.
            self._changed = True
            if not quiet or str(error) != self._complaint:
                events.error(error, error.hint)
            self._complaint = str(error)
            return False
        self._complaint = ""
        return True

    def _hand_over_users(self, number: int) -> None:
        self._users = reopened(self._users, self._users_dir)
        names = sorted(
            name
            for name in os.listdir(self._users)
            if name.endswith(".toml") and name.isascii() and len(name) <= 48
        )
        if len(names) > MAX_USER_FILES:
            events.error(f"users_dir: only the first {MAX_USER_FILES} files are read")
        for name in names[:MAX_USER_FILES]:
            self._hand_over(name, number)
        self._answer(message.USERS_END, number)

    def _hand_over(self, name: str, number: int) -> None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        answer = message.encode_answer(Answer(message.USER_FILE, number, name))
        try:
            fd = os.open(name, flags, dir_fd=self._users)
        except OSError as error:
            events.error(f"{name}: {error.strerror}")
            # Without a descriptor: the file is there, so its user stays as before.
            self._socket.send(answer)
            return
        try:
            socket.send_fds(self._socket, [answer], [fd])
        finally:
            os.close(fd)

    def _answer(self, kind: int, number: int) -> None:
        self._socket.send(message.encode_answer(Answer(kind, number)))


def reopened(directory: int, path: str) -> int:
    """Return `path` opened anew, in case it was replaced, or else `directory`."""
    try:
        fresh = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # The directories above belong to somebody else: that is why it stays open.
        return directory
    except OSError as error:
        events.error(f"{path}: {error.strerror}")
        return directory
    os.close(directory)
    return fresh


def _watch() -> Watch | None:
    try:
        return Watch()
    except OSError as error:
        events.error(f"changes to the packet filter stay unnoticed: {error.strerror}")
        return None


def main(arguments: list[str]) -> int:
    """Run as `boot.py CONFIG FD` with a SOCK_SEQPACKET socket as descriptor FD."""
    path, fd = arguments[0], int(arguments[1])
    # Whoever stops the service stops the listener, and that ends us in good order.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=fd) as sock:
        try:
            # Opened while root may still enter directories that others own.
            settings = config.load(path)
            users = os.open(settings.users_dir, os.O_RDONLY | os.O_DIRECTORY)
            keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}))
            firewall, why = choose(settings.backend, settings.firewall, wall_clock)
            events.say("firewall", backend=firewall.name, because=why)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                Granter(sock, settings, firewall, users, _watch()).serve()
        except (ConfigError, FirewallError) as error:
            events.error(error, error.hint)
            return 1
        except (MessageError, SandboxError) as error:
            events.error(f"granter: {error}")
            return 1
        except OSError as error:
            events.error(f"{error.filename or 'granter'}: {error.strerror or error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
