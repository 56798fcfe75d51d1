"""Libraries that speak SSH themselves, and run the ProxyCommand of the example."""

from collections.abc import Callable

import pytest
from lab.network import wait_for
from lab.programs import Client
from lab.transfers import Transfer, make_tree, move

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

BIG = 4_000_000
"""Bytes: more than every buffer on the way holds."""

# Debian's are years older, and it has no libssh for Python.
CASES = [
    *(("pypi", name) for name in ("asyncssh", "libssh", "paramiko")),
    *(("debian", name) for name in ("asyncssh", "paramiko")),
]


@pytest.fixture(scope="module")
def settings(make_lab: Callable[[str], Lab]) -> dict[str, tuple[Lab, Client]]:
    """Return for each stack a lab with a server that is guarded, and a client."""
    made = {}
    for stack in dict(CASES):
        lab = make_lab(stack)
        server = lab.spasshd("--protect", "tcp/22")
        server.start()
        made[stack] = lab, lab.client(server)
    return made


@pytest.mark.parametrize(("stack", "name"), CASES)
def test_a_library_moves_data_there_and_back(
    settings: dict[str, tuple[Lab, Client]], stack: str, name: str
) -> None:
    lab, client = settings[stack]
    tree = make_tree(lab.path("tree"), BIG, 0)
    config = client.write_config()
    move(name, Transfer(client, config, "server.test", tree, lab.path(name), 150))
    # The relay has ended with what it was for.
    wait_for(
        lambda: not client.host.running(), f"the end of what {name} has started", 30
    )
