"""A listener, and everything around it played by the test."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from unit.server.frames import ipv4, udp
from unit.server.parties import CONFIG, NOW, SERVER, user

from spassh_server.capture import Capture
from spassh_server.control import ControlServer
from spassh_server.datagram import DLT_RAW
from spassh_server.listener import Listener
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    Answer,
    GrantMessage,
    ListUsers,
    decode_request,
    encode_answer,
)
from spassh_server.store import ReplayStore
from spassh_server.systemd import Notifier
from spassh_server.users import Users


class FakeCapture:
    """Frames from a pipe that is readable while there are some."""

    link = DLT_RAW[0]

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def put(self, *payloads: bytes, source: str = "192.0.2.7") -> None:
        self.waiting += [ipv4(udp(one), source=source) for one in payloads]
        os.write(self._write, b"x")

    def frames(self) -> Iterator[bytes]:
        os.read(self._read, 100)
        frames, self.waiting = self.waiting, []
        yield from frames

    def dropped(self) -> int:
        return 3

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class FakeControl:
    """Requests without the socket, which has tests of its own."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.answers: list[Any] = []

    def requests(self, fd: int) -> Iterator[tuple[str, Any]]:
        requests, self.waiting = self.waiting, []
        for request in requests:
            yield request, self.answers.append


class Rig:
    """The listener with its surroundings."""

    def __init__(self, tmp_path: Path, *, ready: bool = True) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "users.d").mkdir(exist_ok=True)
        self.users_dir = tmp_path / "users.d"
        self._state = os.open(tmp_path / "state", os.O_RDONLY | os.O_DIRECTORY)
        self.store = ReplayStore(self._state, NOW - 60_000, b"b" * 36)
        self.capture = FakeCapture()
        self.control = FakeControl()
        self.granter, self._theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.granter.setblocking(False)
        self.listener = Listener(
            config=CONFIG._replace(users_dir=str(self.users_dir)),
            keys=SERVER,
            captures=[cast(Capture, self.capture)],
            store=self.store,
            granter=self._theirs,
            server=cast(ControlServer, self.control),
            poll=select.poll(),
            notifier=Notifier(),
        )
        if ready:
            self.listener._opener.users = Users([user()])

    def begin(self) -> None:
        """Send the first word, as `serve` does."""
        self.listener._send(self.listener._reload.begin())

    def frames(self, *payloads: bytes, source: str = "192.0.2.7") -> None:
        self.capture.put(*payloads, source=source)
        self.listener._read_frames(cast(Capture, self.capture))

    def asked(self) -> list[GrantMessage | ListUsers]:
        """Return what the granter was sent."""
        found = []
        while True:
            try:
                found.append(decode_request(self.granter.recv(100)))
            except BlockingIOError:
                return found

    def answer(self, kind: int, number: int, name: str = "") -> None:
        answer = encode_answer(Answer(kind, number, name))
        if kind == message.USER_FILE:
            fd = os.open(self.users_dir / name, os.O_RDONLY)
            socket.send_fds(self.granter, [answer], [fd])
            os.close(fd)
        else:
            self.granter.send(answer)
        self.listener._read_granter()

    def ask(self, request: str) -> Any:
        self.control.waiting.append(request)
        self.listener._read_control(0)
        return self.control.answers.pop() if self.control.answers else None

    @property
    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.ask("status")["counters"]
        return counters

    def write(self, name: str, text: str) -> None:
        (self.users_dir / name).write_text(text)
        (self.users_dir / name).chmod(0o600)

    def hand_over(self, number: int) -> None:
        for name in sorted(os.listdir(self.users_dir)):
            self.answer(message.USER_FILE, number, name)
        self.answer(message.USERS_END, number)

    def close(self) -> None:
        self.store._close()
        os.close(self._state)
        self.capture.close()
        self.granter.close()
        self._theirs.close()
