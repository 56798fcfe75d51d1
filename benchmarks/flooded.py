"""Who is let in while somebody floods the server: 20 logins, each with two seconds.

    junk      has the size and the form of a packet, and is noise
    forgeries begin like recorded packets, as far as the tag looks, and go on as noise
    replays   are recorded packets: everything is right but their age

spassh logs in as it does for ssh, which knocks again when a knock may have been lost;
fwknop's client knocks once, which is all it can, and a SYN is sent again and again.
"""

import os
import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from statistics import median

import fwknop
from accepting import accept
from figures import Figures
from flood import flood
from lab.knocks import sealed
from lab.network import SERVER4, SERVER_NAME, Network
from lab.programs import Client, Spasshd

from spassh.protocol.limits import (
    ACCESS_DATAGRAM,
    DEFAULT_KNOCK_PORT,
    TAG_SIZE,
    WINDOW_MS,
)
from spassh_server.clock import now_ms

_LOGINS = 20
_PORT = "22"
_RECORDED = 1000
_RECORDED_OF_FWKNOP = 20
_SEEN_BY_TAG = TAG_SIZE + 8
_HERE = os.path.dirname(os.path.abspath(__file__))


class _Scene:
    """Both daemons on one server, and a client of each."""

    def __init__(self, network: Network, path: Callable[[str], str]) -> None:
        self._network = network
        self._path = path
        accept(network.server, int(_PORT), fwknop.PORT)
        self.spasshd = Spasshd(
            network.server, path("spasshd"), "--protect", f"tcp/{_PORT}"
        )
        self.spasshd.start()
        self.client = Client(network.client, path("home"), "")
        self.client.accept(self.spasshd.invite("bench"))
        self.fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"))
        for number in range(_LOGINS):
            address = f"192.0.2.{100 + number}/24"
            network.client.run(["ip", "address", "add", address, "dev", "eth0"])

    def by_spassh(self, payloads: Sequence[bytes]) -> tuple[float, float]:
        """Return how many logins there were, and the packets of a second."""
        words = ("let_in.py", SERVER_NAME, _PORT, str(_LOGINS))
        return self._flooded(DEFAULT_KNOCK_PORT, payloads, *words)

    def by_fwknop(self, payloads: Sequence[bytes]) -> tuple[float, float]:
        """Return the same of fwknop."""
        words = ("knock_and_race.py", SERVER4, str(fwknop.PORT), str(_LOGINS))
        command = self.fwknopd.knock("SOURCE")
        return self._flooded(fwknop.KNOCK_PORT, payloads, *words, *command)

    def _flooded(
        self, port: int, payloads: Sequence[bytes], program: str, *words: str
    ) -> tuple[float, float]:
        argv = [sys.executable, os.path.join(_HERE, program), *words]
        with flood(self._network, self._path("trafgen"), port, payloads) as sending:
            done = self.client.run(*argv, timeout=110)
            rate = sending.rate()
        times = [float(word) for word in done.stdout.split()]
        assert len(times) == _LOGINS
        return float(sum(time < 2000 for time in times)), rate


def measure(network: Network, path: Callable[[str], str], runs: int) -> list[Figures]:
    """Flood either daemon with each kind in turn."""
    scene = _Scene(network, path)
    old = now_ms() - 2 * WINDOW_MS
    recorded = [sealed(scene.client, time=old) for _ in range(_RECORDED)]
    theirs = scene.fwknopd.recorded(scene.client, _RECORDED_OF_FWKNOP)
    noise = [b"9" + b64encode(os.urandom(153))[1:] for _ in range(256)]
    size = ACCESS_DATAGRAM
    forged = [
        one[:_SEEN_BY_TAG] + os.urandom(size - _SEEN_BY_TAG) for one in recorded[:256]
    ]
    kinds = {
        "junk": ([os.urandom(size) for _ in range(256)], noise),
        "forgeries": (forged, noise),
        "replays": (recorded, theirs),
    }
    figures = []
    for kind, (ours, other) in kinds.items():
        found = [scene.by_spassh(ours) for _ in range(runs)]
        # Once: each of its logins waits two seconds in vain.
        baseline = [scene.by_fwknop(other)]
        let_in = [number for number, _ in found]
        target = f"{_LOGINS} of {_LOGINS}"
        rate = median(rate for _, rate in found) / 1000
        name = f"logins in a flood of {kind}, {rate:.0f} k/s"
        figures.append(
            Figures(name, let_in, [number for number, _ in baseline], target, "")
        )
    scene.spasshd.running.stop()
    scene.spasshd.verb("stop", "--open")
    scene.fwknopd.stop()
    return figures
