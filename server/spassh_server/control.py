"""The control socket: how the other verbs talk to the daemon that runs.

A SOCK_SEQPACKET socket in run_dir, for root alone. One request, one answer in JSON.
"""

import contextlib
import json
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user

from .addresses import grantable
from .limits import CONTROL_CONNECTIONS, CONTROL_MESSAGE_BYTES
from .privsep.message import Connection, Revoke

STATUS: Final = "status"
RELOAD: Final = "reload"
STOP: Final = "stop"
REVOKE: Final = "revoke"
KILL: Final = "kill"
"""As `REVOKE`, and the established connections as well."""
PROTECT: Final = "protect"
"""Read again what is to be protected, and what is on trial."""
PROOF: Final = "proof"
"""Did the connection that follows come through the drop on trial?"""

Reply = Callable[[Any], None]

_UCRED = struct.Struct("iII")
_ANSWER_SECONDS = 30


NOT_RUNNING_HINT = "start it: 'systemctl start spasshd', or 'spasshd run'"
"""What to do about it, where a verb needs the daemon."""


class NotRunningError(Exception):
    """No daemon answers at this control socket."""


class NoAnswerError(NotRunningError):
    """A daemon runs, and it does not answer."""


def socket_path(run_dir: str) -> str:
    """Return where the control socket is."""
    return os.path.join(run_dir, "control.sock")


def render_revoke(target: str, *, sessions: bool) -> str:
    """Return the request to take back the grants of `target`.

    Args:
        target: a user's name or an address; empty for all grants there are.
        sessions: whether to end the established connections as well.
    """
    return f"{KILL if sessions else REVOKE} {target}".rstrip()


def parse_revoke(request: str) -> Revoke | None:
    """Read such a request, or return None if it is none.

    What can be an address is one: a user of such a name could not be told from it.
    """
    verb, _, target = request.partition(" ")
    if verb not in {REVOKE, KILL}:
        return None
    sessions = verb == KILL
    if not target:
        return Revoke(0, sessions=sessions)
    try:
        address = ip_address(target).packed
    except ValueError:
        pass
    else:
        # The granter takes no other for what the listener can mean, and leaves.
        if not grantable(address):
            return None
        return Revoke(0, address=address, sessions=sessions)
    try:
        return Revoke(0, user=check_user(target), sessions=sessions)
    except TextFormError:
        return None


def render_proof(connection: Connection) -> str:
    """Return the question whether a connection came through the drop on trial."""
    address, client_port, port = connection
    return f"{PROOF} {ip_address(address)} {client_port} {port}"


def parse_proof(request: str) -> Connection | None:
    """Return the connection of such a question, or None if it is none."""
    verb, *words = request.split(" ")
    try:
        address, client_port, port = words
        found = Connection(ip_address(address).packed, int(client_port), int(port))
    except ValueError:
        return None
    numbers = range(1 << 16)
    usable = found.client_port in numbers and found.port in numbers
    return found if verb == PROOF and usable and grantable(found.address) else None


def ask(run_dir: str, request: str) -> dict[str, Any]:
    """Ask the running daemon; wait for its answer.

    Raises:
        NotRunningError: nobody answers, or not in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_ANSWER_SECONDS)
        try:
            sock.connect(socket_path(run_dir))
            sock.send(request.encode("ascii"))
            data = sock.recv(CONTROL_MESSAGE_BYTES)
        except OSError as error:
            raise NotRunningError(str(error)) from error
    if not data:
        raise NotRunningError("no answer")
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError("the answer makes no sense") from error
    if type(answer) is not dict:
        raise NoAnswerError("the answer makes no sense")
    return answer


class ControlServer:
    """The daemon's end: never waits for anybody."""

    def __init__(self, run_dir: str, poll: select.poll) -> None:
        """Listen in `run_dir`, as root, and register with `poll`.

        Raises:
            OSError: the socket cannot be made.
        """
        path = socket_path(run_dir)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._poll = poll
        self._clients: dict[int, socket.socket] = {}
        self._listening = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        )
        mask = os.umask(0o177)
        try:
            self._listening.bind(path)
        finally:
            os.umask(mask)
        self._listening.listen(CONTROL_CONNECTIONS)
        poll.register(self._listening, select.POLLIN)

    def requests(self, fd: int) -> Iterator[tuple[str, Reply]]:
        """Yield requests that came on descriptor `fd`, each with how to answer it."""
        if fd == self._listening.fileno():
            self._accept()
        elif fd in self._clients:
            # Not the descriptor: its number may be another client's by then.
            client = self._clients[fd]
            request = self._read(fd)
            if request:
                yield request, lambda answer: self._answer(client, answer)

    def _accept(self) -> None:
        try:
            client, _ = self._listening.accept()
        except OSError:
            return
        # The file mode keeps others out already; this does not depend on a path.
        credentials = client.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
        )
        uid = _UCRED.unpack(credentials)[1]
        if uid != 0 or len(self._clients) >= CONTROL_CONNECTIONS:
            client.close()
            return
        client.setblocking(False)
        self._clients[client.fileno()] = client
        self._poll.register(client, select.POLLIN)

    def _read(self, fd: int) -> str:
        try:
            data = self._clients[fd].recv(64)
        except BlockingIOError:
            return ""
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
        return data.decode("ascii", "replace")

    def _answer(self, client: socket.socket, answer: Any) -> None:
        fd = client.fileno()
        if fd not in self._clients:
            return
        data = json.dumps(answer).encode()
        if len(data) > CONTROL_MESSAGE_BYTES:
            too_much = {"error": "too many errors", "hint": "see the log"}
            data = json.dumps({"errors": [too_much]}).encode()
        with contextlib.suppress(OSError):
            client.send(data)
        self._drop(fd)

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._clients.pop(fd).close()
