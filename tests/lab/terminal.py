"""A program with a terminal, as mosh wants one."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .network import LabError
from .programs import Client

_ROWS, _COLUMNS = 24, 200


class Terminal:
    """What a program shows, and a keyboard."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self._fd = fd
        self.process = process
        self._shown = b""

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._fd, line.encode() + b"\r")

    def wait_for(self, words: str, seconds: float) -> None:
        """Wait until `words` were shown since the last time."""
        end = time.monotonic() + seconds
        while words.encode() not in self._shown:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._fd], [], [], left)[0]:
                raise LabError(f"waited {seconds} s for {words!r}: {self._shown!r}")
            try:
                self._shown += os.read(self._fd, 4096)
            except OSError as error:  # The program is gone.
                raise LabError(f"ended before {words!r}: {self._shown!r}") from error
        self._shown = self._shown.partition(words.encode())[2]


@contextmanager
def terminal(client: Client, *argv: str) -> Iterator[Terminal]:
    """Run a program at a terminal, and end it in any case."""
    ours, its = pty.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        process = client.host.popen(
            ["setsid", "--ctty", "--wait", *argv],
            env=client.environment | {"TERM": "xterm"},
            stdin=its,
            stdout=its,
            stderr=its,
        )
    finally:
        os.close(its)
    try:
        yield Terminal(ours, process)
    finally:
        os.close(ours)  # A hang-up, for whatever still sits at it.
        process.wait(60)
