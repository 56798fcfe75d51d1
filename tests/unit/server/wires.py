"""Interfaces in a network namespace of one's own, and frames that come in there."""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from struct import pack, unpack

from unit.server.frames import (  # noqa: F401 - for the code that is run inside
    PORT,
    ethernet,
    get,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)

from spassh.protocol.packet import Gate
from spassh_server.capture import Capture, open_captures
from spassh_server.datagram import parse
from spassh_server.transports import parse_transport

ROOT = Path(__file__).parents[3]

GATE = Gate(bytes(range(32)))

SIZE = 192
"""Bytes of a payload that the filter lets through."""


def run_inside(code: str, *, network: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `code`, which has the names of this module, as root of a new namespace."""
    # Root needs no user namespace for it, which some hosts do not allow.
    options = "-rn" if os.geteuid() else "-n"
    argv = ["unshare", options if network else "-r", sys.executable, "-c"]
    paths = (ROOT, ROOT / "server", ROOT / "tests")
    return subprocess.run(
        [*argv, f"from unit.server.wires import *\n{code}"],
        env=os.environ | {"PYTHONPATH": ":".join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def ip(command: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *command.split()], check=True)


def add(name: str) -> None:
    """Make the interface `name`, with the other end of its wire in `x-NAME`."""
    ip(f"link add {name} type veth peer name x-{name}")
    up(name, f"x-{name}")


def up(name: str, far: str) -> None:
    """Set the interface `name` up, and then the other end of its wire.

    An end that is up already learns of it late, and until then drops what it sends.
    """
    ip(f"link set {far} down")
    ip(f"link set {name} up")
    ip(f"link set {far} up")


def put(name: str, mark: int, *, tag: bytes = b"", **udp_fields: int) -> None:
    """Have a datagram full of `mark` come in through the interface `name`."""
    payload = bytes([mark]) * SIZE
    segment = udp(payload, **udp_fields)
    for packet in (checked(ipv4(segment)), ipv6(segment)):
        frame = ethernet(packet)
        send(f"x-{name}", b"\xff" * 6 + frame[6:12] + tag + frame[12:])


def checked(packet: bytes) -> bytes:
    """Put the right checksum into the IPv4 header of 20 bytes: bridges look at it."""
    total = sum(unpack("!10H", packet[:20]))
    return packet[:10] + pack("!H", 0xFFFF - total % 0xFFFF) + packet[12:]


def send(name: str, frame: bytes, times: int = 1) -> None:
    """Send `frame` out through the interface `name`."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((name, 0))
        for _ in range(times):
            sock.send(frame)


def vlan(number: int) -> bytes:
    """Return the tag of a VLAN."""
    return pack("!HH", 0x8100, number)


def listen(
    *names: str, fwknop: bool = False, tag_key: bytes = b"", transports: str = ""
) -> Capture:
    """Open the one capture for the interfaces `names`."""
    (capture,) = open_captures(
        names,
        PORT,
        fwknop=fwknop,
        tag_key=tag_key,
        transports=[*map(parse_transport, transports.split())],
    )
    return capture


def tagged(mark: int) -> bytes:
    """Return a payload with the right tag of `GATE`, and its end full of `mark`."""
    body = os.urandom(8) + bytes([mark]) * (SIZE - 12)
    return GATE.tag(body) + body


def wrong(payload: bytes, bit: int) -> bytes:
    """Return `payload` with one bit of its first 12 bytes changed."""
    at = bit % 96
    changed = bytes([payload[at // 8] ^ 1 << at % 8])
    return payload[: at // 8] + changed + payload[at // 8 + 1 :]


def last_bytes(capture: Capture) -> list[int]:
    """Return the last byte of each frame that is there, without waiting."""
    marks: list[int] = []
    while some := [frame[-1] for frame in capture.frames()]:
        marks += some
    return marks


def hear(capture: Capture, last: int) -> Sequence[int]:
    """Return the marks of what came, IPv4 and IPv6, up to those of `last`."""
    marks: list[int] = []
    families = {4: 0, 16: 0}
    while not all(families.values()):
        if not select.select([capture], [], [], 20)[0]:
            sys.exit(f"waited for {last} in vain, heard {marks}")
        for frame in capture.frames():
            datagram = parse(frame, capture.link, PORT)
            marks.append(datagram.payload[0])
            families[len(datagram.source)] += datagram.payload[0] == last
    return marks
