"""A tunnel that autossh keeps up, and the echo service at its far end."""

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .inside import inside
from .network import Host, wait_for
from .programs import Client

ECHO_PORT, NEAR_PORT = 7007, 7070

_LOCALHOST = "127.0.0.1"


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def echo_service(host: Host) -> Iterator[None]:
    """Have a service at the loopback interface of `host`: nobody else reaches it."""
    server = inside(host, lambda: _Server((_LOCALHOST, ECHO_PORT), _Echo))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Tunnel:
    """Leads from a port of the client to the echo service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def echo(self, data: bytes, seconds: float) -> bytes:
        """Return what comes back, once the tunnel is up."""

        def there_and_back() -> bytes:
            try:
                with self._connect(seconds) as sock:
                    return _exchange(sock, data)
            except OSError:
                return b""

        return wait_for(there_and_back, "the tunnel", seconds, interval=0.1)

    def _connect(self, seconds: float) -> socket.socket:
        near = (_LOCALHOST, NEAR_PORT)
        return inside(
            self._client.host, lambda: socket.create_connection(near, seconds)
        )


def _exchange(sock: socket.socket, data: bytes) -> bytes:
    sender = threading.Thread(target=_send, args=(sock, data))
    sender.start()
    try:
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))
    finally:
        sender.join()


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # Whoever reads sees it, too.


@contextmanager
def tunnel(client: Client, config: str, host: str) -> Iterator[Tunnel]:
    """Have autossh keep a tunnel up, with ssh's own look after it."""
    leads = f"{NEAR_PORT}:{_LOCALHOST}:{ECHO_PORT}"
    log = os.path.join(client.directory, "autossh.log")
    argv = ["autossh", "-M", "0", "-N", "-F", config]
    options = ["-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
    with open(log, "ab") as file:
        process = client.host.popen(
            [*argv, *options, "-L", leads, host],
            env=client.environment | {"AUTOSSH_GATETIME": "0"},
            stdout=file,
            stderr=file,
        )
    try:
        yield Tunnel(client)
    finally:
        process.terminate()
        process.wait(60)
