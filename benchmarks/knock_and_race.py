"""Run as `knock_and_race.py SERVER RUNS` on the client: prints ms for each run."""

import os
import re
import select
import socket
import sys
import time

from spassh.protocol.keys import decode_key
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import TCP, Request

_EVERY = 0.0003
_GIVE_UP = 2.0


def race(server: str, source: str, keys: ClientKeys) -> float:
    """Knock from `source`; return ms until the first SYN that is answered was sent."""
    request = Request(time.time_ns() // 1_000_000, TCP, 22)
    datagram = seal(request, keys, os.urandom(33))
    sent: dict[int, tuple[socket.socket, float]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
        knock.bind((source, 0))
        knock.sendto(datagram, (server, 62201))
    start = time.monotonic()
    try:
        while time.monotonic() - start < _GIVE_UP:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind((source, 0))
            at = time.monotonic()
            sock.connect_ex((server, 22))
            sent[sock.fileno()] = (sock, at)
            # Asleep meanwhile: a client that spins would take the server's processor.
            left = max(0.0, at + _EVERY - time.monotonic())
            for fd in select.select([], list(sent), [], left)[1]:
                return (sent[fd][1] - start) * 1000
    finally:
        for sock, _ in sent.values():
            sock.close()
    raise SystemExit("no SYN was answered")


def main() -> None:
    """Race once from each address."""
    server, runs = sys.argv[1], int(sys.argv[2])
    profiles = os.path.join(os.environ["SPASSH_CONFIG_HOME"], "profiles")
    (name,) = os.listdir(profiles)
    with open(os.path.join(profiles, name), encoding="utf-8") as file:
        found = dict(
            re.findall(r'^(\w+) = "(spassh-[^"]+)"', file.read(), re.MULTILINE)
        )
    keys = ClientKeys(
        decode_key("spassh-secret-", found["secret"]),
        decode_key("spassh-public-", found["server"]),
        decode_key("spassh-psk-", found["psk"]),
    )
    print(*(race(server, f"192.0.2.{100 + run}", keys) for run in range(runs)))


if __name__ == "__main__":
    main()
