import json
import os
import select
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.server.child import NOBODY, in_child, needs_root
from unit.server.parties import HERE, HERE6

from spassh_server import control
from spassh_server.control import (
    ControlServer,
    NotRunningError,
    ask,
    parse_proof,
    parse_revoke,
    render_proof,
    render_revoke,
    socket_path,
)
from spassh_server.limits import CONTROL_CONNECTIONS, CONTROL_MESSAGE_BYTES
from spassh_server.privsep.message import (
    Connection,
    Revoke,
    decode_request,
    encode_revoke,
)

Answer = Callable[[Any], None]

pytestmark = needs_root


class Daemon:
    """The part of the daemon's loop that serves the control socket."""

    def __init__(self, run_dir: Path) -> None:
        self.poll = select.poll()
        self.run_dir = str(run_dir)
        self.server = ControlServer(self.run_dir, self.poll)

    def turn(self) -> list[tuple[str, Answer]]:
        """Serve what is ready now, without waiting."""
        return [
            request
            for fd, _ in self.poll.poll(0)
            for request in self.server.requests(fd)
        ]

    def wait_for_request(self) -> tuple[str, Answer]:
        while True:
            self.poll.poll()
            for request in self.turn():
                return request

    @property
    def clients(self) -> int:
        return len(self.server._clients)

    def close(self) -> None:
        for client in [*self.server._clients.values(), self.server._listening]:
            client.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path)
    yield running
    running.close()


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Callable[[], socket.socket]]:
    clients = []

    def connect_one() -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        clients.append(client)
        client.connect(socket_path(daemon.run_dir))
        return client

    yield connect_one
    for client in clients:
        client.close()


Connect = Callable[[], socket.socket]


def test_a_verb_asks_and_the_daemon_answers(daemon: Daemon) -> None:
    answers: list[dict[str, Any]] = []
    asking = Thread(target=lambda: answers.append(ask(daemon.run_dir, control.STATUS)))
    asking.start()
    request, answer = daemon.wait_for_request()
    assert request == control.STATUS
    answer({"users": 3, "name": "ä"})
    asking.join()
    assert answers == [{"users": 3, "name": "ä"}]
    assert daemon.clients == 0


def test_the_socket_is_for_its_owner_alone(daemon: Daemon) -> None:
    assert os.stat(socket_path(daemon.run_dir)).st_mode & 0o777 == 0o600


def test_making_the_socket_leaves_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Daemon(tmp_path).close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(tmp_path: Path) -> None:
    Daemon(tmp_path).close()
    assert os.path.exists(socket_path(str(tmp_path)))
    Daemon(tmp_path).close()


@pytest.mark.parametrize("left_behind", [True, False])
def test_without_a_daemon_nobody_answers(tmp_path: Path, left_behind: bool) -> None:
    if left_behind:
        Daemon(tmp_path).close()
    with pytest.raises(NotRunningError):
        ask(str(tmp_path), control.STATUS)


def test_a_daemon_that_hangs_up_does_not_answer(daemon: Daemon) -> None:
    errors: list[Exception] = []

    def work() -> None:
        try:
            ask(daemon.run_dir, control.STATUS)
        except NotRunningError as error:
            errors.append(error)

    asking = Thread(target=work)
    asking.start()
    daemon.wait_for_request()
    daemon.close()
    asking.join()
    assert [str(error) for error in errors] == ["no answer"]


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_ANSWER_SECONDS", 0.01)
    with pytest.raises(NotRunningError, match="timed out"):
        ask(daemon.run_dir, control.STATUS)


