"""From a packet's arrival to the first SYN that is answered, for each back end.

The client knocks from an address of its own each time, and then sends a SYN from a
fresh socket every 0.3 ms. What is measured is the time from the knock to the first SYN
that gets an answer: capture, decryption, replay check, policy, granter and firewall.
"""

import os
import subprocess
import sys
from collections.abc import Callable

from figures import Figures
from lab.network import SERVER4, Network
from lab.programs import Client, Spasshd, Sshd

_HERE = os.path.dirname(os.path.abspath(__file__))
_BACKENDS: dict[str, tuple[str, bool, str]] = {
    "nftables": ("nftables", True, "median under 3 ms"),
    "iptables with ipset": ("iptables", True, ""),
    "iptables without ipset": ("iptables", False, ""),
}


def measure(network: Network, path: Callable[[str], str], runs: int) -> list[Figures]:
    """Measure each back end in turn, on the same network and the same sshd."""
    sshd = Sshd(network.server, path("sshd"))
    for number in range(runs):
        address = f"192.0.2.{100 + number}/24"
        network.client.run(["ip", "address", "add", address, "dev", "eth0"])
    figures = []
    for label, (backend, ipset, target) in _BACKENDS.items():
        spasshd = Spasshd(
            network.server, path("spasshd"), "--protect", "tcp/22", "--backend", backend
        )
        if not ipset:
            spasshd.edit("backend =", "ipset = false\nbackend =")
        spasshd.start()
        client = Client(network.client, path("home"), sshd.user_key)
        client.accept(spasshd.invite("bench"))
        argv = [sys.executable, os.path.join(_HERE, "knock_and_race.py"), SERVER4]
        raced = client.run(*argv, "22", str(runs), timeout=120)
        name = f"packet to SYN answered, {label}"
        times = [float(word) for word in raced.stdout.split()]
        figures.append(Figures(name, times, [], target))
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
    return figures


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
