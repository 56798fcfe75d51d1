"""Real programs on a small network: see lab/network.py for the picture.

A session's files are in one directory per lab, with one log per program, and stay in
`artifacts/` when a test of it failed.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest
from lab.network import Network
from lab.programs import REPOSITORY, Client, Spasshd, Sshd

BIN_DIRS = {
    "pypi": os.path.dirname(sys.executable),
    "debian": os.path.join(REPOSITORY, ".venv-debian", "bin"),
}

_failed: set[str] = set()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        _failed.add(item.path.stem)


class Lab:
    """A network with sshd running on the server, and what a test adds to it."""

    def __init__(self, directory: str, stack: str) -> None:
        self.directory = directory
        self.network = Network(BIN_DIRS[stack])
        self.server = self.network.server
        self.client_host = self.network.client
        self.stranger = self.network.stranger
        self._made = 0
        self.sshd = Sshd(self.server, os.path.join(directory, "sshd"))

    def path(self, name: str) -> str:
        """Return a path in the lab's directory that no other test has."""
        self._made += 1
        return os.path.join(self.directory, f"{self._made:02}-{name}")

    def spasshd(self, *init: str) -> Spasshd:
        return Spasshd(self.server, self.path("spasshd"), *init)

    def client(self, spasshd: Spasshd | None = None, user: str = "alice") -> Client:
        """Make a client, and enroll it with `spasshd` under a few names."""
        client = Client(self.client_host, self.path("home"), self.sshd.user_key)
        if spasshd is not None:
            hosts = ("--host", "v4.server.test", "--host", "v6.server.test")
            client.accept(spasshd.invite(user), *hosts)
        return client

    def close(self) -> None:
        self.network.close()


@pytest.fixture(scope="module")
def make_lab(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Lab]]:
    """Make labs for a module, one for each stack that it asks for."""
    labs: list[Lab] = []

    def make(stack: str = "pypi") -> Lab:
        if not os.path.exists(os.path.join(BIN_DIRS[stack], "spasshd")):
            pytest.skip(f"no {BIN_DIRS[stack]}: scripts/test makes it")
        if os.geteuid() != 0:
            pytest.skip("needs root: sshd logs a user in, and namespaces are made")
        labs.append(Lab(str(tmp_path_factory.mktemp(f"lab-{stack}")), stack))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()
        if request.path.stem in _failed:
            name = f"{request.path.stem}-{os.path.basename(lab.directory)}"
            target = os.path.join(REPOSITORY, "artifacts", name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                lab.directory,
                target,
                ignore=lambda directory, names: [
                    name
                    for name in names
                    if not os.path.isdir(os.path.join(directory, name))
                    and not os.path.isfile(os.path.join(directory, name))
                ],
            )


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[str], Lab]) -> Lab:
    """Return the module's lab with the programs on PyPI's libraries."""
    return make_lab("pypi")
