"""Which address this computer has to the outside, asked of a web server.

It is for packets that name the address to let in, where that is not where they come
from. Whoever answers can have another address let in, so the answer is read strictly.
"""

from __future__ import annotations

import _socket as socket
import _thread

from .errors import ResolveError, SpasshError, lower_reason
from .resolve import Resolving
from .sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .resolve import Address
    from .url import Url

TIMEOUT: Final = 10
"""Seconds for all of it."""
_STEP_TIMEOUT: Final = 5
"""Seconds for each thing that is waited for, so that the thread ends some time."""
_MAX_ANSWER: Final = 8192
"""Bytes of an answer, with its header."""

_SEE_URL: Final = "see that the URL is right, and that it answers with an address alone"


class Outside:
    """The question that is under way from the moment this is made."""

    __slots__ = ("_address", "_done", "_error", "_ipv4", "_url")

    def __init__(self, url: Url, *, ipv4: bool) -> None:
        """Start to ask; with `ipv4`, over IPv4, and for an address of that."""
        self._url = url
        self._ipv4 = ipv4
        self._address = b""
        self._error: Exception | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()
        _thread.start_new_thread(self._ask, ())

    def wait(self, timeout: float = TIMEOUT) -> bytes:
        """Return the address, 4 or 16 bytes.

        Raises:
            ResolveError: nobody answers in time, or with something else.
        """
        if not self._done.acquire(timeout=timeout):
            raise self._problem(f"no answer within {timeout:g} s")
        self._done.release()
        if isinstance(self._error, SpasshError):
            raise self._error
        if not self._address:
            error = self._error
            reason = lower_reason(error) if isinstance(error, OSError) else str(error)
            raise self._problem(reason) from error
        return self._address

    def _ask(self) -> None:
        try:
            self._address = self._answer()
        except (SpasshError, OSError, ValueError) as error:
            self._error = error
        finally:
            self._done.release()

    def _answer(self) -> bytes:
        """Ask at the first address that takes the connection."""
        url = self._url
        addresses = [
            one
            for one in Resolving(url.host, url.port).wait()
            if not self._ipv4 or one.family == socket.AF_INET
        ]
        problem: OSError | None = None
        for one in addresses:
            try:
                answer = fetch(url, one)
            except OSError as error:
                problem = problem or error
            else:
                return self._read(answer, one)
        if problem is None:
            raise self._problem("it has no IPv4 address")
        raise problem

    def _read(self, answer: bytes, server: Address) -> bytes:
        # Not at the top: no login needs it but one that asks.
        from ipaddress import ip_address

        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].split(b" ")
        if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            raise self._problem("the answer is not HTTP")
        if status[1] != b"200":
            code = ascii(status[1][:3].decode("latin-1"))[1:-1]
            raise self._problem(f"it answers {code}")
        if len(answer) > _MAX_ANSWER:
            raise self._problem("the answer is too long")
        try:
            found = ip_address(body.strip().decode("ascii"))
        except ValueError as error:
            raise self._problem("the answer is not an address") from error
        if self._ipv4 and found.version != 4:
            raise self._problem("the answer is not an IPv4 address")
        # A server of the same private network may know no other address of ours.
        private = not found.is_global and ip_address(str(server)).is_global
        if private or found.is_unspecified or found.is_multicast:
            raise self._problem(f"{found} is no address of the outside")
        return found.packed

    def _problem(self, what: str) -> ResolveError:
        url = self._url
        return ResolveError(
            f"cannot learn the address from {url.host}: {what}", _SEE_URL
        )


def fetch(url: Url, address: Address) -> bytes:
    """Return what the server at `address` answers, header and all, or its beginning.

    A redirection is not followed: another server would not be the one that was named.

    Raises:
        OSError: it does not answer, or its certificate is not right.
    """
    sock = Socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(_STEP_TIMEOUT)
        sock.connect(address.sockaddr)
        if url.scheme == "https":
            sock = _secured(sock, url.host)
        sock.sendall(
            f"GET {url.path} HTTP/1.0\r\nHost: {url.host}\r\n"
            "Accept: text/plain\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        answer = b""
        while len(answer) <= _MAX_ANSWER:
            data = sock.recv(_MAX_ANSWER)
            if not data:
                break
            answer += data
        return answer
    finally:
        sock.close()


def _secured(sock: Socket, host: str) -> Socket:
    """Return the same connection with TLS, to a server that has a certificate."""
    from ssl import create_default_context

    context = create_default_context()
    return context.wrap_socket(sock, server_hostname=host)  # type: ignore[arg-type,return-value]
