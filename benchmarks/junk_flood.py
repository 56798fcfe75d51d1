"""What a flood of junk costs the daemon: the processor's time for a million packets.

The junk has the size of a knock and no right tag, which the kernel's filter looks at.
The baseline is the same daemon without room for that filter: the kernel looks at port
and size, and the daemon at the rest.
"""

import os
from collections.abc import Callable

from figures import Figures
from lab.inside import udp
from lab.network import SERVER4, Host, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site

from spassh.protocol.limits import ACCESS_DATAGRAM

_PACKETS = 100_000
_MILLION = 1_000_000
_NO_ROOM = 4096
"""Bytes of net.core.optmem_max that take the filter by port and size alone."""


def measure(network: Network, path: Callable[[str], str], runs: int) -> list[Figures]:
    """Flood a daemon of each kind; the second where the kernel can have no room."""
    checked = _flood(network, path("tagged"), runs)
    limit = "/proc/sys/net/core/optmem_max"
    before = network.server.run(["cat", limit], check=False).stdout.strip()
    unchecked: list[float] = []
    if before:
        _write(network.server, limit, str(_NO_ROOM))
        try:
            unchecked = _flood(network, path("untagged"), runs)
        finally:
            _write(network.server, limit, before)
    name = "a million packets of junk, processor's time"
    beside = "the tag in Python"
    return [Figures(name, checked, unchecked, "<= 0.50", "s", beside)]


def _write(host: Host, file: str, text: str) -> None:
    host.run(["sh", "-c", f"echo {text} > {file}"])


def _flood(network: Network, directory: str, runs: int) -> list[float]:
    spasshd = Spasshd(network.server, directory, "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    daemon = spasshd.start()
    junk = [os.urandom(ACCESS_DATAGRAM) for _ in range(256)]
    values = []
    try:
        with udp(network.stranger) as sock:
            sock.connect((SERVER4, site.config.knock_port))
            for _ in range(runs):
                before = _seconds(daemon.process.pid)
                for number in range(_PACKETS):
                    sock.send(junk[number % len(junk)])
                _wait_until_judged(site)
                spent = _seconds(daemon.process.pid) - before
                values.append(spent * _MILLION / _PACKETS)
    finally:
        daemon.stop()
        spasshd.verb("stop", "--open")
    return values


def _wait_until_judged(site: Site) -> None:
    """Wait until the daemon has counted no more frames between two questions."""
    seen = [-1]

    def is_over() -> bool:
        seen.append(site.counters().get("frames", 0))
        return seen[-1] == seen[-2]

    wait_for(is_over, "the junk to be judged")


def _seconds(pid: int) -> float:
    """Return the processor's time that a process with one thread has had."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9
