"""Can a stranger see from outside whether a public key is that of a client?

    sudo .venv/bin/python benchmarks/by_the_clock.py [PAIRS]

The server answers nothing, so all that there is to see is how busy it is. A stranger
sends a packet in the name of a public key, and at once begins a connection to an open
port of the same machine, in namespaces on this one: no network is as quiet. Keys of
clients and unknown ones take turns by chance. What comes out is how often a connection
took longer behind a client's key than behind an unknown one: 0.5 if nothing can be
seen; and beside it the same for two groups that are both unknown.
"""

import os
import random
import socket
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from math import sqrt
from statistics import median

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(_ROOT, "tests"), os.path.join(_ROOT, "scripts")]

from lab.inside import door, inside, udp
from lab.knocker import Knocker
from lab.network import SERVER4, Network
from lab.programs import Spasshd
from lab.site import Site

from spassh.protocol.crypto import PrivateKey, encrypt
from spassh.protocol.noise import write_first_message
from spassh.protocol.packet import PROLOGUE, Gate

_PORT = 2022
_GROUPS = ("client", "unknown", "unknown again")


class Borrowed:
    """The public key of somebody, without its secret."""

    def __init__(self, public: bytes) -> None:
        self.public = public

    def exchange(self, _: bytes) -> bytes:
        return os.urandom(32)


def asking(public: bytes, server: bytes) -> bytes:
    """Return a datagram in the name of `public`, right but for what takes secrets."""
    ephemeral = PrivateKey(os.urandom(32))
    message = write_first_message(
        prologue=PROLOGUE,
        static=Borrowed(public),
        ephemeral=ephemeral,
        ephemeral_spelling=ephemeral.public,
        responder=server,
        psk=bytes(32),
        payload=bytes(76),
        encrypt=encrypt,
    )
    gate = Gate(server)
    body = message.ephemeral + message.static + message.payload
    tagged = gate.tag(message.ephemeral) + body
    return tagged + gate.mac(tagged)


def connecting() -> float:
    """Return the microseconds that a connection takes."""
    with socket.socket() as sock:
        begun = time.perf_counter()
        sock.connect((SERVER4, _PORT))
        return (time.perf_counter() - begun) * 1e6


def longer(some: list[float], others: list[float]) -> float:
    """Return how often one of `some` is longer than one of `others`."""
    ordered = sorted(others)
    wins = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in some)
    return wins / (2 * len(some) * len(others))


def measure(network: Network, directory: str, pairs: int) -> dict[str, list[float]]:
    spasshd = Spasshd(network.server, directory, "--protect", "tcp/22")
    alice = Knocker(spasshd, "alice")
    spasshd.start()
    site = Site(network.server, SERVER4, spasshd)
    server, known = alice.keys.server, PrivateKey(alice.keys.secret).public
    took: dict[str, list[float]] = {group: [] for group in _GROUPS}
    order = list(_GROUPS) * pairs
    random.Random(1).shuffle(order)  # noqa: S311 - nobody is to be kept from guessing
    with door(network.server, _PORT), udp(network.stranger) as sock:

        def ask_all() -> None:
            for group in order:
                key = known if group == "client" else PrivateKey(os.urandom(32)).public
                datagram = asking(key, server)
                # What the last one gave the daemon to do is done.
                time.sleep(0.003)
                site.send(sock, datagram)
                took[group].append(connecting())

        inside(network.stranger, ask_all)
    counters = site.counters()
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    print(f"packets that the daemon has opened: {counters['unauthentic']}")
    return took


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    network = Network(os.path.dirname(sys.executable))
    try:
        with tempfile.TemporaryDirectory() as directory:
            took = measure(network, os.path.join(directory, "spasshd"), pairs)
    finally:
        network.close()
    for group, times in took.items():
        print(f"{group:14} median {median(times):7.1f} µs of {len(times)}")
    error = sqrt((2 * pairs + 1) / (12 * pairs * pairs))
    for other in _GROUPS[:2]:
        share = longer(took[other], took[_GROUPS[2]])
        print(f"longer: {other} than {_GROUPS[2]}: {share:.3f} +- {2 * error:.3f}")


if __name__ == "__main__":
    main()
