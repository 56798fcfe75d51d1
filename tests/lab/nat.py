"""A host behind another one, which translates its addresses.

  inner            client (the router)
10.9.0.2 ──────── 10.9.0.1 · 192.0.2.2 ──────── the wire
"""

from collections.abc import Iterator
from contextlib import contextmanager

from .network import Host, Network

INNER4, ROUTER4 = "10.9.0.2", "10.9.0.1"

# None of the ports that a client takes: a NAT keeps those that are in its range.
KEEPS_PORTS = ("masquerade",)
CHANGES_PORTS = ("meta l4proto { tcp, udp } masquerade to :20000-29999",)
CHANGES_PORTS_OF_TCP = ("meta l4proto tcp masquerade to :20000-29999", "masquerade")

_CHAIN = "add chain ip nat post { type nat hook postrouting priority srcnat; }"


@contextmanager
def behind(network: Network, router: Host, rules: tuple[str, ...]) -> Iterator[Host]:
    """Have a new host behind `router`, which translates by these rules."""
    inner = network.host("inner")
    try:
        peer = ["peer", "name", "eth0", "netns", inner.name]
        router.run(["ip", "link", "add", "inside", "type", "veth", *peer])
        router.run(["ip", "address", "add", f"{ROUTER4}/24", "dev", "inside"])
        router.run(["ip", "link", "set", "inside", "up"])
        inner.run(["ip", "address", "add", f"{INNER4}/24", "dev", "eth0"])
        inner.run(["ip", "link", "set", "eth0", "up"])
        inner.run(["ip", "route", "add", "default", "via", ROUTER4])
        router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        lines = ["add table ip nat", _CHAIN]
        lines += [f'add rule ip nat post oifname "eth0" {rule}' for rule in rules]
        router.run(["nft", "-f", "-"], text="\n".join(lines) + "\n")
        network.name_hosts(inner)
        yield inner
    finally:
        router.run(["nft", "delete", "table", "ip", "nat"], check=False)
        # The other end of its wire goes with it.
        network.hosts.remove(inner)
        inner.delete()
        router.run(["ip", "link", "delete", "inside"], check=False)
