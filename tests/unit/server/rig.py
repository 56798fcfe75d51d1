"""A listener, and everything around it played by the test."""

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from unit.server.frames import SOURCE_PORT, ipv4, udp
from unit.server.parties import CONFIG, EVERY_WIDTH, NOW, SERVER, user

from spassh_server.capture import Capture
from spassh_server.control import ControlServer
from spassh_server.datagram import DLT_RAW
from spassh_server.firewall import Width
from spassh_server.listener import Listener
from spassh_server.privsep import message
from spassh_server.privsep.message import (
    Answer,
    Wanted,
    decode_request,
    encode_answer,
)
from spassh_server.store import ReplayStore
from spassh_server.systemd import Notifier
from spassh_server.transports import Transport
from spassh_server.users import User, Users


class FakeCapture:
    """Frames from a pipe that is readable while there are some."""

    link = DLT_RAW[0]

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self._read, self._write = os.pipe()

    def fileno(self) -> int:
        return self._read

    def put(
        self,
        *payloads: bytes,
        source: str = "192.0.2.7",
        source_port: int = SOURCE_PORT,
    ) -> None:
        self.waiting += [
            ipv4(udp(one, source_port=source_port), source=source) for one in payloads
        ]
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


class FakeNotifier:
    """A service manager that remembers what it was told."""

    def __init__(self, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds
        self.told: list[str] = []

    def send(self, state: str) -> None:
        self.told.append(state)


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

    def __init__(
        self,
        tmp_path: Path,
        *,
        ready: bool = True,
        fwknop: bool = False,
        transports: tuple[Transport, ...] = (),
    ) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "users.d").mkdir(exist_ok=True)
        self.users_dir = tmp_path / "users.d"
        self.main_file = tmp_path / "spasshd.toml"
        self.main_file.touch(0o600)
        self._state = os.open(tmp_path / "state", os.O_RDONLY | os.O_DIRECTORY)
        self.store = ReplayStore(self._state, NOW - 60_000, b"b" * 36)
        self.capture = FakeCapture()
        self.control = FakeControl()
        self.notifier = FakeNotifier()
        self.poll = select.poll()
        self.granter, self._theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.granter.setblocking(False)
        self.helper, self._helpers = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.helper.setblocking(False)
        self.listener = Listener(
            config=CONFIG._replace(
                users_dir=str(self.users_dir),
                path=str(self.main_file),
                fwknop=fwknop,
                fwknop_transports=transports,
            ),
            keys=SERVER,
            captures=[cast(Capture, self.capture)],
            store=self.store,
            granter=self._theirs,
            server=cast(ControlServer, self.control),
            poll=self.poll,
            notifier=cast(Notifier, self.notifier),
            helper=self._helpers,
        )
        if ready:
            self.users(user())
            self.widths(*EVERY_WIDTH)

    def users(self, *users: User) -> None:
        """Have these users, without their files."""
        self.listener._opener.users = Users([*users])

    def widths(self, *widths: Width) -> None:
        """Let the granter say what its packet filter can do."""
        ready = Answer(message.READY, 0, widths=frozenset(widths))
        self.granter.send(encode_answer(ready))
        self.listener._read_granter()

    def begin(self) -> None:
        """Send the first word, as `serve` does."""
        self.listener._send(self.listener._reload.begin())

    def packets(self, *packets: bytes) -> None:
        """Have these packets of IP come in."""
        self.capture.waiting += packets
        self.frames()

    def frames(self, *payloads: bytes, **fields: Any) -> None:
        self.capture.put(*payloads, **fields)
        self.listener._read_frames(cast(Capture, self.capture))

    def asked(self) -> list[Wanted]:
        """Return what the granter was sent."""
        found: list[Wanted] = []
        while True:
            try:
                data = self.granter.recv(message.RUN_SIZE + 1)
            except BlockingIOError:
                return found
            found.append(decode_request(data))

    def answer(self, kind: int, number: int, name: str = "", **counts: int) -> None:
        answer = encode_answer(Answer(kind, number, name, **counts))  # type: ignore[arg-type]
        paths = {
            message.USER_FILE: self.users_dir / name,
            message.MAIN_FILE: self.main_file,
        }
        if kind in paths:
            fd = os.open(paths[kind], os.O_RDONLY)
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

    @property
    def is_listening(self) -> bool:
        """Whether the loop would wake up for a frame."""
        try:
            self.poll.modify(self.capture, select.POLLIN)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, text: str) -> None:
        (self.users_dir / name).write_text(text)
        (self.users_dir / name).chmod(0o600)

    def hand_over(self, number: int) -> None:
        self.answer(message.MAIN_FILE, number)
        for name in sorted(os.listdir(self.users_dir)):
            self.answer(message.USER_FILE, number, name)
        self.answer(message.USERS_END, number)

    def close(self) -> None:
        self.store._close()
        os.close(self._state)
        self.capture.close()
        self.granter.close()
        self._theirs.close()
        self.helper.close()
        self._helpers.close()
