"""Recorded packets: take a datagram out of a recording, and send bytes again."""

import sys

from scapy.utils import RawPcapReader

from spassh.protocol.errors import NotOurs
from spassh.protocol.limits import DEFAULT_KNOCK_PORT
from spassh_server.datagram import Datagram, parse

from .network import Host

_SEND = """
import socket, sys
host, port, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.bind(("", source))
    sock.sendto(bytes.fromhex(sys.stdin.read()), (host, port))
"""


def datagrams(path: str, port: int = DEFAULT_KNOCK_PORT) -> list[Datagram]:
    """Return the datagrams for `port` in a recording, each once."""
    found: dict[Datagram, None] = {}
    with RawPcapReader(path) as reader:
        for frame, _ in reader:
            try:
                datagram = parse(frame, reader.linktype, port)
            except NotOurs:
                continue
            found[datagram] = None
    return list(found)


def send(
    host: Host,
    address: str,
    payload: bytes,
    port: int = DEFAULT_KNOCK_PORT,
    source: int = 0,
) -> None:
    """Send `payload` as one UDP datagram from `host`, from the port `source` or any."""
    argv = [sys.executable, "-c", _SEND, address, str(port), str(source)]
    host.run(argv, text=payload.hex())
