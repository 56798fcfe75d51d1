"""From a packet's arrival to the first SYN that is answered, for each back end.

The client knocks from an address of its own each time, and then sends a SYN from a
fresh socket every 0.1 ms. What is measured is the time from the knock to the first SYN
that gets an answer: capture, decryption, replay check, policy, granter and firewall.
They are held against the faster way of fwknopd.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median

import fwknop
from accepting import accept
from figures import Figures
from lab.network import SERVER4, Network
from lab.programs import Client, Spasshd

_PORT = 22
_FWKNOPD = {"fwknopd, libpcap": False, "fwknopd, UDP server": True}
_HERE = os.path.dirname(os.path.abspath(__file__))
_BACKENDS: dict[str, tuple[str, bool, str]] = {
    "nftables": ("nftables", True, "<= 0.5, p95 <= 1.5"),
    "iptables with ipset": ("iptables", True, ""),
    "iptables without ipset": ("iptables", False, ""),
}


def measure(network: Network, path: Callable[[str], str], runs: int) -> list[Figures]:
    """Measure fwknopd, and each of our back ends in turn, on the same network."""
    for number in range(runs):
        address = f"192.0.2.{100 + number}/24"
        network.client.run(["ip", "address", "add", address, "dev", "eth0"])
    accept(network.server, _PORT, fwknop.PORT)
    client = Client(network.client, path("home"), "")
    theirs = {}
    for label, udp_server in _FWKNOPD.items():
        fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"), udp_server=udp_server)
        theirs[label] = _race(client, fwknop.PORT, runs, *fwknopd.knock("SOURCE"))
        fwknopd.stop()
    baseline = min(theirs.values(), key=median)
    figures = [
        Figures(f"packet to SYN answered, {label}", times, [], "")
        for label, times in theirs.items()
    ]
    for label, (backend, ipset, target) in _BACKENDS.items():
        spasshd = Spasshd(
            network.server,
            path("spasshd"),
            *("--protect", f"tcp/{_PORT}", "--backend", backend),
        )
        if not ipset:
            spasshd.edit("backend =", "ipset = false\nbackend =")
        spasshd.start()
        client = Client(network.client, path("home"), "")
        client.accept(spasshd.invite("bench"))
        times = _race(client, _PORT, runs)
        name = f"packet to SYN answered, {label}"
        figures.append(Figures(name, times, baseline, target))
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
    return figures


def _race(client: Client, port: int, runs: int, *command: str) -> list[float]:
    argv = [sys.executable, os.path.join(_HERE, "knock_and_race.py"), SERVER4]
    raced = client.run(*argv, str(port), str(runs), *command, timeout=120)
    return [float(word) for word in raced.stdout.split()]


def environment() -> str:
    """Say what this was measured on."""
    cores = os.cpu_count()
    ssh = subprocess.run(["ssh", "-V"], check=True, capture_output=True, text=True)
    kernel = os.uname()
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{kernel.sysname} {kernel.release}, {cores} cores, Python {version},"
        f" {ssh.stderr.strip()}"
    )
