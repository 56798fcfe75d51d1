"""From the start of `spassh proxy` to its first packet, beside a bare interpreter."""

import os
import signal
import socket
import subprocess
import tempfile
import time

from figures import Figures

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.invite import Invite, encode_invite

_TARGETS = {"pypi": "median under 40 ms", "debian": "median under 60 ms"}


def measure(bin_dirs: dict[str, str], runs: int) -> list[Figures]:
    """Start each stack's client and a bare interpreter in turn."""
    figures = []
    for stack, bin_dir in bin_dirs.items():
        knocks, bare = [], []
        with (
            tempfile.TemporaryDirectory(prefix="spassh-bench-") as home,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
            environment = _enroll(bin_dir, home, sock.getsockname()[1])
            for _ in range(runs):
                knocks.append(_first_packet(bin_dir, environment, sock))
                bare.append(_bare(bin_dir))
        name = f"spassh proxy: start to first packet, {stack}"
        figures.append(
            Figures(name, knocks[1:], bare[1:], _TARGETS[stack], beside="python")
        )
    return figures


def _enroll(bin_dir: str, home: str, port: int) -> dict[str, str]:
    secret = os.urandom(32)
    keys = [PrivateKey(one).public for one in (os.urandom(32), secret)]
    invite = Invite(
        "bench", "127.0.0.1", port, keys[0], os.urandom(32), keys[1], secret
    )
    environment = {"SPASSH_CONFIG_HOME": home, "HOME": home, "PATH": bin_dir}
    subprocess.run(
        [f"{bin_dir}/spassh", "import"],
        input=encode_invite(invite).encode(),
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return environment


def _first_packet(
    bin_dir: str, environment: dict[str, str], sock: socket.socket
) -> float:
    before = time.monotonic()
    process = subprocess.Popen(
        [f"{bin_dir}/spassh", "proxy", "127.0.0.1", "9"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sock.recv(2048)
    took = (time.monotonic() - before) * 1000
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sock.setblocking(False)
    try:
        while sock.recv(2048):
            pass  # knocks that were sent before the signal
    except BlockingIOError:
        sock.settimeout(10)
    return took


def _bare(bin_dir: str) -> float:
    before = time.monotonic()
    subprocess.run([f"{bin_dir}/python", "-c", "pass"], check=True)
    return (time.monotonic() - before) * 1000
