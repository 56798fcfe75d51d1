"""What a daemon takes that has nothing to do: wake-ups, programs and memory.

And what memory it takes after 100,000 packets that pass the kernel's filter: they have
the right tag, and none is a copy of another.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice

import fwknop
import processes
from counting import wait_counted
from figures import Figures
from lab.inside import udp
from lab.knocker import noises
from lab.network import SERVER4, Network
from lab.programs import Spasshd
from lab.site import Site

_SECONDS = 30
_MINUTE = 60
_PACKETS = 100_000
_AT_ONCE = 500
"""Packets that are sent before the daemon is asked whether it has them: the capture has
room for some thousands."""


def measure(network: Network, path: Callable[[str], str]) -> list[Figures]:
    """Look at both daemons at rest, and at ours after the packets."""
    spasshd = Spasshd(network.server, path("spasshd"), "--protect", "tcp/22")
    spasshd.start()
    fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"))
    ours = processes.of(spasshd.running.process.pid)
    theirs = processes.of(fwknopd.pid)
    time.sleep(2)
    before = [processes.wake_ups(pids) for pids in (ours, theirs)]
    time.sleep(_SECONDS)
    after = [processes.wake_ups(pids) for pids in (ours, theirs)]
    woken, theirs_woken = (
        (end - begin) * _MINUTE / _SECONDS
        for begin, end in zip(before, after, strict=True)
    )
    started, theirs_started = (
        processes.programs(network.server, pid, _SECONDS) * _MINUTE / _SECONDS
        for pid in (ours[0], theirs[0])
    )
    idle = [processes.megabytes(ours)]
    figures = [
        Figures("wake-ups a minute, at rest", [woken], [theirs_woken], "0", ""),
        Figures("programs a minute, at rest", [started], [theirs_started], "0", ""),
        Figures(
            "memory (PSS) at rest", idle, [processes.megabytes(theirs)], "<= 45", "MB"
        ),
    ]
    _send(network, Site(network.server, SERVER4, spasshd), noises(spasshd))
    name = f"memory (PSS) after {_PACKETS} packets, beside at rest"
    full = [processes.megabytes(processes.of(ours[0]))]
    figures.append(Figures(name, full, idle, "ratio about 1", "MB", "at rest"))
    fwknopd.stop()
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    return figures


def _send(network: Network, site: Site, noises: Iterator[bytes]) -> None:
    """Send packets that the kernel lets through: with the right tag, and no copies."""
    with udp(network.stranger) as sock:
        sock.connect((SERVER4, site.config.knock_port))
        for sent in range(0, _PACKETS, _AT_ONCE):
            for noise in islice(noises, _AT_ONCE):
                sock.send(noise)
            wait_counted(site, "frames", sent + _AT_ONCE)