@pytest.mark.parametrize(
    "data",
    [b"no JSON", b"\xff", b"[]", b"3", b'"x"', b"null", b"[" * 60_000, b"9" * 9000],
    ids=["text", "bytes", "list", "number", "string", "null", "deep", "long"],
)
def test_an_answer_that_makes_no_sense_is_none(tmp_path: Path, data: bytes) -> None:
    """The listener may have been taken over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(socket_path(str(tmp_path)))
        listening.listen()

        def work() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(100)
                client.send(data)

        answering = Thread(target=work)
        answering.start()
        with pytest.raises(control.NoAnswerError, match="makes no sense"):
            ask(str(tmp_path), control.STATUS)
        answering.join()


def test_a_stalled_client_does_not_block_the_others(
    daemon: Daemon, connect: Connect
) -> None:
    stalled, other = connect(), connect()
    assert daemon.turn() == []
    assert daemon.turn() == []
    assert daemon.turn() == []
    other.send(b"status")
    ((request, answer),) = daemon.turn()
    assert request == "status"
    answer({})
    assert other.recv(100) == b"{}"
    assert daemon.clients == 1
    stalled.send(b"stop")
    assert [request for request, _ in daemon.turn()] == ["stop"]


def test_a_client_that_does_not_read_its_answer_does_not_block(
    daemon: Daemon, connect: Connect
) -> None:
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.send(b"status")
    daemon.turn()
    ((_, answer),) = daemon.turn()
    answer(["x" * 60_000])
    assert daemon.clients == 0


def test_a_client_that_leaves_is_forgotten(daemon: Daemon, connect: Connect) -> None:
    client = connect()
    daemon.turn()
    assert daemon.clients == 1
    client.close()
    assert daemon.turn() == []
    assert daemon.clients == 0
    assert daemon.turn() == []


def test_a_client_that_left_before_its_answer_is_no_error(
    daemon: Daemon, connect: Connect
) -> None:
    client = connect()
    client.send(b"reload")
    daemon.turn()
    ((_, answer),) = daemon.turn()
    client.close()
    answer({"errors": []})
    assert daemon.clients == 0
    answer({"errors": []})


def test_a_late_answer_does_not_go_to_who_came_after(
    daemon: Daemon, connect: Connect
) -> None:
    """The kernel gives the next client the descriptor of the one that left."""
    first = connect()
    first.send(b"reload")
    daemon.turn()
    ((_, late),) = daemon.turn()
    before = set(daemon.server._clients)
    first.close()
    daemon.turn()
    second = connect()
    daemon.turn()
    assert before == set(daemon.server._clients)
    late({"errors": ["not for the second"]})
    second.send(b"status")
    ((_, answer),) = daemon.turn()
    answer({"users": 1})
    assert json.loads(second.recv(100)) == {"users": 1}


def test_a_wake_up_for_nothing_keeps_the_client(
    daemon: Daemon, connect: Connect
) -> None:
    client = connect()
    daemon.turn()
    (fd,) = daemon.server._clients
    assert list(daemon.server.requests(fd)) == []
    client.send(b"status")
    assert [request for request, _ in daemon.turn()] == ["status"]


def test_a_wake_up_without_a_client_is_no_error(daemon: Daemon) -> None:
    assert list(daemon.server.requests(daemon.server._listening.fileno())) == []
    assert list(daemon.server.requests(12345)) == []


@pytest.mark.parametrize("request_", [b"\xff\xfe", b"x" * 60, b"x" * 5000])
def test_a_request_of_any_bytes_is_some_request(
    daemon: Daemon, connect: Connect, request_: bytes
) -> None:
    connect().send(request_)
    daemon.turn()
    ((request, answer),) = daemon.turn()
    assert request not in {control.STATUS, control.RELOAD, control.STOP}
    assert len(request) <= 64
    answer({})


def test_an_answer_that_is_too_long_says_so(daemon: Daemon, connect: Connect) -> None:
    client = connect()
    client.send(b"reload")
    daemon.turn()
    ((_, answer),) = daemon.turn()
    answer({"errors": [{"error": "x" * 100, "hint": ""}] * 1000})
    data = client.recv(CONTROL_MESSAGE_BYTES)
    assert json.loads(data) == {
        "errors": [{"error": "too many errors", "hint": "see the log"}]
    }


def test_there_are_only_so_many_clients(daemon: Daemon, connect: Connect) -> None:
    clients = [connect() for _ in range(CONTROL_CONNECTIONS)]
    for _ in clients:
        daemon.turn()
    assert len(clients) == daemon.clients
    over = connect()
    daemon.turn()
    assert len(clients) == daemon.clients
    assert over.recv(1) == b""
    clients[0].close()
    daemon.turn()
    connect()
    daemon.turn()
    assert len(clients) == daemon.clients


def test_somebody_else_than_root_is_hung_up_on(daemon: Daemon) -> None:
    """Even if the mode of the socket does not keep them out."""
    Path(daemon.run_dir).chmod(0o755)
    Path(socket_path(daemon.run_dir)).chmod(0o666)

    def accepted(uid: int) -> int:
        # The child plays both parts; the peer's uid counts, not the daemon's.
        os.chdir(daemon.run_dir)
        os.setresuid(uid, uid, uid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect("control.sock")
            daemon.turn()
            return daemon.clients

    assert in_child(lambda: accepted(0)) == 1
    assert in_child(lambda: accepted(NOBODY)) == 0


def test_somebody_else_than_root_cannot_even_connect(daemon: Daemon) -> None:
    Path(daemon.run_dir).chmod(0o755)

    def work() -> bool:
        os.chdir(daemon.run_dir)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            try:
                client.connect("control.sock")
            except PermissionError:
                return True
        return False

    assert in_child(work)


class TestARevocation:
    @pytest.mark.parametrize("sessions", [False, True])
    @pytest.mark.parametrize(
        ("target", "wanted"),
        [
            ("", Revoke(0)),
            ("ada", Revoke(0, user="ada")),
            ("a" * 32, Revoke(0, user="a" * 32)),
            ("192.0.2.7", Revoke(0, address=HERE)),
            ("2001:db8::7", Revoke(0, address=HERE6)),
            ("2001:DB8:0::7", Revoke(0, address=HERE6)),
            ("127.0.0.1", Revoke(0, address=bytes([127, 0, 0, 1]))),
            # A user may be called so, and is an address all the same.
            ("10.0.0.1", Revoke(0, address=bytes([10, 0, 0, 1]))),
            # No address, so a user.
            ("10.0.0.256", Revoke(0, user="10.0.0.256")),
            ("10.0.0.01", Revoke(0, user="10.0.0.01")),
        ],
    )
    def test_is_read_as_it_was_spelled(
        self, target: str, wanted: Revoke, sessions: bool
    ) -> None:
        request = render_revoke(target, sessions=sessions)
        assert len(request) <= 64
        assert parse_revoke(request) == wanted._replace(sessions=sessions)

    @pytest.mark.parametrize(
        "request_",
        [
            "",
            "revoked",
            "status",
            "Revoke ada",
            " revoke ada",
            "revoke  ada",
            "revoke ada bob",
            "revoke -ada",
            "revoke ../ada",
            "revoke a\x1b",
            "revoke \ufffd",
            "revoke " + "a" * 33,
            "revoke 192.0.2.0/24",
            # No addresses of one host.
            "revoke 0.0.0.0",
            "revoke 255.255.255.255",
            "revoke 224.0.0.1",
            "revoke ::",
            "revoke ff02::1",
            "kill ::ffff:192.0.2.7",
        ],
    )
    def test_of_nonsense_is_none(self, request_: str) -> None:
        assert parse_revoke(request_) is None

    @given(st.text(max_size=64) | st.text("rvokeil 0123456789.:af%", max_size=64))
    def test_that_is_one_has_a_message_which_the_granter_takes(self, text: str) -> None:
        for request in (text, f"revoke {text}", f"kill {text}"):
            wanted = parse_revoke(request)
            if wanted is not None:
                assert decode_request(encode_revoke(wanted)) == wanted


class TestAQuestionForProof:
    @pytest.mark.parametrize("text", ["192.0.2.7", "2001:db8::7", "fe80::1"])
    def test_is_read_as_it_was_spelled(self, text: str) -> None:
        login = Connection(ip_address(text).packed, 40_000, 22)
        assert parse_proof(render_proof(login)) == login

    @pytest.mark.parametrize(
        "request_",
        [
            "",
            "proof",
            "proof ",
            "proof 192.0.2.7",
            "proof 192.0.2.7 40000",
            "proof 192.0.2.7 40000 22 1",
            "proof ada 40000 22",
            "proof 0.0.0.0 40000 22",
            "proof 224.0.0.1 40000 22",
            "proof ::ffff:192.0.2.7 40000 22",
            "proof 192.0.2.7 65536 22",
            "proof 192.0.2.7 40000 -1",
            "prove 192.0.2.7 40000 22",
            "revoke 192.0.2.7",
        ],
    )
    def test_of_nonsense_is_none(self, request_: str) -> None:
        assert parse_proof(request_) is None
