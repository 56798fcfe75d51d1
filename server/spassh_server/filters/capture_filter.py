"""The filter of a capture: what the kernel keeps from us, as much as it can.

From the least to the most: datagrams by port and size; those alone that have the right
tag; and of these only so many copies. What a kernel does not do is done here.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from ..bindings import pcap
from ..datagram import DLT_LINUX_SLL, DLT_LINUX_SLL2
from ..libpcap import Handle, filter_expression
from ..limits import COPIES_THAT_PASS, MAX_COUNTED, SNAPLEN
from ..transports import Transport
from . import bpf, copies, kernel_bpf
from .bpf import Instruction, behind
from .ebpf import UntranslatableError
from .tag_filter import NETWORK, passes_at, tag_filter
from .transport_filter import transports_expression

# Linux has it; socket does not name it.
_SO_LOCK_FILTER = 44

_NOTHING = [bpf.do(bpf.RET_K, 0)]


class Kept(NamedTuple):
    """What the kernel keeps from us."""

    untagged: bool = False
    """Datagrams that have not the right tag."""
    copies: bool = False
    """Copies of one datagram, beyond COPIES_THAT_PASS."""


def install(
    handle: Handle,
    port: int,
    *,
    fwknop: bool,
    tag_key: bytes,
    transports: Collection[Transport],
) -> Kept:
    """Let datagrams to `port` through, and what `fwknop` and `transports` add to them.

    With `tag_key`, the 8 bytes of PROTOCOL.md section 3.1, the kernel looks at the tag.

    Raises:
        CaptureError: libpcap does not take the filter.
    """
    datagrams = filter_expression(port, fwknop=fwknop)
    others = transports_expression(transports) if transports else ""
    if tag_key and handle.link in NETWORK and sys.platform == "linux":
        # The BSDs take 512 instructions.
        first = _compiled(handle, datagrams)
        tag = tag_filter(handle.link, tag_key, keep=SNAPLEN, fwknop=fwknop)
        # What comes by other ways has no tag, and is never native.
        rest = _compiled(handle, others) if others else None
        # Whatever is refused on the way, libpcap puts the next one in its place.
        with contextlib.suppress(OSError), _socket(handle) as sock:
            program = _in_kernel(handle, sock, behind(first, tag, rest))
            if program is not None:
                counted = _count_copies(sock, program, len(first) + passes_at(tag))
                return Kept(untagged=True, copies=counted)
    either = f"({datagrams}) or ({others})" if others else datagrams
    handle.install(_compiled(handle, either))
    return Kept()


def _compiled(handle: Handle, expression: str) -> list[Instruction]:
    if handle.link in {DLT_LINUX_SLL, DLT_LINUX_SLL2}:
        # What leaves this host is no knock for it. Other link types cannot tell.
        expression = f"inbound and ({expression})"
    return handle.compile(expression)


def _in_kernel(
    handle: Handle, sock: socket.socket, program: Sequence[Instruction]
) -> list[Instruction] | None:
    """Set `program`, and return it as libpcap has changed it for this kind of socket.

    If the kernel has no room for it, return None: libpcap would apply it here, behind a
    kernel that lets everything through. The filter by port and size is much the better
    one then.
    """
    try:
        # libpcap would print a warning. It also has a small filter in place before.
        kernel_bpf.attach_classic(sock, _NOTHING)
        kernel_bpf.attach_classic(sock, program)
    except OSError:
        # Too large for net.core.optmem_max, as a rule.
        return None
    handle.install(program)
    attached = kernel_bpf.attached_classic(sock)
    return attached if len(attached) == len(program) else None


def _count_copies(
    sock: socket.socket, program: Sequence[Instruction], passes: int
) -> bool:
    """Replace `program` on `sock` by one that counts copies, and tell if it did.

    `program` is as libpcap has changed it for this kind of socket, and `passes` the
    index of the instruction that lets a right tag through.
    """
    try:
        loaded = _loaded(program, passes)
    except (OSError, UntranslatableError):
        # No CAP_BPF, a kernel before 5.1, or one that has no bpf(2).
        return False
    try:
        # There may be no room for both. Nobody is let in yet.
        kernel_bpf.attach_classic(sock, _NOTHING)
        kernel_bpf.attach(sock, loaded)
    except OSError:
        kernel_bpf.attach_classic(sock, program)
        return False
    finally:
        os.close(loaded)
    return True


def _loaded(program: Sequence[Instruction], passes: int) -> int:
    counts = kernel_bpf.counts(copies.KEY_BYTES, copies.COUNT_BYTES, MAX_COUNTED)
    try:
        limited = copies.at_most(program, passes, counts, COPIES_THAT_PASS)
        return kernel_bpf.load(limited)
    finally:
        # The program holds it. Whoever takes us over cannot have it.
        os.close(counts)


def lock(handle: Handle) -> None:
    """Keep whoever takes this program over from reading all other traffic."""
    # On another system than Linux the descriptor is no socket, or has no such lock.
    with contextlib.suppress(OSError), _socket(handle) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)


@contextlib.contextmanager
def _socket(handle: Handle) -> Iterator[socket.socket]:
    """Lend the socket that libpcap has on Linux.

    Raises:
        OSError: the descriptor is no socket.
    """
    fd = pcap.pcap_get_selectable_fd(handle.pointer)
    borrowed = socket.socket(fileno=fd)
    try:
        yield borrowed
    finally:
        borrowed.detach()
