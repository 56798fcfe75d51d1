"""A service manager as the daemon sees it: a socket, and how often to be heard."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from .programs import Daemon, Spasshd

READY, STOPPING, ALIVE = b"READY=1", b"STOPPING=1", b"WATCHDOG=1"


@contextmanager
def managed(spasshd: Spasshd, watchdog: float = 0) -> Iterator[socket.socket]:
    """Run the daemon until it has to be heard; return where that can be heard.

    With `watchdog`, it has to say that it is alive within so many seconds.
    """
    path = os.path.join(spasshd.directory, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(30)
        variables = [f"NOTIFY_SOCKET={path}"]
        if watchdog:
            variables.append(f"WATCHDOG_USEC={int(watchdog * 1e6)}")
        argv = ["env", *variables, "spasshd", "run", "--config", spasshd.config]
        log = os.path.join(spasshd.directory, "log")
        spasshd.daemon = Daemon(spasshd.host, argv, log)
        try:
            yield sock
        finally:
            spasshd.running.stop()
            spasshd.verb("stop", "--open")
