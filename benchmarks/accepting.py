"""A server that takes each connection, and ends it at once: no sshd is in the way."""

import os
import subprocess
import sys

from lab.network import Host

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "accept.py")


def accept(host: Host, *ports: int) -> None:
    """Start one for each port, and wait until it listens."""
    for port in ports:
        argv = [sys.executable, _PROGRAM, str(port)]
        program = host.popen(argv, stdout=subprocess.PIPE)
        assert program.stdout
        assert program.stdout.readline() == b"ready\n"
