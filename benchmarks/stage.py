"""One server with three sshds, and a client: what logins and transfers are timed on.

port 22     behind spasshd
port 2222   behind fwknopd
port 2200   open to everybody: what plain ssh reaches
"""

import os
import sys
from collections.abc import Callable

import fwknop
from lab.network import CLIENT4, SERVER_NAME, Network
from lab.programs import Client, Spasshd, Sshd

OPEN_PORT = 2200

_HERE = os.path.dirname(os.path.abspath(__file__))


class Stage:
    """Makes the commands that are compared, and runs them on the client."""

    def __init__(
        self, network: Network, bin_dirs: dict[str, str], path: Callable[[str], str]
    ) -> None:
        """Start everything; `bin_dirs` has a `spassh` for each stack of libraries."""
        self.network = network
        self._bin_dirs = bin_dirs
        sshd = Sshd(network.server, path("sshd"))
        self.client = Client(network.client, path("home"), sshd.user_key)
        config = os.path.join(os.path.dirname(sshd.user_key), "sshd_config")
        for port in (OPEN_PORT, fwknop.PORT):
            argv = ["/usr/sbin/sshd", "-D", "-p", str(port), "-f", config]
            network.server.popen(argv, stderr=sys.stderr)
        spasshd = Spasshd(network.server, path("spasshd"), "--protect", "tcp/22")
        spasshd.start()
        self.client.accept(spasshd.invite("bench"))
        self.fwknopd = fwknop.Fwknopd(network.server, path("fwknopd"))

    def plain(self) -> list[str]:
        """Return ssh to the open port."""
        return self._ssh("none", OPEN_PORT)

    def spassh(self, stack: str, *, fdpass: bool) -> list[str]:
        """Return ssh through spassh, by the socket itself or by the relay."""
        program = f"{self._bin_dirs[stack]}/spassh proxy"
        if fdpass:
            return self._ssh(f"{program} --fdpass -- %h %p", 22)
        return self._ssh(f"{program} -- %h %p", 22, "-o", "ProxyUseFdpass=no")

    def netcat(self) -> list[str]:
        """Return ssh to the open port by way of nc."""
        return self._ssh("nc %h %p", OPEN_PORT, "-o", "ProxyUseFdpass=no")

    def fwknop(self, sleep: float) -> list[str]:
        """Return ssh by the recipe of fwknop."""
        recipe = self.fwknopd.recipe(CLIENT4, sleep)
        return self._ssh(recipe, fwknop.PORT, "-o", "ProxyUseFdpass=no")

    def _ssh(self, proxy: str, port: int, *more: str) -> list[str]:
        options = ["-o", "LogLevel=ERROR", "-o", f"ProxyCommand={proxy}", *more]
        # All of them by the same name, so that each resolves the same.
        words = ["-p", str(port), SERVER_NAME]
        return ["ssh", *self.client.ssh_options, *options, *words]

    def run(self, program: str, *words: str, text: str = "") -> str:
        """Run one of the programs here on the client; return what it prints."""
        argv = [sys.executable, os.path.join(_HERE, program), *words]
        return self.client.run(*argv, text=text, timeout=600).stdout
