"""From addresses to one established socket: one loop, without threads."""

from __future__ import annotations

import _socket as socket
import errno
import os
import sys

from .answers import answers
from .errors import (
    RefusedError,
    ShutError,
    SpasshError,
    UnreachableError,
    lower_reason,
)
from .protocol.named_tuple import NamedTuple
from .resolve import Address
from .schedule import Action, Plan, Schedule
from .sockets import Socket
from .source import Source
from .ui import Tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final, Protocol

    class Knock(Protocol):
        """Sends a fresh datagram to an address, and returns where it came from."""

        def __call__(self, address: Address, /, *, narrow: bool) -> Source:
            """Knock; if `narrow`, for a connection from a single source port.

            Raises:
                OSError: this computer has no way to that address.
            """


ACK_DELAY: Final = 8_000
"""Microseconds that we let the server wait for an acknowledgement. Fewer than two ticks
are refused, which is what these are where HZ is 250."""

# Since Linux 6.15, and neither Python nor glibc has the name yet.
_TCP_DELACK_MAX_US = 46

PLAIN_TIMEOUT: Final = 60
"""Seconds for each address of a host without a profile."""

_UNDER_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
"""What connect(2) says of a socket that does not block. The last is of Windows."""


class Target(NamedTuple):
    """Whom to reach, for the messages as well as for the sockets."""

    host: str
    port: int
    addresses: list[Address]


def plainly(target: Target, tell: Tell, timeout: float = PLAIN_TIMEOUT) -> Socket:
    """Connect as ssh itself would: one address after the other, without a knock.

    Raises:
        SpasshError: no address answers; the exit code tells in which way.
    """
    errors = []
    for address in target.addresses:
        sock = None
        try:
            sock = Socket(address.family, socket.SOCK_STREAM)
            sock.settimeout(timeout)
            sock.connect(address.sockaddr)
        except OSError as error:
            tell(f"{address}: {lower_reason(error)}")
            errors.append(error)
            if sock:
                sock.close()
        else:
            tell(f"connected to {address}")
            return _ready(sock)
    raise _failure(
        target,
        errors,
        timeout,
        "if spassh guards it, it has to be among the hosts of a profile: see"
        " 'spassh list'",
    )


def through(
    target: Target,
    knock: Knock,
    clock: Callable[[], float],
    plan: Plan,
    tell: Tell,
) -> Socket:
    """Knock, then connect, until one socket is established.

    Raises:
        SpasshError: no address lets us in; the exit code tells in which way.
    """
    race = _Race(target.addresses, knock, clock, plan, tell)
    sock = race.run()
    if sock:
        return _ready(sock)
    raise _failure(
        target,
        race.errors.values(),
        plan.timeout,
        _shut_hint(target.host),
    )


class _Attempt(NamedTuple):
    """One socket whose SYN is under way."""

    sock: Socket
    address: int
    dialled: float


