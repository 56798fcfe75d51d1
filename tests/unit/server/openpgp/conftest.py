"""The two versions of python-gnupg that have to work: Debian's and the newest."""

import importlib.util
import os
import sys
from collections.abc import Iterator

import pytest
from lab.openpgp import Party, end_parties, party

_DEBIAN = "/usr/lib/python3/dist-packages/gnupg.py"


@pytest.fixture(params=["newest", "debian"])
def python_gnupg(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Have `import gnupg` find this version."""
    version: str = request.param
    if version == "newest":
        pytest.importorskip("gnupg", reason="python-gnupg is not installed")
        return version
    if not os.path.exists(_DEBIAN):
        pytest.skip(f"no {_DEBIAN}: apt install python3-gnupg")
    spec = importlib.util.spec_from_file_location("gnupg", _DEBIAN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "gnupg", module)
    return version


@pytest.fixture(scope="session", autouse=True)
def _parties() -> Iterator[None]:
    yield
    end_parties()


@pytest.fixture(scope="session")
def curve() -> Party:
    """A server and a client with the keys that are made in no time."""
    return party("ed25519")
