"""The fastest sender there is, from one host of the network to another: trafgen."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from struct import pack

from lab.network import SERVER4, STRANGER4, Host, Network, wait_for

_SECONDS = 120
"""After so long it ends by itself, whatever becomes of us."""


class Flood:
    """What is on its way now."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._since = time.monotonic()
        self._before = self._sent()

    def _sent(self) -> int:
        (link,) = json.loads(
            self._host.run(["ip", "-s", "-j", "link", "show", "eth0"]).stdout
        )
        return int(link["stats64"]["tx"]["packets"])

    def rate(self) -> float:
        """Return the packets of a second, on average until now."""
        return (self._sent() - self._before) / (time.monotonic() - self._since)


@contextmanager
def flood(
    network: Network, path: str, port: int, payloads: Sequence[bytes]
) -> Iterator[Flood]:
    """Send `payloads` in turn to UDP `port` of the server, as fast as one core can.

    Args:
        network: where; it is the stranger who sends.
        path: a file for trafgen to read.
        port: the port of the server.
        payloads: 1 to 65535 of them.
    """
    server, stranger = _mac(network.server), _mac(network.stranger)
    with open(path, "w", encoding="ascii") as file:
        for number, payload in enumerate(payloads):
            frame = server + stranger + b"\x08\x00"
            frame += _ipv4(_udp(payload, 1024 + number, port))
            file.write("{" + ", ".join(f"0x{byte:02x}" for byte in frame) + "}\n")
    argv = ["trafgen", "--dev", "eth0", "--conf", path, "--cpus", "1", "--no-cpu-stats"]
    sender = network.stranger.popen(
        ["timeout", "--signal=INT", str(_SECONDS), *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        one = Flood(network.stranger)
        wait_for(lambda: one.rate() > 1000 or sender.poll() is not None, "a flood")
        assert sender.poll() is None, "trafgen has ended"
        yield Flood(network.stranger)
        assert sender.poll() is None, "trafgen has ended before the time"
    finally:
        sender.terminate()
        sender.wait()
        os.unlink(path)


def _mac(host: Host) -> bytes:
    text = host.run(["cat", "/sys/class/net/eth0/address"]).stdout
    return bytes.fromhex(text.strip().replace(":", ""))


def _ipv4(inside: bytes) -> bytes:
    addresses = b"".join(
        bytes(map(int, address.split("."))) for address in (STRANGER4, SERVER4)
    )
    head = pack("!BxHIBBxx8s", 0x45, 20 + len(inside), 0, 64, 17, addresses)
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + inside


def _udp(payload: bytes, source: int, port: int) -> bytes:
    # Without a checksum, which IPv4 allows.
    return pack("!HHHxx", source, port, 8 + len(payload)) + payload