class _Race:
    """Does what the schedule says until the first socket is established."""

    def __init__(
        self,
        addresses: list[Address],
        knock: Knock,
        clock: Callable[[], float],
        plan: Plan,
        tell: Tell,
    ) -> None:
        self._addresses = addresses
        self._knock = knock
        self._clock = clock
        self._tell = tell
        self._schedule = Schedule(len(addresses), clock(), plan)
        self._sources: dict[int, Source] = {}
        self._attempts: dict[int, _Attempt] = {}
        self._answers = answers()
        self.errors: dict[int, OSError] = {}
        """Why an address was given up before the time was."""

    def run(self) -> Socket | None:
        """Return the first established socket, or None if there will be none."""
        try:
            while not self._schedule.over(self._clock()):
                winner = self._wait(self._schedule.wait(self._clock()))
                if winner:
                    return winner
                step = self._schedule.step(self._clock())
                if step and step.action == Action.DIAL:
                    self._dial(step.address)
                elif step:
                    self._knock_at(step.address, narrow=step.action == Action.KNOCK)
            return None
        finally:
            # At once: a socket that is closed before its SYN is answered never was a
            # connection, and sshd does not hear of it.
            for attempt in self._attempts.values():
                attempt.sock.close()
            for source in self._sources.values():
                source.close()

    def _knock_at(self, index: int, *, narrow: bool) -> None:
        address = self._addresses[index]
        if index in self._sources:
            self._sources.pop(index).close()
        try:
            source = self._knock(address, narrow=narrow)
        except OSError as error:
            self._tell(f"no way to {address}: {lower_reason(error)}")
            self.errors[index] = error
            self._schedule.hopeless(index, self._clock())
        else:
            self._sources[index] = source
            self._schedule.knocked(index, self._clock())
            port = f" port {source.port}" * bool(source.port)
            self._tell(f"knocked at {address} from {source.address[0]}{port}")

    def _dial(self, index: int) -> None:
        address, dialled = self._addresses[index], self._clock()
        source = self._sources[index]
        # A port is for one dial.
        self._sources[index] = source._replace(tcp=None)
        try:
            sock = _start_connecting(address, source)
        except OSError as error:
            self._failed(index, dialled, error)
            return
        self._tell(f"dialled {address} port {address.sockaddr[1]}")
        self._attempts[sock.fileno()] = _Attempt(sock, index, dialled)
        self._answers.add(sock)

    def _wait(self, seconds: float) -> Socket | None:
        """Wait for answers, and return the first socket that was let in."""
        for fd, code in self._answers.wait(seconds):
            attempt = self._attempts.pop(fd)
            self._answers.remove(fd)
            if not code:
                self._tell(f"connected to {self._addresses[attempt.address]}")
                return attempt.sock
            attempt.sock.close()
            self._failed(attempt.address, attempt.dialled, _os_error(code))
        return None

    def _failed(self, index: int, dialled: float, error: OSError) -> None:
        final = self._schedule.refused(index, dialled, self._clock())
        if final:
            self.errors[index] = error
        ending = "that is final" if final else "perhaps its firewall, not yet open"
        self._tell(f"{self._addresses[index]}: {lower_reason(error)}: {ending}")


def _start_connecting(address: Address, source: Source) -> Socket:
    """Send a SYN from where the knock came from: only that is let in."""
    sock = source.take(address.family)
    try:
        sock.setblocking(False)
        code = sock.connect_ex(address.sockaddr)
        if code not in _UNDER_WAY:
            raise _os_error(code)
    except OSError:
        sock.close()
        raise
    return sock


def _ready(sock: Socket) -> Socket:
    """Make an established socket what ssh expects."""
    sock.setblocking(True)
    # Without it, ssh waits some 35 ms of a short session for a delayed ACK: it sets the
    # option on sockets of its own only, and too late.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _acknowledge_soon(sock)
    # TCPKeepAlive of ssh_config(5) is on unless told otherwise, and meant for ssh's own
    # sockets: without it, ssh would never notice that the server is gone.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def _acknowledge_soon(sock: Socket) -> None:
    """Spare the server a wait of another 35 ms: sshd sets no TCP_NODELAY by then.

    It says two things when a session begins, and Linux delays our acknowledgement of
    the first, for which the second has to wait.
    """
    if sys.platform != "linux":
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_DELACK_MAX_US, ACK_DELAY)
    except OSError:
        return  # An older kernel, or one of longer ticks. It takes these 35 ms.


def _failure(
    target: Target, errors: Iterable[OSError], timeout: float, shut_hint: str
) -> SpasshError:
    """Sum up why no address let us in. An address without an error stayed shut."""
    errors = list(errors)
    silent = [error for error in errors if isinstance(error, TimeoutError)]
    if silent or len(errors) < len(target.addresses):
        return ShutError(
            f"port {target.port} of {target.host} stays shut:"
            f" no answer within {timeout:g} s",
            shut_hint,
        )
    if any(isinstance(error, ConnectionError) for error in errors):
        return RefusedError(
            f"{target.host} refuses connections to port {target.port}",
            "see that sshd runs there, and listens to this port",
        )
    return UnreachableError(
        f"cannot reach {target.host}: {lower_reason(errors[0])}",
        "see that the network is up, and that no firewall of this computer forbids it",
    )


def _shut_hint(host: str) -> str:
    """Return what to do when no knock is answered. To be silent is all there is."""
    # Not at the top: a login that works has no use for it.
    from .timekeeping import is_synchronised

    doctor = f"'spassh doctor {host}' looks for the reason"
    if is_synchronised() is False:
        return (
            f"{doctor}; it may be that nobody keeps the clock of this computer right:"
            " see 'timedatectl'"
        )
    return (
        f"{doctor}: a wrong clock, a network that drops the knock's UDP, a server that"
        " does not know the key"
    )


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
