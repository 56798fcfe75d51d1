"""Datagrams to a program of this host that may be slow, start anew or not be there."""

import socket


class LocalSocket:
    """One end of a datagram socket in the file system. Nothing here waits or raises."""

    def __init__(self, path: str) -> None:
        """Connect to `path`, or to an abstract name if it begins with "@"."""
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket: socket.socket | None = None
        self._connect()

    def send(self, data: bytes) -> bool:
        """Send one datagram; return False if nobody takes it now."""
        return self._try(data) or (self._connect() and self._try(data))

    def close(self) -> None:
        """Hang up. It may be closed again without harm."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _try(self, data: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.send(data)
        except BlockingIOError:
            return False
        except OSError:
            # Too large, or whoever listened has gone: another may listen there now.
            self.close()
            return False
        return True

    def _connect(self) -> bool:
        if self._socket is not None:
            return False
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            sock = socket.socket(socket.AF_UNIX, kind)
        except OSError:
            return False
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            return False
        self._socket = sock
        return True
