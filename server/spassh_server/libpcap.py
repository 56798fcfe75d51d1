"""libpcap through scapy's ctypes bindings, and nothing else of scapy.

What scapy 2.5 to 2.8 does not bind is bound here, all of it in any libpcap since 1.5.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

from scapy.libs.structures import bpf_insn

from spassh.protocol.fwknop import openpgp
from spassh.protocol.fwknop.limits import LEAST, MOST
from spassh.protocol.fwknop.packet import FIRST
from spassh.protocol.limits import DATAGRAM_SIZES

from .bindings import pcap
from .filters.bpf import Instruction

ERRBUF = 256
"""Bytes of a buffer for an error, as PCAP_ERRBUF_SIZE."""
_UDP_HEADER = 8
_PCAP_NETMASK_UNKNOWN = 0xFFFFFFFF

lib = pcap._lib  # noqa: SLF001 - the one way to what scapy does not bind
lib.pcap_set_immediate_mode.argtypes = [ctypes.POINTER(pcap.pcap_t), ctypes.c_int]
lib.pcap_set_immediate_mode.restype = ctypes.c_int
lib.pcap_set_buffer_size.argtypes = [ctypes.POINTER(pcap.pcap_t), ctypes.c_int]
lib.pcap_set_buffer_size.restype = ctypes.c_int
lib.pcap_fopen_offline.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
lib.pcap_fopen_offline.restype = ctypes.POINTER(pcap.pcap_t)


# A second one, of addresses: those of scapy are made anew for each frame.
_next_ex = lib["pcap_next_ex"]
_next_ex.argtypes = [ctypes.c_void_p] * 3
_next_ex.restype = ctypes.c_int


class CaptureError(Exception):
    """libpcap did not do what was asked. `hint` may name the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Handle:
    """An open pcap_t, of an interface or of a file."""

    def __init__(self, name: str, pointer: Any) -> None:
        """Take `pointer` over; `name` is what its errors begin with."""
        self.name = name
        self.pointer = pointer
        # A flood of junk comes as far as this, so these are addresses, and made once.
        self._address = ctypes.cast(pointer, ctypes.c_void_p).value
        self._header = ctypes.c_void_p()
        self._data = ctypes.c_void_p()
        self._places = ctypes.addressof(self._header), ctypes.addressof(self._data)
        self._known: int | None = None
        self._length = ctypes.c_uint32()

    @property
    def link(self) -> int:
        """The link type, a DLT number."""
        return int(pcap.pcap_datalink(self.pointer))

    def filter(self, expression: str) -> None:
        """Let only those frames through.

        Raises:
            CaptureError: libpcap cannot compile it for this link type, or set it.
        """
        self.install(self.compile(expression))

    def compile(self, expression: str) -> list[Instruction]:
        """Return the program of a filter, for this link type.

        Raises:
            CaptureError: libpcap cannot compile it.
        """
        program = pcap.bpf_program()
        if pcap.pcap_compile(
            self.pointer,
            ctypes.byref(program),
            expression.encode(),
            1,
            _PCAP_NETMASK_UNKNOWN,
        ):
            raise CaptureError(f"{self.name}: filter: {self.problem()}")
        try:
            return [
                Instruction(one.code, one.jt, one.jf, one.k & 0xFFFFFFFF)
                for one in program.bf_insns[: program.bf_len]
            ]
        finally:
            pcap.pcap_freecode(ctypes.byref(program))

    def install(self, program: Sequence[Instruction]) -> None:
        """Let only those frames through that `program` does.

        Raises:
            CaptureError: libpcap cannot set it.
        """
        words = pcap.bpf_program(len(program), spelled(program))
        if pcap.pcap_setfilter(self.pointer, ctypes.byref(words)):
            raise CaptureError(f"{self.name}: filter: {self.problem()}")

    def next(self) -> int:
        """Go to the next frame; return what pcap_next_ex(3PCAP) does: 1 if there is."""
        got: int = _next_ex(self._address, *self._places)
        return got

    def frame(self) -> bytes:
        """Copy the frame that `next` went to."""
        header = self._header.value
        if header is None or self._data.value is None:
            raise ValueError("no frame")
        if header != self._known:
            # libpcap has one header for all frames.
            place = header + pcap.pcap_pkthdr.caplen.offset
            self._known, self._length = header, ctypes.c_uint32.from_address(place)
        return ctypes.string_at(self._data.value, self._length.value)

    def time(self) -> int:
        """Return when that frame was captured, in milliseconds since 1970."""
        if self._header.value is None:
            raise ValueError("no frame")
        stamp = pcap.pcap_pkthdr.from_address(self._header.value).ts
        return int(stamp.tv_sec) * 1000 + int(stamp.tv_usec) // 1000

    def problem(self) -> str:
        """Return what went wrong last, in libpcap's words."""
        return error_text(pcap.pcap_geterr(self.pointer))

    def close(self) -> None:
        """Close it. It may be closed again without harm."""
        if self.pointer:
            pcap.pcap_close(self.pointer)
            self.pointer = self._address = None


def spelled(program: Sequence[Instruction]) -> Any:
    """Return `program` as an array of struct bpf_insn."""
    return (bpf_insn * len(program))(*program)


def error_text(message: bytes | None) -> str:
    """Return an error of libpcap as text."""
    return os.fsdecode(message or b"").strip() or "unknown error"


def filter_expression(port: int, *, fwknop: bool = False) -> str:
    """Return the libpcap filter for datagrams to `port`: whole UDP of our sizes.

    With `fwknop`, also UDP of IPv4 that begins like a packet of fwknop.

    What it lets through still has to be parsed: `datagram` assumes nothing of it.
    """

    def sizes(field: str) -> str:
        return " or ".join(f"{field} = {size + _UDP_HEADER}" for size in DATAGRAM_SIZES)

    # In libpcap's language udp[...] means IPv4 only, and leaves fragments out.
    wanted = sizes("udp[4:2]")
    if fwknop:
        for first, least in ((FIRST, LEAST), (openpgp.FIRST, openpgp.LEAST)):
            begins = " or ".join(f"udp[8] = {byte}" for byte in first)
            wanted += (
                f" or (udp[4:2] >= {least + _UDP_HEADER}"
                f" and udp[4:2] <= {MOST + _UDP_HEADER} and ({begins}))"
            )
    ipv4 = f"ip and udp dst port {port} and ({wanted})"
    ipv6 = f"ip6 and ip6[6] = 17 and ip6[42:2] = {port} and ({sizes('ip6[44:2]')})"
    return f"({ipv4}) or ({ipv6})"
