"""A login that stays, and tells whether it lives."""

import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .network import LabError
from .programs import Client

_SILENCE_SECONDS = 0.5


class Session:
    """`ssh HOST cat`: whatever goes in comes back, as long as the session lives."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def lives(self) -> bool:
        """Tell whether a line comes back."""
        if self.process.stdin is None or self.process.stdout is None:
            raise LabError("a session without pipes")
        try:
            self.process.stdin.write(b"ping\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return self.process.stdout.readline() == b"ping\n"

    def is_cut(self) -> bool:
        """Tell whether nothing comes back, within a time that is long for a veth."""
        if self.process.stdin is None or self.process.stdout is None:
            raise LabError("a session without pipes")
        self.process.stdin.write(b"ping\n")
        self.process.stdin.flush()
        return not select.select([self.process.stdout], [], [], _SILENCE_SECONDS)[0]

    def wait_ended(self) -> int:
        """Wait until ssh has noticed the end by itself; return its exit status."""
        return self.process.wait(60)


@contextmanager
def session(client: Client, *words: str) -> Iterator[Session]:
    """Log in by `ssh WORDS cat`, and end it in any case."""
    argv = ["ssh", *client.ssh_options, *words, "cat"]
    process = client.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    made = Session(process)
    try:
        if not made.lives():
            raise LabError(f"no login: {' '.join(words)}")
        yield made
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
