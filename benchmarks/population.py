"""What one genuine packet costs the daemon, by how many users it knows.

The processor's time of all its processes, programs that they start included, from the
packet to the grant. The user who knocks stands in the middle of all the others.
"""

import os
import time
from collections.abc import Callable

import fwknop
import processes
from counting import counted, wait_counted
from figures import Figures
from lab.inside import udp
from lab.knocker import Knocker
from lab.network import SERVER4, Network
from lab.programs import Client, Spasshd
from lab.site import Site

from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh_server import config

_USERS = (1, 1000, 10_000)
_PACKETS = 50
_OF_FWKNOP = 10


def measure(network: Network, path: Callable[[str], str], runs: int) -> list[Figures]:
    """Measure each number of users with both daemons."""
    found = {count: _by_spasshd(network, path, count, runs) for count in _USERS}
    client = Client(network.client, path("home"), "")
    figures = []
    for count in _USERS:
        fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"), others=count - 1)
        baseline = _by_fwknopd(fwknopd, client)
        fwknopd.stop()
        name = f"processor's time of a genuine packet, {count} users"
        figures.append(Figures(name, found[count], baseline, ""))
    for count in _USERS[1:]:
        name = f"the same, {count} users beside 1"
        target = "ratio 0.90 to 1.10"
        figures.append(Figures(name, found[count], found[1], target, beside="1 user"))
    return figures


def _by_spasshd(
    network: Network, path: Callable[[str], str], count: int, runs: int
) -> list[float]:
    spasshd = Spasshd(network.server, path("spasshd"), "--protect", "tcp/22")
    users_dir = config.load(spasshd.config).users_dir
    for number in range(count - 1):
        _write_user(users_dir, f"{'az'[number % 2]}{number}")
    knocker = Knocker(spasshd, "middle")
    spasshd.start()
    site = Site(network.server, SERVER4, spasshd)
    pids = processes.of(spasshd.running.process.pid)
    values = []
    with udp(network.client) as sock:
        for _ in range(runs):
            # One after the other, as people log in; the bucket of the user is full.
            before, granted = processes.seconds(pids), counted(site, "granted")
            for _ in range(_PACKETS):
                site.send(sock, knocker.seal())
                time.sleep(0.01)
            wait_counted(site, "granted", granted + _PACKETS)
            values.append((processes.seconds(pids) - before) * 1000 / _PACKETS)
            time.sleep(_PACKETS / 5)
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    return values


def _write_user(users_dir: str, name: str) -> None:
    public, psk = encode_key(PUBLIC, os.urandom(32)), encode_key(PSK, os.urandom(32))
    with open(os.path.join(users_dir, f"{name}.toml"), "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f'[[key]]\npublic = "{public}"\npsk = "{psk}"\n')


def _by_fwknopd(fwknopd: fwknop.Fwknopd, client: Client) -> list[float]:
    values = []
    for number in range(1, _OF_FWKNOP + 1):
        pids = processes.of(fwknopd.pid)
        before = processes.seconds(pids)
        # It adds no rule for an address that has one with the same end.
        client.run(*fwknopd.knock(f"192.0.2.{100 + number}"))
        fwknopd.wait_granted(number)
        values.append((processes.seconds(pids) - before) * 1000)
    return values
