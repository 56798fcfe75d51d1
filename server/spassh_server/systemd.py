"""Tell systemd that we are ready: sd_notify(3), the part that we need of it."""

import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as "READY=1", if a service manager listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path[0] == "@" else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            # The service manager is gone; that is no reason to stop guarding the port.
            return
