"""Knocks made by hand, and connections from a port of one's choice."""

import os
import re
import sys
from typing import Any

from spassh.protocol.keys import PSK, PUBLIC, SECRET, decode_key
from spassh.protocol.limits import DEFAULT_KNOCK_PORT, RANDOMNESS_SIZE
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import TCP, Request
from spassh_server.clock import now_ms

from .network import Host
from .packets import send
from .programs import Client

_CONNECT = """
import socket, struct, sys
host, port, source, seconds = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as sock:
    # A reset at the end: a port in TIME_WAIT could not be used again.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(seconds)
    sock.bind(("", source))
    try:
        sock.connect((host, port))
    except TimeoutError:
        sys.exit(1)
"""


def keys_of(client: Client) -> ClientKeys:
    """Read the keys out of the client's only profile, as the client does."""
    directory = os.path.join(client.directory, "spassh", "profiles")
    (name,) = os.listdir(directory)
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        text = file.read()
    found = dict(re.findall(r'^(\w+) = "(spassh-[^"]+)"', text, re.MULTILINE))
    return ClientKeys(
        decode_key(SECRET, found["secret"]),
        decode_key(PUBLIC, found["server"]),
        decode_key(PSK, found["psk"]),
    )


def sealed(client: Client, port: int = 22, **fields: Any) -> bytes:
    """Return a datagram of `client` that asks for the TCP `port` now."""
    request = Request(now_ms(), TCP, port)._replace(**fields)
    return seal(request, keys_of(client), os.urandom(RANDOMNESS_SIZE))


def knock(
    client: Client, to: str, port: int = 22, /, *, source: int = 0, **fields: Any
) -> bytes:
    """Send such a datagram to the host `to` from the UDP port `source`; return it."""
    datagram = sealed(client, port, **fields)
    send(client.host, to, datagram, DEFAULT_KNOCK_PORT, source)
    return datagram


def connects(
    host: Host, address: str, port: int, source: int, seconds: float = 1
) -> bool:
    """Tell whether a connection from the TCP port `source` gets through.

    A drop takes `seconds`; an answer that is none of the two is an error.
    """
    argv = [sys.executable, "-IS", "-c", _CONNECT, address]
    argv += [str(port), str(source), str(seconds)]
    done = host.run(argv, check=False)
    if done.returncode not in {0, 1} or done.stderr:
        raise AssertionError(done.stderr)
    return not done.returncode
