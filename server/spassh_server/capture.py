"""Frames from libpcap, through scapy's ctypes bindings and nothing else of scapy.

Immediate mode and a blocking poll(2): a frame is here 0.02 ms after it arrived, and an
idle daemon sleeps. scapy's own sockets wait 50 to 100 ms, or cost 90 µs a packet.
"""

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator

from scapy.libs import winpcapy as pcap

from spassh.protocol.limits import DATAGRAM_SIZES

from .limits import CAPTURE_BUFFER_BYTES, FRAMES_PER_TURN, SNAPLEN

_ERRBUF = 256
_UDP_HEADER = 8
_PCAP_NETMASK_UNKNOWN = 0xFFFFFFFF

# What pcap_activate(3PCAP) returns.
_PCAP_ERROR_NO_SUCH_DEVICE = -5
_PCAP_ERROR_PERM_DENIED = -8
_REMEDIES = {
    _PCAP_ERROR_NO_SUCH_DEVICE: "'ip link' lists the interfaces",
    _PCAP_ERROR_PERM_DENIED: "run this as root",
}

# Linux has it; socket does not name it.
_SO_LOCK_FILTER = 44

# Bound here because scapy 2.5 does not; see pcap_set_immediate_mode(3PCAP).
_lib = pcap._lib  # noqa: SLF001
_lib.pcap_set_immediate_mode.argtypes = [ctypes.POINTER(pcap.pcap_t), ctypes.c_int]
_lib.pcap_set_immediate_mode.restype = ctypes.c_int
_lib.pcap_set_buffer_size.argtypes = [ctypes.POINTER(pcap.pcap_t), ctypes.c_int]
_lib.pcap_set_buffer_size.restype = ctypes.c_int


class CaptureError(Exception):
    """libpcap did not do what was asked. `hint` may name the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def filter_expression(port: int) -> str:
    """Return the libpcap filter for datagrams to `port`: whole UDP of our sizes.

    What it lets through still has to be parsed: `datagram` assumes nothing of it.
    """

    def sizes(field: str) -> str:
        return " or ".join(f"{field} = {size + _UDP_HEADER}" for size in DATAGRAM_SIZES)

    # In libpcap's language udp[...] means IPv4 only, and leaves fragments out.
    ipv4 = f"ip and udp dst port {port} and ({sizes('udp[4:2]')})"
    ipv6 = f"ip6 and ip6[6] = 17 and ip6[42:2] = {port} and ({sizes('ip6[44:2]')})"
    return f"({ipv4}) or ({ipv6})"


class Capture:
    """One interface, or `any` for all of them now and later."""

    def __init__(self, interface: str, port: int) -> None:
        """Open the capture of datagrams to `port`; it takes CAP_NET_RAW.

        Raises:
            CaptureError: no such interface, no permission, or the filter is refused.
        """
        self.interface = interface
        errors = ctypes.create_string_buffer(_ERRBUF)
        self._pcap = pcap.pcap_create(interface.encode(), errors)
        if not self._pcap:
            raise CaptureError(f"{interface}: {_text(errors.value)}")
        try:
            self._open(port)
        except BaseException:
            self.close()
            raise
        self.link: int = pcap.pcap_datalink(self._pcap)
        """The link type, one of the DLT numbers in `datagram`."""
        self._fd: int = pcap.pcap_get_selectable_fd(self._pcap)
        self._index = _index(interface)
        self._header = ctypes.POINTER(pcap.pcap_pkthdr)()
        self._data = ctypes.POINTER(ctypes.c_ubyte)()

    def _open(self, port: int) -> None:
        pcap.pcap_set_snaplen(self._pcap, SNAPLEN)
        pcap.pcap_set_promisc(self._pcap, 0)
        _lib.pcap_set_immediate_mode(self._pcap, 1)
        _lib.pcap_set_buffer_size(self._pcap, CAPTURE_BUFFER_BYTES)
        status = pcap.pcap_activate(self._pcap)
        if status < 0:
            raise CaptureError(
                f"{self.interface}: {self._error()}", _REMEDIES.get(status, "")
            )
        errors = ctypes.create_string_buffer(_ERRBUF)
        if pcap.pcap_setnonblock(self._pcap, 1, errors) < 0:
            raise CaptureError(f"{self.interface}: {_text(errors.value)}")
        self._filter(filter_expression(port))
        self._lock_filter()

    def _filter(self, expression: str) -> None:
        program = pcap.bpf_program()
        if pcap.pcap_compile(
            self._pcap,
            ctypes.byref(program),
            expression.encode(),
            1,
            _PCAP_NETMASK_UNKNOWN,
        ):
            raise CaptureError(f"{self.interface}: filter: {self._error()}")
        try:
            if pcap.pcap_setfilter(self._pcap, ctypes.byref(program)):
                raise CaptureError(f"{self.interface}: filter: {self._error()}")
        finally:
            pcap.pcap_freecode(ctypes.byref(program))

    def _lock_filter(self) -> None:
        """Keep whoever takes this program over from reading all other traffic."""
        # On another system than Linux the descriptor is no socket, or has no such lock.
        with contextlib.suppress(OSError):
            borrowed = socket.socket(fileno=pcap.pcap_get_selectable_fd(self._pcap))
            try:
                borrowed.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
            finally:
                borrowed.detach()

    def fileno(self) -> int:
        """Return the descriptor that polls readable when a frame is there."""
        return self._fd

    def frames(self) -> Iterator[bytes]:
        """Yield the frames that are there, a bounded number, without waiting.

        Raises:
            CaptureError: the capture is over, because the interface is.
        """
        for _ in range(FRAMES_PER_TURN):
            got = pcap.pcap_next_ex(
                self._pcap, ctypes.byref(self._header), ctypes.byref(self._data)
            )
            if got == 0:
                return
            if got < 0:
                # A link that is down says so once, and comes up again by itself.
                if _index(self.interface) == self._index:
                    return
                raise CaptureError(f"{self.interface}: {self._error()}")
            yield ctypes.string_at(self._data, self._header.contents.caplen)

    def dropped(self) -> int:
        """Return how many frames the kernel dropped because we were too slow."""
        stats = pcap.pcap_stat()
        if pcap.pcap_stats(self._pcap, ctypes.byref(stats)):
            return 0
        return int(stats.ps_drop)

    def close(self) -> None:
        """Close the capture. It may be closed again without harm."""
        if self._pcap:
            pcap.pcap_close(self._pcap)
            self._pcap = None

    def _error(self) -> str:
        return _text(pcap.pcap_geterr(self._pcap))


def _index(interface: str) -> int:
    """Return the number of an interface, or 0: for `any`, and for one that is gone."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def _text(message: bytes | None) -> str:
    return os.fsdecode(message or b"").strip() or "unknown error"
