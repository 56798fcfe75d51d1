"""One real login through a closed firewall, and when each packet of it was seen."""

import json
import os
import re
from datetime import datetime
from statistics import median_low
from typing import NamedTuple

from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, LabError, Network, run
from lab.programs import Client, Spasshd, Sshd, recording

_HOST = "v4.server.test"
_LOGINS = 7


class Login(NamedTuple):
    """What was seen at the server, in milliseconds since the knock arrived there."""

    size: int
    """Bytes of the knock."""
    granted: float
    """The granter has answered. At most: the log has whole milliseconds, and is written
    afterwards."""
    syn: float
    """The SYN that was answered."""
    accepted: float
    """Its answer."""
    banner: float
    """The first words of sshd."""
    grant: str
    """What was opened, as `spasshd status` says it."""
    lifetime: int
    """Seconds after which the kernel ends that."""


def record_login(bin_dir: str, directory: str) -> Login:
    """Log in some times in namespaces, and return the login in the middle.

    Raises:
        LabError: something went another way than the picture says.
    """
    network = Network(bin_dir)
    try:
        return _record(network, directory)
    finally:
        network.close()


def _record(network: Network, directory: str) -> Login:
    sshd = Sshd(network.server, os.path.join(directory, "sshd"))
    client = Client(network.client, os.path.join(directory, "home"), sshd.user_key)
    spasshd = Spasshd(
        network.server, os.path.join(directory, "spassh"), "--protect", "tcp/22"
    )
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write('log = "json"\n')
    spasshd.start('"event": "ready"')
    client.accept(spasshd.invite("alice"), "--host", _HOST)
    logins = []
    for number in range(_LOGINS):
        pcap = os.path.join(directory, f"{number}.pcap")
        with recording(network.server, pcap, f"host {CLIENT4} and not icmp"):
            client.ssh(_HOST, "true")
        logins.append(_read(pcap, spasshd))
        spasshd.flush()
        if port_answers(network.stranger, SERVER4, 22):
            raise LabError("a stranger got an answer")
    middle = median_low(login.banner for login in logins)
    return next(login for login in logins if login.banner == middle)


def _read(pcap: str, spasshd: Spasshd) -> Login:
    text = run(["tcpdump", "-r", pcap, "-n", "-tt", "-q"]).stdout
    knock = _first(r"In .*\.62201: UDP, length (?P<size>\d+)$", text)
    accepted = _first(r"Out .*\.22 > \S+\.(?P<port>\d+): tcp 0$", text)
    port = accepted["port"]
    banner = _first(rf"Out .*\.22 > \S+\.{port}: tcp [1-9]\d*$", text)
    # An unanswered SYN is followed by a fresh socket, and so by another port.
    syn = _first(rf"In .*\.{port} > \S+\.22: tcp 0$", text)
    log = [json.loads(line) for line in spasshd.running.log.splitlines()]
    event = [one for one in log if one["event"] == "granted"][-1]
    stamp = datetime.fromisoformat(event["time"]).timestamp()
    grant = spasshd.status()["grants"][-1]

    def since(moment: float) -> float:
        return (moment - float(knock["time"])) * 1000

    return Login(
        int(knock["size"]),
        # A SYN that was answered tells that as well.
        min(since(stamp) + 1, since(float(syn["time"]))),
        since(float(syn["time"])),
        since(float(accepted["time"])),
        since(float(banner["time"])),
        f"{grant['port']} for {grant['address']} from port {grant['source_port']}",
        int(event["seconds"]),
    )


def _first(pattern: str, text: str) -> re.Match[str]:
    """Return the first line that fits, with the time of its packet as `time`."""
    found = re.search(rf"^(?P<time>\d+\.\d+) .*{pattern}", text, re.MULTILINE)
    if found is None:
        raise LabError(f"no packet fits {pattern!r}:\n{text}")
    return found
