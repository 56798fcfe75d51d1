"""A fresh pair of namespaces for each test, and each back end in turn."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from firewall.backends import KINDS, make
from firewall.fakes.sockets import install_netstat
from firewall.network import Network

from spassh_server.firewall import Firewall, run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "network" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.netns)


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")
    with Network() as network:
        network.listen(22, 80)
        yield network


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def firewall(kind: str, network: Network) -> Firewall:
    return make(kind)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory of programs, with the netstat of a BSD host."""
    monkeypatch.setattr(run, "DIRECTORIES", (str(tmp_path),))
    install_netstat(tmp_path)
    return tmp_path
