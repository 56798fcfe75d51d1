"""Run as `knock_and_race.py SERVER PORT TRIES [COMMAND...]` on the client.

Knocks once from each of its addresses, and prints the milliseconds of each try, or
`inf` where two seconds were not enough. It knocks by the COMMAND, whose word SOURCE
stands for the address, or as spassh would.
"""

import math
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from spassh.protocol.keys import decode_key
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import TCP, Request

_EVERY = 0.0001
_READY = 50
_GIVE_UP = 2.0


def race(server: tuple[str, int], source: str, knock: Callable[[], float]) -> float:
    """Knock from `source`; return ms until the first SYN that is answered was sent.

    `knock` returns when the datagram left, or, of a program, when that had ended.
    """
    # Made before: a SYN takes no longer than it has to, nor the server's processor.
    ready = [_bound(source) for _ in range(_READY)]
    sent: dict[int, tuple[socket.socket, float]] = {}
    start = knock()
    try:
        while time.monotonic() - start < _GIVE_UP:
            sock = ready.pop() if ready else _bound(source)
            at = time.monotonic()
            sock.connect_ex(server)
            sent[sock.fileno()] = (sock, at)
            # Asleep meanwhile: a client that spins would take the server's processor.
            # The more SYNs there are, the fewer more: fwknopd takes its time.
            pause = max(_EVERY, (at - start) / 100)
            left = max(0.0, at + pause - time.monotonic())
            for fd in select.select([], list(sent), [], left)[1]:
                return (sent[fd][1] - start) * 1000
    finally:
        for sock in (*ready, *(sock for sock, _ in sent.values())):
            sock.close()
    return math.inf


def _bound(source: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.bind((source, 0))
    return sock


def spassh_keys() -> ClientKeys:
    """Read the keys of the one profile that there is."""
    profiles = os.path.join(os.environ["SPASSH_CONFIG_HOME"], "profiles")
    (name,) = os.listdir(profiles)
    with open(os.path.join(profiles, name), encoding="utf-8") as file:
        found = dict(
            re.findall(r'^(\w+) = "(spassh-[^"]+)"', file.read(), re.MULTILINE)
        )
    return ClientKeys(
        decode_key("spassh-secret-", found["secret"]),
        decode_key("spassh-public-", found["server"]),
        decode_key("spassh-psk-", found["psk"]),
    )


def knock_as_spassh(server: tuple[str, int], source: str, keys: ClientKeys) -> float:
    """Send a datagram from `source`; return the time just before, in seconds."""
    request = Request(time.time_ns() // 1_000_000, TCP, server[1])
    datagram = seal(request, keys, os.urandom(33))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        # Before: the server may have this processor at once.
        at = time.monotonic()
        sock.sendto(datagram, (server[0], 62201))
    return at


def main() -> None:
    """Race once from each address."""
    # Else the kernel lets each pause last 0.05 ms longer.
    with open("/proc/self/timerslack_ns", "w", encoding="ascii") as file:
        file.write("1")
    server, tries, command = (sys.argv[1], int(sys.argv[2])), sys.argv[3], sys.argv[4:]
    keys = None if command else spassh_keys()
    times = []
    for number in range(int(tries)):
        source = f"192.0.2.{100 + number}"

        def knock(source: str = source) -> float:
            if keys:
                return knock_as_spassh(server, source, keys)
            argv = [source if word == "SOURCE" else word for word in command]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
            return time.monotonic()

        times.append(race(server, source, knock))
    print(*times)


if __name__ == "__main__":
    main()
