"""What is made of an answer that says less than it should."""

import errno
import select
import socket
from collections.abc import Iterator

import pytest

from spassh.answers import Answers, answers
from spassh.sockets import Socket


@pytest.fixture
def sock() -> Iterator[Socket]:
    """A socket that knows of no error."""
    with Socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        yield sock


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        (select.POLLOUT, 0),
        # Linux 6.18 says so a moment before SO_ERROR is anything but 0.
        (select.POLLERR, None),
        (select.POLLOUT | select.POLLERR | select.POLLHUP, errno.ECONNABORTED),
    ],
)
def test_a_socket_with_an_error_is_not_taken_for_a_connection(
    sock: Socket, monkeypatch: pytest.MonkeyPatch, event: int, answer: int | None
) -> None:
    class Poll:
        def register(self, *_: object) -> None:
            pass

        def poll(self, _: float) -> list[tuple[int, int]]:
            return [(sock.fileno(), event)]

    monkeypatch.setattr(select, "poll", Poll)
    polled = answers()
    polled.add(sock)
    expected = [] if answer is None else [(sock.fileno(), answer)]
    assert polled.wait(0) == expected


def test_nor_is_one_that_windows_calls_an_exception(
    sock: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "select", lambda *ends: ([], [], ends[2]))
    selected = Answers()
    selected.add(sock)
    assert selected.wait(0) == []


def test_where_nothing_is_dialled_there_is_nothing_to_ask_windows(
    sock: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    monkeypatch.delattr(select, "select")
    selected = answers()
    selected.add(sock)
    selected.remove(sock.fileno())
    assert selected.wait(0) == []
