"""How the connection is given to ssh, and what is told when that fails."""

import _socket
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spassh import handover, relay, threads
from spassh.ends import Ending, breaks_connection
from spassh.errors import SpasshError
from spassh.handover import can_pass, pass_socket


@pytest.fixture
def to_ssh() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our standard output and ssh's end of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_the_socket_itself_is_passed_with_one_byte(
    to_ssh: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = to_ssh
    assert can_pass(ours.fileno())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
    pass_socket(sock, ours.fileno())
    sock.close()
    data, fds, _, _ = socket.recv_fds(theirs, 99, 9)
    assert data == b"\0"
    assert len(fds) == 1
    with socket.socket(fileno=fds[0]) as passed, server:
        assert os.get_blocking(passed.fileno())
        passed.sendall(b"hello")
        assert server.recv(99) == b"hello"


def test_ssh_that_did_not_wait_for_the_socket_is_told(
    to_ssh: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = to_ssh
    theirs.close()
    with socket.socket() as sock, pytest.raises(SpasshError) as caught:
        pass_socket(sock, ours.fileno())
    assert str(caught.value) == "ssh did not wait: broken pipe"


def test_output_that_takes_no_socket_is_recognised(tmp_path: Path) -> None:
    read, write = os.pipe()
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT, 0o600)
    with socket.socket() as tcp:
        assert not any(map(can_pass, (write, file, tcp.fileno())))
    for fd in (read, write, file):
        os.close(fd)


def test_whoever_talks_over_the_socket_already_is_served_by_the_relay(
    to_ssh: tuple[socket.socket, socket.socket],
) -> None:
    """libssh gives its ProxyCommand a socket, too, and sends its version at once."""
    ours, theirs = to_ssh
    theirs.sendall(b"SSH-2.0-libssh\r\n")
    assert not can_pass(ours.fileno())
    assert ours.recv(99) == b"SSH-2.0-libssh\r\n"
    theirs.shutdown(socket.SHUT_WR)
    assert can_pass(ours.fileno())


def test_a_system_that_passes_no_descriptors_takes_no_socket(
    to_ssh: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(_socket, "SCM_RIGHTS")
    assert not can_pass(to_ssh[0].fileno())


@pytest.mark.parametrize(
    ("platform", "module"), [("linux", relay), ("darwin", relay), ("win32", threads)]
)
def test_each_system_relays_in_its_way(
    platform: str, module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def copy(*words: object) -> Ending:
        done.append(words)
        return Ending(None, None)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(module, "copy", copy)
    monkeypatch.setattr(threads, "die_of_interrupts", lambda: done.append(()))
    with socket.socket() as sock:
        handover.relay(sock)
        assert done[-1] == (sock, 0, 1)
    assert done[:-1] == ([()] if platform == "win32" else [])


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            Ending(os_error(errno.ECONNRESET), None),
            "connection lost: connection reset by peer",
        ),
        (
            Ending(os_error(errno.ETIMEDOUT), os_error(errno.EPIPE)),
            "connection lost: connection timed out",
        ),
        (
            Ending(None, os_error(errno.ENOSPC)),
            "cannot write the output: no space left on device",
        ),
    ],
)
def test_a_relay_that_failed_is_told(ending: Ending, message: str) -> None:
    with pytest.raises(SpasshError) as caught:
        ending.check()
    assert str(caught.value) == message
    assert caught.value.hint


@pytest.mark.parametrize(
    "unwritten", [None, os_error(errno.EPIPE), os_error(errno.ECONNRESET)], ids=str
)
def test_a_relay_that_ended_or_that_nobody_reads_is_not(
    unwritten: OSError | None,
) -> None:
    Ending(None, unwritten).check()


def test_what_a_sender_learns_of_the_connection_is_that_it_broke() -> None:
    assert breaks_connection(None) is None
    for over in (errno.EPIPE, errno.ENOTCONN):
        assert breaks_connection(os_error(over)) is None
    reset = os_error(errno.ECONNRESET)
    assert breaks_connection(reset) is reset
