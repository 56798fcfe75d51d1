"""Whether a port opens after a knock, how fast, and who is there."""

import errno
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from ...connect import Target, through
from ...errors import RefusedError, ShutError, SpasshError
from ...resolve import Address
from ...schedule import Plan
from ...sockets import Socket
from ...ui import Tell
from .greeting import MAX_BYTES, farewell, find_greeting

if TYPE_CHECKING:
    from ...connect import Knock

UNASKED: Final = 1.0
"""Seconds to see whether a port answers without a knock."""

GREETING: Final = 5.0
"""Seconds for the server to say who it is, once it is connected."""

_LEAVING: Final = 1.0
"""Seconds for it to hang up after we have said that we leave."""

Clock = Callable[[], float]
AnySocket = Socket | socket.socket


class State(Enum):
    """What a port is like."""

    OPEN = "open"
    """It answers without a knock."""
    OPENS = "opens"
    SHUT = "shut"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class Opening(NamedTuple):
    """What came of it at one address."""

    address: Address
    state: State
    seconds: float = 0.0
    """From the knock until the connection was there."""
    greeting: str | None = None
    """What the server says first, "" if that is no SSH, None if nothing came."""
    reason: str = ""


def dial_unasked(
    addresses: Sequence[Address], clock: Clock, seconds: float = UNASKED
) -> list[socket.socket | None]:
    """Dial all addresses at once, without a knock; return who is connected in time.

    The other sockets are closed before they were answered: sshd never hears of them.
    """
    found: list[socket.socket | None] = [None] * len(addresses)
    dialled: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    end = clock() + seconds
    try:
        for index, address in enumerate(addresses):
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            dialled[sock.fileno()] = (index, sock)
            sock.setblocking(False)
            with suppress(OSError):
                if sock.connect_ex(address.sockaddr) in {0, errno.EINPROGRESS}:
                    poll.register(sock, select.POLLOUT)
                    continue
            dialled.pop(sock.fileno())
            sock.close()
        while dialled and clock() < end:
            for fd, _ in poll.poll(1000 * max(0.0, end - clock())):
                index, sock = dialled.pop(fd)
                poll.unregister(fd)
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    sock.close()
                else:
                    found[index] = sock
    except BaseException:
        for one in found:
            if one is not None:
                one.close()
        raise
    finally:
        for _, sock in dialled.values():
            sock.close()
    return found


def knock_and_connect(
    target: Target, knock: "Knock", clock: Clock, plan: Plan, tell: Tell
) -> Opening:
    """Knock at one address as a login does, connect, and hear who is there."""
    began = clock()
    (address,) = target.addresses
    try:
        sock = through(target, knock, clock, plan, tell)
    except ShutError as error:
        return Opening(address, State.SHUT, reason=str(error))
    except RefusedError as error:
        return Opening(address, State.REFUSED, reason=str(error))
    except SpasshError as error:
        return Opening(address, State.UNREACHABLE, reason=str(error))
    seconds = clock() - began
    return Opening(address, State.OPENS, seconds, hear(sock, clock))


def hear(sock: AnySocket, clock: Clock) -> str | None:
    """Return what the server says first, take leave, and close the socket."""
    with sock:
        greeting = _read_greeting(sock, clock)
        if greeting:
            # Whoever hangs up has said what it has said.
            with suppress(OSError):
                sock.sendall(farewell("spassh doctor has seen enough"))
                sock.shutdown(socket.SHUT_WR)
                _wait_for_the_end(sock, clock)
    return greeting


def _read_greeting(sock: AnySocket, clock: Clock) -> str | None:
    data, end = b"", clock() + GREETING
    with suppress(OSError):
        while (left := end - clock()) > 0:
            sock.settimeout(left)
            more = sock.recv(MAX_BYTES)
            data += more
            greeting = find_greeting(data)
            if greeting is not None:
                return greeting
            if not more:
                break
    return "" if data else None


def _wait_for_the_end(sock: AnySocket, clock: Clock) -> None:
    # A socket that is closed with unread bytes sends a reset, and the farewell is lost.
    end = clock() + _LEAVING
    while (left := end - clock()) > 0:
        sock.settimeout(left)
        if not sock.recv(MAX_BYTES):
            return
