"""fwknop 2.6 of Debian, as its manual sets it up: what people have today.

fwknopd reads packets from libpcap, which is its default, and opens a port of its own
beside the one of spasshd. The client is used in the usual recipe, as a ProxyCommand.
"""

import base64
import os
import shlex

from lab.network import SERVER4, Host, wait_for
from lab.programs import Client, Daemon

PORT = 2222
"""Where the sshd behind fwknopd listens."""

KNOCK_PORT = 62202
_UNPACKED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".fwknop"
)
_LIBRARIES = f"{_UNPACKED}/usr/lib/{os.uname().machine}-linux-gnu"
_CLIENT = f"{_UNPACKED}/usr/bin/fwknop"


class Fwknopd:
    """The daemon on the server, and what a client needs to knock at it."""

    def __init__(
        self, host: Host, directory: str, *, others: int = 0, udp_server: bool = False
    ) -> None:
        """Start it, and drop what it has not opened.

        With `others`, there are so many more keys that its user's comes in the middle
        of. With `udp_server` it takes packets from a socket instead of libpcap.
        """
        os.makedirs(directory, mode=0o700)
        self._host = host
        self._rc_file = os.path.join(directory, "fwknoprc")
        stanzas = [_keys() for _ in range(others)]
        keys = _keys()
        stanzas.insert(others // 2, keys)
        head = f"SOURCE ANY\nOPEN_PORTS tcp/{PORT}\nFW_ACCESS_TIMEOUT 10\n"
        access = self._write(
            directory, "access.conf", "\n".join(head + one for one in stanzas)
        )
        source = f"PCAP_INTF eth0;\nPCAP_FILTER udp port {KNOCK_PORT};\n"
        if udp_server:
            source = f"ENABLE_UDP_SERVER Y;\nUDPSERV_PORT {KNOCK_PORT};\n"
        config = self._write(directory, "fwknopd.conf", source)
        self._write(
            directory,
            "fwknoprc",
            f"[default]\nSPA_SERVER {SERVER4}\nSPA_SERVER_PORT {KNOCK_PORT}\n"
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
        begun = "Kicking off UDP" if udp_server else "Starting fwknopd main event loop"
        self._daemon.wait_log(begun)

    @property
    def pid(self) -> int:
        """Return the process of the daemon."""
        return self._daemon.process.pid

    def wait_granted(self, count: int) -> None:
        """Wait until it has made so many grants."""
        said = "Added access rule to FWKNOP_INPUT"
        wait_for(lambda: self._daemon.log.count(said) >= count, f"{count} grants")

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

    def recorded(self, client: Client, count: int) -> list[bytes]:
        """Knock so often from `client` for other addresses; return the packets."""
        return self._saved(client, count)

    def _saved(self, client: Client, count: int, *words: str) -> list[bytes]:
        packets = []
        path = f"{self._rc_file}.packet"
        for number in range(1, count + 1):
            # It adds no rule for an address that has one with the same end.
            source = f"198.51.100.{number}"
            client.run(*self.knock(source), *words, "--save-packet", path)
            with open(path, "rb") as file:
                packets.append(file.read().strip())
            os.unlink(path)
        return packets

    def packets(self, client: Client, count: int) -> list[bytes]:
        """Return so many packets that nobody has sent yet."""
        return self._saved(client, count, "--test")

    def recipe(self, source: str, seconds: float) -> str:
        """Return the recipe, as a ProxyCommand: knock, sleep, connect."""
        knock = shlex.join(self.knock(source))
        script = f"{knock} >/dev/null; sleep {seconds}; exec nc {SERVER4} {PORT}"
        return shlex.join(["sh", "-c", script])

    def stop(self) -> None:
        """End it, and take away its rules and ours."""
        self._daemon.stop()
        self._host.run(["iptables", "-F", "INPUT"])


def _keys() -> str:
    return "".join(
        f"{name} {base64.b64encode(os.urandom(32)).decode()}\n"
        for name in ("KEY_BASE64", "HMAC_KEY_BASE64")
    )
