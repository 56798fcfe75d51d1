"""Frames from a file that tcpdump(8) or the like has written, through libpcap."""

import ctypes
import os
import select
import stat
import tempfile
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from .datagram import DLT_ETHERNET, LINK_TYPES
from .filters.transport_filter import transports_expression
from .libpcap import (
    ERRBUF,
    CaptureError,
    Handle,
    error_text,
    filter_expression,
    lib,
)
from .limits import FRAMES_PER_TURN, MAX_PIPED_BYTES
from .transports import Transport

STDIN = "-"
"""The path that stands for the standard input."""

# What pcap_next_ex(3PCAP) returns at the end of a file.
_PCAP_ERROR_BREAK = -2

_HINT = "record one with 'tcpdump -i any -w FILE udp'"
_DAMAGED = "it is damaged, or not written to its end yet"
_LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999. A file may name 64 bits of whatever unit it likes."""
_CHUNK = 65_536

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fdopen.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.fdopen.restype = ctypes.c_void_p
_libc.fclose.argtypes = [ctypes.c_void_p]
_libc.fclose.restype = ctypes.c_int


class Record(NamedTuple):
    """One frame of a file."""

    time: int
    """When it was captured, in milliseconds since 1970-01-01 UTC."""
    frame: bytes


class CaptureFile:
    """The frames of a file. It can be given where a `Capture` is taken."""

    def __init__(
        self,
        path: str,
        port: int,
        *,
        fwknop: bool = False,
        transports: Collection[Transport] = (),
    ) -> None:
        """Open the file `path`, or the standard input if that is "-".

        Of its frames, those with datagrams to `port` are read; with `fwknop`, packets
        of fwknop among them, and those that came by `transports`. A pipe is read to its
        end here, so it waits for whoever writes there.

        Raises:
            CaptureError: it cannot be read, is no capture file, or has a link type
                that is not understood.
        """
        self.name = "standard input" if path == STDIN else path
        try:
            self._fd = _open(path)
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            raise CaptureError(f"{self.name}: {what}", _HINT) from error
        self._handle = Handle(self.name, self._take_over())
        self.link: int = self._handle.link
        """The link type, one of the DLT numbers in `datagram`."""
        self.ended = False
        """Whether `frames` and `records` have come to the end."""
        try:
            expression = filter_expression(port, fwknop=fwknop)
            if transports:
                others = transports_expression(transports)
                expression = f"({expression}) or ({others})"
            self._filter(expression)
        except BaseException:
            self.close()
            raise

    def _take_over(self) -> object:
        """Give the descriptor to libpcap, which closes it in the end."""
        file = _libc.fdopen(self._fd, b"rb")
        if not file:
            os.close(self._fd)
            raise CaptureError(f"{self.name}: {os.strerror(ctypes.get_errno())}")
        errors = ctypes.create_string_buffer(ERRBUF)
        pointer = lib.pcap_fopen_offline(file, errors)
        if not pointer:
            _libc.fclose(file)
            raise CaptureError(f"{self.name}: {error_text(errors.value)}", _HINT)
        return pointer

    def _filter(self, expression: str) -> None:
        if self.link not in LINK_TYPES:
            what = f"link type {self.link} is not understood"
            raise CaptureError(f"{self.name}: {what}", _HINT)
        self._handle.filter(_with_tags(self.link, expression))

    def fileno(self) -> int:
        """Return a descriptor that always polls readable, and not with epoll(7)."""
        return self._fd

    def records(self) -> Iterator[Record]:
        """Yield the next frames, a bounded number, with the time of their capture.

        Raises:
            CaptureError: the file is damaged from here on, or ends within a frame. A
                time before 1970 or after 9999 is damage as well.
        """
        for frame in self.frames():
            time = self._handle.time()
            if not 0 <= time <= _LATEST_MS:
                self.ended = True
                raise CaptureError(f"{self.name}: impossible time", _DAMAGED)
            yield Record(time, frame)

    def frames(self) -> Iterator[bytes]:
        """Yield the next frames, a bounded number.

        Raises:
            CaptureError: as `records`, but for times, which nobody asks for here.
        """
        for _ in range(FRAMES_PER_TURN):
            got = self._handle.next()
            if got == 1:
                yield self._handle.frame()
                continue
            self.ended = True
            if got == _PCAP_ERROR_BREAK:
                return
            raise CaptureError(f"{self.name}: {self._handle.problem()}", _DAMAGED)

    def dropped(self) -> int:
        """Return how many frames were lost: none."""
        return 0

    def close(self) -> None:
        """Close the file. It may be closed again without harm."""
        self._handle.close()


def _with_tags(link: int, plain: str) -> str:
    """Return the filter `plain`, for what is behind up to two VLAN tags as well.

    A live capture needs no more than `plain`: the kernel takes tags away.
    """
    if link != DLT_ETHERNET:
        return plain
    # Each `vlan` moves what comes after it by one tag.
    return f"({plain}) or (vlan and ({plain})) or (vlan and ({plain}))"


def _open(path: str) -> int:
    """Return the descriptor of a regular file with the bytes of `path`.

    Raises:
        OSError: it cannot be read, or is neither a file nor a pipe.
    """
    # Not blocking: a device must not be able to stop us here.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.dup(0) if path == STDIN else os.open(path, flags)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            return os.dup(fd)
        if stat.S_ISFIFO(mode):
            return _copy(fd)
    finally:
        os.close(fd)
    raise OSError("neither a file nor a pipe")


def _copy(pipe: int) -> int:
    """Read `pipe` to its end; return the descriptor of a nameless file with that.

    libpcap reads through stdio, which neither poll(2) nor we could see into.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    size = 0
    with tempfile.TemporaryFile() as file:
        while True:
            poll.poll()
            try:
                data = os.read(pipe, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                break
            size += len(data)
            if size > MAX_PIPED_BYTES:
                raise OSError(f"more than {MAX_PIPED_BYTES} bytes through a pipe")
            file.write(data)
        file.seek(0)
        return os.dup(file.fileno())
