"""A host behind the server, which is its only way out.

    server  10.9.0.1, fd00:9::1 ==== 10.9.0.5, fd00:9::5  inner

It runs sshd, with a home directory of its own that tells it from the server's.
"""

import os
import shutil

from .network import Host, Network
from .programs import Sshd

INNER4, INNER6 = "10.9.0.5", "fd00:9::5"
NEAR4, NEAR6 = "10.9.0.1", "fd00:9::1"


class Inner:
    """The inner host; the network deletes it with the others."""

    def __init__(self, network: Network, directory: str, user_key: str) -> None:
        """Make it, and let the owner of `user_key` log in."""
        server = network.server
        self.host = Host(f"{network.prefix}-inner", server.environment)
        network.hosts.append(self.host)
        peer = ["peer", "name", "eth0", "netns", self.host.name]
        server.run(["ip", "link", "add", "inner", "type", "veth", *peer])
        for host, device, v4, v6 in (
            (server, "inner", NEAR4, NEAR6),
            (self.host, "eth0", INNER4, INNER6),
        ):
            host.run(["ip", "address", "add", f"{v4}/24", "dev", device])
            host.run(["ip", "address", "add", f"{v6}/64", "dev", device, "nodad"])
            host.run(["ip", "link", "set", device, "up"])
        self.host.run(["ip", "-4", "route", "add", "default", "via", NEAR4])
        self.host.run(["ip", "-6", "route", "add", "default", "via", NEAR6])
        for switch in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            server.run(["sysctl", "-q", "-w", f"net.{switch}=1"])
        self.sshd = Sshd(self.host, directory)
        self.home = os.path.join(directory, "home")
        shutil.copy(f"{user_key}.pub", f"{self.sshd.user_key}.pub")
