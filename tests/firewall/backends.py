"""The back ends under test, and short words for what the tests do with them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spassh_server.firewall import Firewall, Grant, Settings, Width, run
from spassh_server.firewall.iptables import Iptables
from spassh_server.firewall.libnftables import LibNftables
from spassh_server.firewall.nft_program import NftProgram
from spassh_server.firewall.nftables import Nftables
from spassh_server.ports import Port

SSH = Port(6, 22)
DNS = Port(17, 53)
KNOCK_PORT = 62201
MARK = 0x2000_0000

SETTINGS = Settings(
    "spassh-t", (SSH, DNS), KNOCK_PORT, MARK, grant_ports=(SSH, DNS, Port(17, 22))
)

VARIANTS = {
    "iptables-nft with ipset": ("-nft", True),
    "iptables-nft": ("-nft", False),
    "iptables-legacy with ipset": ("-legacy", True),
    "iptables-legacy": ("-legacy", False),
}
KINDS = ("nftables", "nftables by program", *VARIANTS)
# Without ipset, there is nothing that a packet could use up.
ONCE_KINDS = tuple(kind for kind in KINDS if "nftables" in kind or "ipset" in kind)


def make(kind: str, settings: Settings = SETTINGS) -> Firewall:
    """Return a new back end of that kind: what a new process would have."""
    if kind == "nftables":
        return Nftables(settings, LibNftables())
    if kind == "nftables by program":
        return Nftables(settings, NftProgram())
    variant, ipset = VARIANTS[kind]
    return Iptables(settings._replace(ipset=ipset), time.time, variant)


def to(
    address: str, port: Port = SSH, width: Width = Width.ADDRESS, source_port: int = 0
) -> Grant:
    """Return the grant of `port` to `address`."""
    return Grant(packed(address), port, width, source_port)


def packed(address: str) -> bytes:
    """Return the bytes of `address`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def left(firewall: Firewall) -> dict[Grant, int]:
    """Return the seconds that each live grant has left."""
    return {active.grant: active.seconds_left for active in firewall.grants()}


def python(script: str) -> subprocess.Popen[str]:
    """Start another process in the server's namespace."""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )


@contextmanager
def repeated(step: str) -> Iterator[None]:
    """Do `step` in another process again and again until the end of the block.

    It may use `number`, which counts from 0, and is done eight times at least.
    """
    script = f"""
import select, sys
from firewall import test_forwards, test_widths
from firewall.backends import make
print("ready", flush=True)
number = 0
while number < 8 or not select.select([sys.stdin], [], [], 0)[0]:
    {step}
    number += 1
"""
    with python(script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.stdin.close()
        assert process.wait(60) == 0


def only(
    programs: list[str], directory: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have no program installed but these."""
    for program in programs:
        path = run.find(program)
        assert path is not None
        os.symlink(path, os.path.join(directory, program))
    monkeypatch.setattr(run, "DIRECTORIES", (os.fspath(directory),))
