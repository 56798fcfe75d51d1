import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spassh_server.systemd import Notifier


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        yield sock


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_is_told(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = str(tmp_path / "notify") if kind == "path" else f"@spassh-{os.getpid()}"
    manager.bind(name.replace("@", "\0") if kind == "abstract" else name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    notifier.send("READY=1")
    notifier.send("STOPPING=1")
    notifier.close()
    assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1", "/no/such", "@no-such"])
def test_without_a_service_manager_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    notifier.send("READY=1")
    notifier.close()
    notifier.close()


def test_a_path_that_is_too_long_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/" + "x" * 200)
    Notifier().send("READY=1")


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().send("READY=1")


def test_a_service_manager_that_left_is_no_reason_to_stop(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notifier = Notifier()
    manager.close()
    notifier.send("READY=1")
    notifier.close()


def test_a_service_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notifier = Notifier()
    for _ in range(2000):
        notifier.send("READY=1" * 100)
    notifier.close()


class TestTheWatchdog:
    @pytest.fixture(autouse=True)
    def _no_watchdog(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            monkeypatch.delenv(name, raising=False)

    def test_is_fed_in_half_of_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "300000000")
        assert Notifier().watchdog_seconds == 150
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        assert Notifier().watchdog_seconds == 150

    def test_may_watch_somebody_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WATCHDOG_USEC", "300000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
        assert Notifier().watchdog_seconds is None

    @pytest.mark.parametrize("usec", [None, "", "0", "-5", "1.5", "x", "²"])
    def test_may_not_be_there(
        self, monkeypatch: pytest.MonkeyPatch, usec: str | None
    ) -> None:
        if usec is not None:
            monkeypatch.setenv("WATCHDOG_USEC", usec)
        assert Notifier().watchdog_seconds is None
