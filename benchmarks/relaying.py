"""A GB through the relay and through nc in turn, in each direction, without ssh.

The ends do as little with the bytes as they can, so that it is the relay that is
measured: what it takes to start and to connect is not.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import NamedTuple

from figures import Figures

_GB = 10**9
_BLOCK = 1 << 20
_PATIENCE = 120
_WALL = "ratio at most 1.00; median under 333 ms"
_CPU = "ratio at most 1.00; median under 150 ms"


class Spent(NamedTuple):
    """What a GB took, in milliseconds."""

    wall: float
    cpu: float


class Relay(NamedTuple):
    """A program between a server's socket and two pipes."""

    process: subprocess.Popen[bytes]
    server: socket.socket
    stdin: int
    stdout: int

    def cpu_seconds(self) -> float:
        """Read the clock of the other process, as clock_getcpuclockid(3) names it."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def down(self) -> None:
        """Send from the server, and throw away what comes out."""
        sender = Thread(target=self._send, daemon=True)
        sender.start()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        left = _GB
        while left:
            left -= os.splice(self.stdout, nowhere, left)
        os.close(nowhere)
        sender.join()

    def _send(self) -> None:
        block = memoryview(bytes(_BLOCK))
        left = _GB
        while left:
            left -= self.server.send(block[:left])

    def up(self) -> None:
        """Write to the relay, and throw away what the server gets."""
        writer = Thread(target=self._write, daemon=True)
        writer.start()
        buffer = bytearray(_BLOCK)
        left = _GB
        while left:
            left -= self.server.recv_into(buffer, flags=socket.MSG_TRUNC)
        writer.join()

    def _write(self) -> None:
        # To copy the bytes into the pipe would take longer than the relay does.
        memory = os.memfd_create("block")
        os.truncate(memory, _BLOCK)
        left = _GB
        while left:
            left -= os.splice(memory, self.stdin, min(left, _BLOCK), offset_src=0)
        os.close(memory)


@contextmanager
def running(*argv: str) -> Iterator[Relay]:
    """Start a relay to a server, and wait until bytes go through it both ways."""
    with (
        tempfile.TemporaryDirectory(prefix="spassh-bench-") as home,
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen(
            [*argv, "127.0.0.1", str(listener.getsockname()[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"SPASSH_CONFIG_HOME": home},
        ) as process,
    ):
        listener.settimeout(_PATIENCE)
        server = listener.accept()[0]
        server.settimeout(None)
        assert process.stdin
        assert process.stdout
        relay = Relay(process, server, process.stdin.fileno(), process.stdout.fileno())
        with server:
            server.sendall(b"?")
            assert os.read(relay.stdout, 9) == b"?"
            os.write(relay.stdin, b"!")
            assert server.recv(9) == b"!"
            yield relay
        process.stdin.close()
        process.wait(_PATIENCE)


def measure(bin_dir: str, runs: int) -> list[Figures]:
    """Move a GB by each program in turn, so that a slow moment meets both."""
    figures = []
    for way, words in (("down", "from the server"), ("up", "to the server")):
        ours, nc = [], []
        for _ in range(runs):
            ours.append(_spent(way, f"{bin_dir}/spassh", "proxy"))
            nc.append(_spent(way, "nc"))
        figures += [
            Figures(
                f"relay / nc: a GB {words}",
                [one.wall for one in ours],
                [one.wall for one in nc],
                _WALL,
                beside="nc",
            ),
            Figures(
                f"relay / nc: CPU of a GB {words}",
                [one.cpu for one in ours],
                [one.cpu for one in nc],
                _CPU,
                beside="nc",
            ),
        ]
    return figures


def _spent(way: str, *argv: str) -> Spent:
    with running(*argv) as relay:
        cpu, wall = relay.cpu_seconds(), time.monotonic()
        if way == "down":
            relay.down()
        else:
            relay.up()
        return Spent(
            1000 * (time.monotonic() - wall), 1000 * (relay.cpu_seconds() - cpu)
        )
