"""Two processes that send SYNs of the client, each on a processor of its own.

A veth hands a packet over on the processor that sent it. So the packet filter of the
server judges two packets at the same time, which no single thread can make it do.
"""

import mmap
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import NamedTemporaryFile

import pytest
from firewall.backends import python
from firewall.network import CLIENT, FAMILIES, SERVER, Network
from firewall.packets import wrappings

_FIRST_SOURCE_PORT = 20_000


@contextmanager
def racers(network: Network, call: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Have two processes do `call` of this module, once they are told to.

    It is text with the number of the process as {me} and a file of both as {path}.
    """
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors")
    with ExitStack() as stack:
        file = stack.enter_context(NamedTemporaryFile())
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        processes = []
        for me in (0, 1):
            script = f"from firewall import racers\nracers.{call}"
            with network.client():
                process = python(script.format(me=me, path=repr(file.name)))
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield processes


def send_pairs(me: int, path: str, version: int, ports: range) -> None:
    """Send a SYN to each of `ports` at the same instant as the other process."""
    packets = [_syn(version, _FIRST_SOURCE_PORT + me, port) for port in ports]
    with open(path, "r+b") as file:
        at = memoryview(mmap.mmap(file.fileno(), mmap.PAGESIZE)).cast("Q")
    other = 1 - me
    with _begin(me, version) as sock:
        for number, packet in enumerate(packets, 1):
            at[me] = number
            while at[other] < number:
                pass
            sock.sendto(packet, (SERVER[version], 0))


def flood(me: int, version: int) -> None:
    """Send SYNs to port 22 from ever other source ports, and never stop."""
    ports = range(_FIRST_SOURCE_PORT + me, 60_000, 2)
    packets = [_syn(version, port, 22) for port in ports]
    with _begin(me, version) as sock:
        while True:
            for packet in packets:
                sock.sendto(packet, (SERVER[version], 0))


def _syn(version: int, source_port: int, port: int) -> bytes:
    (packet,) = wrappings(version, CLIENT[version], source_port, port)["plain"]
    return packet


def _begin(me: int, version: int) -> socket.socket:
    """Wait until all is ready, on a processor of our own; return where to send."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[me]})
    sock = socket.socket(FAMILIES[version], socket.SOCK_RAW, socket.IPPROTO_RAW)
    print("ready", flush=True)  # noqa: T201 - the test reads it
    input()
    return sock
