"""fwknop 2.6 of Debian, as its manual sets it up: what people have today.

fwknopd reads packets from libpcap, which is its default, and opens a port of its own
beside the one of spasshd. The client is used in the usual recipe, as a ProxyCommand.
"""

import base64
import os
import shlex

from lab.network import SERVER4, Host
from lab.programs import Daemon

PORT = 2222
"""Where the sshd behind fwknopd listens."""

_KNOCK_PORT = 62202
_UNPACKED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".fwknop"
)
_LIBRARIES = f"{_UNPACKED}/usr/lib/{os.uname().machine}-linux-gnu"
_CLIENT = f"{_UNPACKED}/usr/bin/fwknop"


class Fwknopd:
    """The daemon on the server, and what a client needs to knock at it."""

    def __init__(self, host: Host, directory: str) -> None:
        """Start it, and drop what it has not opened."""
        os.makedirs(directory, mode=0o700)
        self._host = host
        self._rc_file = os.path.join(directory, "fwknoprc")
        keys = "".join(
            f"{name} {base64.b64encode(os.urandom(32)).decode()}\n"
            for name in ("KEY_BASE64", "HMAC_KEY_BASE64")
        )
        access = self._write(
            directory,
            "access.conf",
            f"SOURCE ANY\nOPEN_PORTS tcp/{PORT}\nFW_ACCESS_TIMEOUT 10\n{keys}",
        )
        config = self._write(
            directory,
            "fwknopd.conf",
            f"PCAP_INTF eth0;\nPCAP_FILTER udp port {_KNOCK_PORT};\n",
        )
        self._write(
            directory,
            "fwknoprc",
            f"[default]\nSPA_SERVER {SERVER4}\nSPA_SERVER_PORT {_KNOCK_PORT}\n"
            f"ACCESS tcp/{PORT}\nUSE_HMAC Y\n{keys}",
        )
        for rule in (
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-j DROP",
        ):
            words = f"iptables -A INPUT -p tcp --dport {PORT} {rule}"
            host.run(words.split())
        argv = [f"{_UNPACKED}/usr/sbin/fwknopd", "-f", "-c", config, "-a", access]
        argv += ["-r", directory, "-p", f"{directory}/pid", "-d", f"{directory}/digest"]
        self._daemon = Daemon(
            host,
            ["env", f"LD_LIBRARY_PATH={_LIBRARIES}", *argv],
            os.path.join(directory, "fwknopd.log"),
        )
        self._daemon.wait_log("Starting fwknopd main event loop")

    @staticmethod
    def _write(directory: str, name: str, text: str) -> str:
        path = os.path.join(directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def knock(self, source: str) -> list[str]:
        """Return the command that knocks for `source`."""
        words = ["--rc-file", self._rc_file, "--no-save-args", "-n", "default"]
        return ["env", f"LD_LIBRARY_PATH={_LIBRARIES}", _CLIENT, *words, "-a", source]

    def recipe(self, source: str, seconds: float) -> str:
        """Return the recipe, as a ProxyCommand: knock, sleep, connect."""
        knock = shlex.join(self.knock(source))
        script = f"{knock} >/dev/null; sleep {seconds}; exec nc {SERVER4} {PORT}"
        return shlex.join(["sh", "-c", script])

    def stop(self) -> None:
        """End it, and take away its rules and ours."""
        self._daemon.stop()
        self._host.run(["iptables", "-F", "INPUT"])
