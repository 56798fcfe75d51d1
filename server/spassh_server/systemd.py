"""Tell systemd that we are ready: sd_notify(3), the part that we need of it."""

import contextlib
import os
import socket


class Notifier:
    """A line to the service manager, if there is one.

    It is connected while we are root, because the socket may be closed to others.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        path = os.environ.get("NOTIFY_SOCKET", "")
        if not path.startswith(("/", "@")):
            return
        address = "\0" + path[1:] if path[0] == "@" else path
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(address)
        except OSError:
            # A service manager that does not listen is no reason not to guard the port.
            sock.close()
        else:
            self._socket = sock

    def send(self, state: str) -> None:
        """Send `state`, such as "READY=1"."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(state.encode())

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
