"""The relay of Windows, on a Python from which all is taken that Windows lacks."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from unit.client.relays import FINE, PATIENCE, WAYS, Running, pipes, receive_all
from unit.client.windows import WINDOWS

ROOT = Path(__file__).parents[3]

RELAY = """
from spassh import handover
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
assert not handover.can_pass()
handover.relay(sock)
"""


@contextmanager
def on_windows() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Run a relay there between pipes and a server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-c", WINDOWS + RELAY, port],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                listener.settimeout(PATIENCE)
                server = listener.accept()[0]
                server.settimeout(PATIENCE)
                with server:
                    yield process, server
            finally:
                process.kill()


def test_it_relays_with_what_there_is_on_windows() -> None:
    with on_windows() as (process, server):
        server.sendall(b"SSH-2.0-server\n")
        assert process.stdout is not None
        assert process.stdout.read(15) == b"SSH-2.0-server\n"
        assert process.stdin is not None
        process.stdin.write(b"SSH-2.0-client\n")
        process.stdin.close()
        process.stdin = None
        assert receive_all(server) == b"SSH-2.0-client\n"
        server.close()
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_an_interrupt_ends_it_though_all_its_threads_block() -> None:
    with on_windows() as (process, server):
        server.sendall(b"x")
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    # By the system, which asks no thread.
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_what_windows_says_of_a_pipe_without_a_reader_is_no_error_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    ends = pipes()
    monkeypatch.setattr(os, "write", fail)
    running = Running(WAYS["threads"], ends.stdin, ends.stdout)
    running.server.sendall(b"x")
    ending = running.join()
    running.server.close()
    ends.close_all()
    assert ending != FINE
    ending.check()


def test_an_output_that_takes_no_more_does_not_wait_for_the_input() -> None:
    ends = pipes()
    running = Running(WAYS["threads"], ends.stdin, ends.stdout)
    ends.close(ends.read_end)
    running.server.sendall(b"x")
    assert isinstance(running.join().unwritten, BrokenPipeError)
    running.server.close()
    ends.close_all()
