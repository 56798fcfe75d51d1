"""How many grants a daemon makes in a second, one after the other, without a pause.

Forty users ask for a hundred addresses each: that is as many as a user may ask for at
once. Without ipset each grant is a rule, and the kernel is given all of them for each
new one; there it is five. fwknopd has as many packets as its client makes in a few
seconds, and its own rules count: they stay for ten seconds.
"""

import time
from collections.abc import Callable
from ipaddress import ip_address

import fwknop
from counting import wait_counted
from figures import Figures
from lab.inside import udp
from lab.knocker import Knocker
from lab.network import SERVER4, Network
from lab.programs import Client, Spasshd
from lab.site import Site

_USERS = 40
_AHEAD = 400
"""Requests that are sent before the first of them has to be granted: who is asked for
more has a queue, and nothing more to do at once."""
_OF_FWKNOP = 30
_BACKENDS = {
    "nftables": ("nftables", True, 100, ">= 2000"),
    "iptables with ipset": ("iptables", True, 100, ">= 1000"),
    "iptables without ipset": ("iptables", False, 5, ""),
}


def measure(network: Network, path: Callable[[str], str]) -> list[Figures]:
    """Measure each back end once, and fwknopd."""
    baseline = [_by_fwknopd(network, path)]
    figures = []
    for label, (backend, ipset, each, target) in _BACKENDS.items():
        spasshd = Spasshd(
            network.server, path("spasshd"), "--protect", "tcp/22", "--backend", backend
        )
        if not ipset:
            spasshd.edit("backend =", "ipset = false\nbackend =")
        rate = [_by_spasshd(network, spasshd, each)]
        name = f"grants in a second, {label}"
        figures.append(Figures(name, rate, baseline, target, "/s", more=True))
    return figures


def _by_spasshd(network: Network, spasshd: Spasshd, each: int) -> float:
    knockers = [
        Knocker(spasshd, f"user{number}", "any_address = true")
        for number in range(_USERS)
    ]
    spasshd.start()
    site = Site(network.server, SERVER4, spasshd)
    first = int(ip_address("198.18.0.1"))
    asked = [
        knocker.seal(address=ip_address(first + at * _USERS + number).packed)
        for at in range(each)
        for number, knocker in enumerate(knockers)
    ]

    began = time.monotonic()
    with udp(network.client) as sock:
        for at in range(0, len(asked), 100):
            wait_counted(site, "granted", at - _AHEAD)
            for one in asked[at : at + 100]:
                site.send(sock, one)
    wait_counted(site, "granted", len(asked))
    rate = len(asked) / (time.monotonic() - began)
    spasshd.running.stop()
    spasshd.verb("stop", "--open")
    return rate


def _by_fwknopd(network: Network, path: Callable[[str], str]) -> float:
    fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"))
    client = Client(network.client, path("home"), "")
    packets = fwknopd.packets(client, _OF_FWKNOP)
    began = time.monotonic()
    with udp(network.client) as sock:
        for packet in packets:
            sock.sendto(packet, (SERVER4, fwknop.KNOCK_PORT))
    fwknopd.wait_granted(_OF_FWKNOP)
    rate = _OF_FWKNOP / (time.monotonic() - began)
    fwknopd.stop()
    return rate
