"""A host with a spasshd on it, as a test sees it from outside and from inside."""

import socket
from collections.abc import Callable
from typing import TypeVar

from spassh_server import config, control
from spassh_server.clock import wall_clock
from spassh_server.firewall import ActiveGrant, Firewall
from spassh_server.firewall.select import choose

from .inside import ask_kernel
from .network import Host, wait_for
from .programs import Spasshd

_T = TypeVar("_T")


class Site:
    """Asks daemon and kernel without starting a program."""

    def __init__(self, host: Host, address: str, spasshd: Spasshd) -> None:
        self.host = host
        self.address = address
        self.spasshd = spasshd
        self.config = config.load(spasshd.config)

    def send(self, sock: socket.socket, datagram: bytes) -> None:
        """Send a datagram to the knock port."""
        sock.sendto(datagram, (self.address, self.config.knock_port))

    def counters(self) -> dict[str, int]:
        """Return the counters of the daemon that runs."""
        answer = control.ask(self.config.run_dir, control.STATUS)
        counters: dict[str, int] = answer["counters"]
        return counters

    def outcome(self, sock: socket.socket, datagram: bytes) -> str:
        """Send a datagram; return what becomes of it, as its counter is called."""
        before = self.counters()
        self.send(sock, datagram)

        def news() -> str:
            now = self.counters()
            changed = [name for name in now if now[name] > before.get(name, 0)]
            return ",".join(name for name in changed if name != "frames")

        return wait_for(news, "something to become of a datagram")

    def grants(self) -> list[ActiveGrant]:
        """Return what the kernel lets in."""
        return self._ask_kernel(lambda firewall: firewall.grants())

    def in_place(self) -> bool:
        """Tell whether the kernel has the rules that drop the rest."""
        return self._ask_kernel(lambda firewall: firewall.in_place())

    def _ask_kernel(self, question: Callable[[Firewall], _T]) -> _T:
        def ask() -> _T:
            settings = self.config
            firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
            return question(firewall)

        return ask_kernel(self.host, ask)
