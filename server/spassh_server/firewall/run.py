"""The one place that starts programs.

A program is found in fixed directories, or where the configuration says that it is. It
gets an argument list and never a shell, knows nothing of our environment, and has
bounds on its time and on what it may print.
"""

import os
import selectors
import subprocess  # noqa: TID251 - this is the one place that starts programs
import time
from functools import partial
from typing import IO, Final

from . import FirewallError

DIRECTORIES: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for. PATH comes from outside, so it has no say."""

TIMEOUT_SECONDS: Final = 10.0
"""iptables waits 5 s for its lock, so what takes this long is stuck."""

OUTPUT_BYTES: Final = 16 << 20
"""What a program may print to either stream: a full set of ipset is 9 MB."""

# A pipe that is writable takes this many bytes without blocking (POSIX).
_CHUNK = 512


class ProgramError(FirewallError):
    """A program ran and ended with an exit status that is not zero."""

    def __init__(self, program: str, status: int, complaint: str) -> None:
        """`complaint` is the first line of the program's stderr."""
        super().__init__(f"{program}: exit status {status}: {complaint}")
        self.status = status


def find(program: str) -> str | None:
    """Return the absolute path of `program`, or None if it is not installed.

    One that is named by its absolute path is looked for nowhere else.
    """
    if program.startswith("/"):
        return program if os.access(program, os.X_OK) else None
    for directory in DIRECTORIES:
        path = f"{directory}/{program}"
        if os.access(path, os.X_OK):
            return path
    return None


def run(program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run `program` to its end and return what it wrote to its standard output.

    Raises:
        ProgramError: its exit status is not zero.
        FirewallError: it is not installed, cannot be started or talked to, takes too
            long or prints too much.
    """
    path = find(program)
    if path is None:
        where = "" if program.startswith("/") else f" in {', '.join(DIRECTORIES)}"
        raise FirewallError(f"{program} not found{where}")
    try:
        child = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"LC_ALL": "C", "PATH": ":".join(DIRECTORIES)},
        )
    except OSError as error:
        raise FirewallError(f"{path}: {error.strerror}") from error
    try:
        with child:
            try:
                output, errors = _converse(child, program, stdin)
            except BaseException:
                child.kill()
                raise
    except OSError as error:
        # Too many files are open, or the like. Whether it did its work is not known.
        raise FirewallError(f"{path}: {error.strerror}") from error
    if child.returncode:
        raise ProgramError(program, child.returncode, _complaint(errors))
    return output


def _converse(
    child: subprocess.Popen[bytes], program: str, stdin: bytes
) -> tuple[bytes, bytes]:
    """Feed `stdin` to `child`, collect both its streams and wait for its end."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for stream, collected in ((child.stdout, output), (child.stderr, errors)):
            if stream is not None:
                step = partial(_collect, stream, collected, program)
                selector.register(stream, selectors.EVENT_READ, step)
        if child.stdin is not None:
            step = partial(_feed, child.stdin, bytearray(stdin))
            selector.register(child.stdin, selectors.EVENT_WRITE, step)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _stuck(program)
            for key, _ in ready:
                is_done = key.data()
                if is_done:
                    selector.unregister(key.fileobj)
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise _stuck(program) from error
    return bytes(output), bytes(errors)


def _collect(stream: IO[bytes], collected: bytearray, program: str) -> bool:
    """Append to `collected` what can be read; return whether that was the end."""
    data = os.read(stream.fileno(), 1 << 16)
    collected += data
    if len(collected) > OUTPUT_BYTES:
        raise FirewallError(f"{program}: printed more than {OUTPUT_BYTES} bytes")
    return not data


def _feed(stream: IO[bytes], data: bytearray) -> bool:
    """Write what fits, and close the stream after the last; return whether it was."""
    try:
        del data[: os.write(stream.fileno(), data[:_CHUNK])]
    except BrokenPipeError:
        data.clear()  # its exit status tells why it stopped reading
    if not data:
        stream.close()
    return not data


def _stuck(program: str) -> FirewallError:
    return FirewallError(f"{program}: not done after {TIMEOUT_SECONDS:g} seconds")


def _complaint(errors: bytes) -> str:
    """Return the first line of stderr that is not a mere warning of iptables."""
    for line in errors.decode(errors="replace").splitlines():
        if line.strip() and not line.startswith("#"):
            return line.strip()
    return "it said nothing"
