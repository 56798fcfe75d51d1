"""What a daemon takes that has nothing to do: wake-ups, programs and memory.

And what memory it takes after 100,000 packets, half of them recorded ones, which pass
the kernel's filter, and half of them noise that has the right tag.
"""

import os
import time
from collections.abc import Callable

import fwknop
import processes
from counting import wait_counted
from figures import Figures
from lab.inside import udp
from lab.knocks import sealed
from lab.network import SERVER4, Network
from lab.programs import Client, Spasshd
from lab.site import Site

from spassh.protocol.limits import ACCESS_DATAGRAM, TAG_SIZE

_SECONDS = 30
_MINUTE = 60
_PACKETS = 100_000
_AT_ONCE = 500
"""Packets that are sent before the daemon is asked whether it has them: the capture has
room for some thousands."""
_SEEN_BY_TAG = TAG_SIZE + 8


def measure(network: Network, path: Callable[[str], str]) -> list[Figures]:
    """Look at both daemons at rest, and at ours after the packets."""
    spasshd = Spasshd(network.server, path("spasshd"), "--protect", "tcp/22")
    spasshd.start()
    client = Client(network.client, path("home"), "")
    client.accept(spasshd.invite("bench"))
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
    _send(network, Site(network.server, SERVER4, spasshd), sealed(client))
    name = f"memory (PSS) after {_PACKETS} packets, beside at rest"
    full = [processes.megabytes(processes.of(ours[0]))]
    figures.append(Figures(name, full, idle, "ratio about 1", "MB", "at rest"))
    fwknopd.stop()
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    return figures


def _send(network: Network, site: Site, recorded: bytes) -> None:
    rest = ACCESS_DATAGRAM - _SEEN_BY_TAG
    with udp(network.stranger) as sock:
        sock.connect((SERVER4, site.config.knock_port))
        for sent in range(0, _PACKETS, _AT_ONCE):
            for _ in range(_AT_ONCE // 2):
                sock.send(recorded)
                sock.send(recorded[:_SEEN_BY_TAG] + os.urandom(rest))
            wait_counted(site, "frames", sent + _AT_ONCE)
