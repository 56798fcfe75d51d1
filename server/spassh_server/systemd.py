"""Tell systemd how we are: sd_notify(3), the part that we need of it."""

import os

from .localsocket import LocalSocket

_DIRECTORY = "/run/systemd/system"


def is_service_manager() -> bool:
    """Tell whether systemd is the service manager: sd_booted(3)."""
    return os.path.isdir(_DIRECTORY)


class Notifier:
    """A line to the service manager, if there is one.

    It is connected while we are root, because the socket may be closed to others.
    """

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._socket = LocalSocket(path) if path.startswith(("/", "@")) else None
        self.watchdog_seconds = _watchdog_seconds()
        """How often to send "WATCHDOG=1", or None if nobody waits for it."""

    def send(self, state: str) -> None:
        """Send `state`, such as "READY=1"; several assignments have a line each.

        A service manager that does not listen is no reason not to guard the port.
        """
        if self._socket is not None:
            self._socket.send(state.encode())

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _watchdog_seconds() -> float | None:
    """Return half of the time after which systemd would end us: sd_watchdog_enabled(3).

    Half, so that one delay does not end a program that works.
    """
    usec = os.environ.get("WATCHDOG_USEC", "")
    # The variables are inherited, so they may be meant for another program.
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if pid != str(os.getpid()) or not (usec.isascii() and usec.isdecimal()):
        return None
    return int(usec[:15]) / 2e6 or None
