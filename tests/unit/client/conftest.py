import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.client.fake_ssh import FakeSsh
from unit.client.parties import Gate, Home, Shut


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty configuration directory, which is the one in use."""
    path = tmp_path / "config"
    monkeypatch.setenv("SPASSH_CONFIG_HOME", str(path))
    return Home(path)


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    """A program `ssh` that answers what it is told to."""
    return FakeSsh(tmp_path / "bin", monkeypatch)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture(
    params=[
        socket.AF_INET,
        pytest.param(
            socket.AF_INET6,
            marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here"),
        ),
    ],
    ids=["ipv4", "ipv6"],
)
def gate(request: pytest.FixtureRequest) -> Iterator[Gate]:
    """A server whose port refuses until it is opened."""
    with Gate(request.param) as gate:
        yield gate


@pytest.fixture
def shut() -> Iterator[Shut]:
    """A port that does not answer until it is opened."""
    with Shut() as shut:
        yield shut
