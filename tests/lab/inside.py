"""Work in a host's network namespace without starting a program for it.

A socket stays in the namespace that its thread was in when it was made.
"""

import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self, TypeVar

from .network import Host, Network

_CLONE_NEWNET = 0x4000_0000

_libc = ctypes.CDLL(None, use_errno=True)

_library = threading.Lock()
"""libnftables is not for two threads at once."""

_T = TypeVar("_T")


def inside(host: Host, work: Callable[[], _T]) -> _T:
    """Return what `work` returns in a thread of its own in the namespace of `host`."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            fd = os.open(f"/run/netns/{host.name}", os.O_RDONLY)
            try:
                if _libc.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller
            errors.append(error)

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def ask_kernel(host: Host, work: Callable[[], _T]) -> _T:
    """Return what `work` returns, which asks the packet filter of `host`."""
    with _library:
        return inside(host, work)


def another_host(network: Network, number: int) -> tuple[Host, str]:
    """Put one more host, below 100, on the wire; return it and its address."""
    host = Host(f"{network.prefix}-s{number}", network.server.environment)
    network.hosts.append(host)
    address = f"192.0.2.{100 + number}"
    network._join(host, address, f"2001:db8::{100 + number}")
    return host, address


def udp(host: Host, source: str = "") -> socket.socket:
    """Return a UDP socket of `host`, bound to one of its addresses."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((source, 0))
        return sock

    return inside(host, make)


@contextmanager
def door(host: Host, port: int = 22) -> Iterator[None]:
    """Accept every connection to `port` of `host`, and close it at once."""
    listening = inside(
        host, lambda: socket.create_server(("", port), backlog=1024, reuse_port=True)
    )

    def accept() -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def port_answers(host: Host, address: str, port: int, seconds: float = 1) -> bool:
    """Tell whether a plain TCP connection gets through; a drop takes `seconds`.

    The SYN leaves in the call that connects, before the time begins to run. An answer
    that is none of the two, such as a refusal, is an error.
    """
    return inside(host, lambda: _connects(address, port, seconds))


def _connects(address: str, port: int, seconds: float) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect((address, port))
        except TimeoutError:
            return False
        return True


class Silence:
    """Tries all the time to reach some addresses, and keeps those that answered."""

    def __init__(self, host: Host, addresses: list[str], port: int = 22) -> None:
        self.answered: list[str] = []
        self.tries = 0
        self._host = host
        self._addresses = addresses
        self._port = port
        self._done = threading.Event()
        self._thread = threading.Thread(target=inside, args=(host, self._try))

    def _try(self) -> None:
        while not self._done.is_set():
            socks = [(self._connect(one), one) for one in self._addresses]
            # Whoever answers does it at once; the next SYN follows this wait.
            time.sleep(0.05)
            for sock, address in socks:
                with sock:
                    if _has_answer(sock):
                        self.answered.append(address)
            self.tries += len(socks)

    def _connect(self, address: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect((address, self._port))
        return sock

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def _has_answer(sock: socket.socket) -> bool:
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return True
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
