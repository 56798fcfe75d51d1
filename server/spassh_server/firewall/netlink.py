"""Requests to the kernel by netlink(7), and its answers taken apart.

No byte is read beyond the end of what the kernel sent, and there is a bound on how much
it may send and on how long it may take: what does not fit is an error.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from struct import Struct, pack, unpack_from
from types import TracebackType
from typing import Final, Self

NETFILTER: Final = 12  # NETLINK_NETFILTER

ANSWER_SECONDS: Final = 5.0
"""How long the kernel may be silent. It mostly answers before `send` returns."""

MAX_ANSWERS: Final = 1 << 20
"""Messages of one answer: a conntrack table of four times its default size."""

EXCLUSIVE: Final = 0x0200
"""NLM_F_EXCL: what is there already is an error."""
CREATE: Final = 0x0400

_REQUEST, _REQUEST_AND_ACK, _DUMP = 0x0001, 0x0001 | 0x0004, 0x0300
_BATCH_BEGIN, _BATCH_END = 16, 17
_ERROR, _DONE = 2, 3
_NESTED = 0x8000
_KIND_BITS = 0x3FFF
_HEADER = Struct("=IHHII")  # length, kind, flags, sequence number, port
_ATTRIBUTE = Struct("=HH")  # length, kind
_RECEIVE_BYTES = 1 << 17  # what the kernel puts into one packet is a quarter of it


class Netlink:
    """A netlink socket of one `protocol`, closed at the end of `with`."""

    def __init__(self, protocol: int) -> None:
        """Open it.

        Raises:
            OSError: the kernel does not know this protocol.
        """
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._socket.settimeout(ANSWER_SECONDS)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Make a request and return the bodies of the messages that answer it.

        Raises:
            OSError: the kernel refused, was silent, or said what makes no sense.
        """
        return list(self._ask(kind, flags, body))

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Ask for all of something, and yield the body of each message.

        Raises:
            OSError: as `ask` does.
        """
        return self._ask(kind, _DUMP, body)

    def transact(self, subsystem: int, kind: int, flags: int, body: bytes) -> None:
        """Have one message of a netfilter `subsystem` applied, as its transactions are.

        Raises:
            OSError: it was refused, and nothing has changed; or as `ask` does.
        """
        # Unspecified family, version 0, and the subsystem in the network's order.
        bounds = pack("!BBH", 0, 0, subsystem)
        self._sequence += 1
        batch = (
            message(_BATCH_BEGIN, _REQUEST, bounds, self._sequence)
            + message(kind, _REQUEST_AND_ACK | flags, body, self._sequence)
            + message(_BATCH_END, _REQUEST, bounds, self._sequence)
        )
        self._socket.sendto(batch, (0, 0))
        for _ in self._answers():
            raise _broken()

    def _ask(self, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        flags |= _REQUEST_AND_ACK
        self._socket.sendto(message(kind, flags, body, self._sequence), (0, 0))
        return self._answers()

    def _answers(self) -> Iterator[bytes]:
        for _ in range(MAX_ANSWERS):
            for sequence, answer_kind, answer in self._receive():
                if sequence != self._sequence:
                    continue  # the rest of an answer that nobody wanted to the end
                if answer_kind == _ERROR:
                    _raise_for(answer)
                    return
                if answer_kind == _DONE:
                    return
                yield answer
        raise OSError(errno.EOVERFLOW, "netlink: there is no end to the answer")

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield sequence number, kind and body of the messages in the next packet."""
        data, _, flags, (sender, _) = self._socket.recvmsg(_RECEIVE_BYTES)
        if flags & socket.MSG_TRUNC:
            raise OSError(errno.EMSGSIZE, "netlink: an answer is too long")
        if not sender:  # the kernel: other processes have a number
            yield from parse_messages(data)


class Kept:
    """A netlink socket that is opened when it is needed, and stays.

    To close one takes time, and who is let in would wait for it.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._stack = ExitStack()
        self._netlink: Netlink | None = None

    def __del__(self) -> None:
        self._stack.close()

    def open(self) -> Netlink:
        """Return the socket.

        Raises:
            OSError: there can be none.
        """
        if self._netlink is None:
            self._netlink = self._stack.enter_context(Netlink(self._protocol))
        return self._netlink

    def close(self) -> None:
        """Close it: nobody knows what is left in it. The next use opens another."""
        self._netlink = None
        self._stack.close()


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Return a netlink message."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def parse_messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield sequence number, kind and body of each of the messages in `data`.

    Raises:
        OSError: they do not fill it exactly.
    """
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise _broken()
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise _broken()
        yield sequence, kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def attribute(kind: int, payload: bytes) -> bytes:
    """Return an attribute, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, payload: bytes) -> bytes:
    """Return an attribute that consists of attributes."""
    return attribute(kind | _NESTED, payload)


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Return the payloads of the attributes in `data`, by their kinds.

    Raises:
        OSError: they do not fill it exactly.
    """
    found = {}
    at = 0
    while at < len(data):
        if at + _ATTRIBUTE.size > len(data):
            raise _broken()
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise _broken()
        found[kind & _KIND_BITS] = data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return length + -length % 4


def _raise_for(answer: bytes) -> None:
    """Raise the error in the body of an NLMSG_ERROR, unless it says that all is well.

    Raises:
        OSError: it is one.
    """
    if len(answer) < 4:
        raise _broken()
    (code,) = unpack_from("=i", answer)
    if code:
        raise OSError(-code, "netlink: the kernel refused")


def _broken() -> OSError:
    return OSError(errno.EBADMSG, "netlink: an answer is cut short")
