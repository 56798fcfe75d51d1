"""Frames from the network's interfaces, through libpcap.

Immediate mode and a blocking poll(2): a frame is here 0.02 ms after it arrived, and an
idle daemon sleeps. scapy's own sockets wait 50 to 100 ms, or cost 90 µs a packet.

On Linux there is one capture for all interfaces, and each frame says which it came in
through. Nothing can be opened once the privileges are gone, and a capture of a single
interface is deaf for ever after that was deleted; this one hears whatever appears.
"""

import ctypes
import socket
import sys
from collections.abc import Collection, Iterator, Sequence

from .bindings import pcap
from .datagram import DLT_LINUX_SLL2
from .filters import capture_filter
from .libpcap import ERRBUF, CaptureError, Handle, error_text, lib
from .limits import CAPTURE_BUFFER_BYTES, FRAMES_PER_TURN, SNAPLEN
from .transports import Transport

ANY = "any"
"""The interface that stands for all of them, now and later."""

# What pcap_activate(3PCAP) returns.
_PCAP_ERROR_NO_SUCH_DEVICE = -5
_PCAP_ERROR_PERM_DENIED = -8
_REMEDIES = {
    _PCAP_ERROR_NO_SUCH_DEVICE: "'ip link' lists the interfaces",
    _PCAP_ERROR_PERM_DENIED: "run this as root",
}

# Where the header LINUX_SLL2 has the number of the interface.
_SLL2_INDEX = slice(4, 8)


def open_captures(
    names: Sequence[str],
    port: int,
    *,
    fwknop: bool = False,
    tag_key: bytes = b"",
    transports: Collection[Transport] = (),
) -> list["Capture"]:
    """Open what it takes to hear the interfaces `names`; it takes CAP_NET_RAW.

    With `tag_key`, the kernel keeps out what has not the right tag, where it can.

    An interface that is not there yet is waited for, and so is one that went away;
    only where libpcap does not tell where a frame came in (before 1.10, and on other
    systems than Linux) each has a capture of its own that ends with it.

    Raises:
        CaptureError: no permission, the filter is refused, or, there, no such
            interface.
    """

    def open_one(name: str, wanted: Sequence[str] = ()) -> Capture:
        return Capture(
            name, port, wanted, fwknop=fwknop, tag_key=tag_key, transports=transports
        )

    if ANY in names or sys.platform == "linux":
        wanted = () if ANY in names else names
        capture = open_one(ANY, wanted)
        if ANY in names or capture.link == DLT_LINUX_SLL2:
            return [capture]
        capture.close()
    return [open_one(name) for name in names]


class Capture:
    """One interface, or `any` and of that the interfaces of some names."""

    def __init__(
        self,
        interface: str,
        port: int,
        names: Sequence[str] = (),
        *,
        fwknop: bool = False,
        tag_key: bytes = b"",
        transports: Collection[Transport] = (),
    ) -> None:
        """Open the capture of datagrams to `port`; it takes CAP_NET_RAW.

        With `fwknop`, packets of fwknop are let through as well, and with `transports`
        those that come by these. With `tag_key`, the 8 bytes of PROTOCOL.md section
        3.1, the kernel looks at the tag: see `kept`.

        With `names`, frames of other interfaces than those are left out. It takes
        `any`, and the link type LINUX_SLL2: see whether `link` is that.

        Raises:
            CaptureError: no such interface, no permission, or the filter is refused.
        """
        self.interface = interface
        self._names = frozenset(names)
        errors = ctypes.create_string_buffer(ERRBUF)
        pointer = pcap.pcap_create(interface.encode(), errors)
        if not pointer:
            raise CaptureError(f"{interface}: {error_text(errors.value)}")
        self._handle = Handle(interface, pointer)
        try:
            self._open()
            self.kept = capture_filter.install(
                self._handle,
                port,
                fwknop=fwknop,
                tag_key=tag_key,
                transports=transports,
            )
            """What the kernel keeps from us."""
            capture_filter.lock(self._handle)
        except BaseException:
            self.close()
            raise
        self.link: int = self._handle.link
        """The link type, one of the DLT numbers in `datagram`."""
        self._fd: int = pcap.pcap_get_selectable_fd(pointer)
        self._index = _index(interface)

    def _open(self) -> None:
        pointer = self._handle.pointer
        pcap.pcap_set_snaplen(pointer, SNAPLEN)
        pcap.pcap_set_promisc(pointer, 0)
        lib.pcap_set_immediate_mode(pointer, 1)
        lib.pcap_set_buffer_size(pointer, CAPTURE_BUFFER_BYTES)
        status = pcap.pcap_activate(pointer)
        if status < 0:
            raise CaptureError(
                f"{self.interface}: {self._handle.problem()}", _REMEDIES.get(status, "")
            )
        errors = ctypes.create_string_buffer(ERRBUF)
        if pcap.pcap_setnonblock(pointer, 1, errors) < 0:
            raise CaptureError(f"{self.interface}: {error_text(errors.value)}")
        if self.interface == ANY:
            pcap.pcap_set_datalink(pointer, DLT_LINUX_SLL2)

    def fileno(self) -> int:
        """Return the descriptor that polls readable when a frame is there."""
        return self._fd

    def frames(self) -> Iterator[bytes]:
        """Yield the frames that are there, a bounded number, without waiting.

        Raises:
            CaptureError: the capture is over, because the interface is.
        """
        # Looked up at every turn: a name may have another index by now.
        wanted: set[bytes] | None = None
        for _ in range(FRAMES_PER_TURN):
            got = self._handle.next()
            if got == 0:
                return
            if got < 0:
                # A link that is down says so once, and comes up again by itself.
                if self._index and _index(self.interface) == self._index:
                    return
                raise CaptureError(f"{self.interface}: {self._handle.problem()}")
            frame = self._handle.frame()
            if self._names:
                if wanted is None:
                    wanted = {_index(name).to_bytes(4, "big") for name in self._names}
                if frame[_SLL2_INDEX] not in wanted:
                    continue
            yield frame

    def dropped(self) -> int:
        """Return how many frames the kernel dropped because we were too slow."""
        stats = pcap.pcap_stat()
        if pcap.pcap_stats(self._handle.pointer, ctypes.byref(stats)):
            return 0
        return int(stats.ps_drop)

    def close(self) -> None:
        """Close the capture. It may be closed again without harm."""
        self._handle.close()


def _index(interface: str) -> int:
    """Return the number of an interface, or 0: for `any`, and for one that is gone."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0
