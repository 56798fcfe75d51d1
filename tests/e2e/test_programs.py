"""Programs that run over ssh, each moving real data, with the example ssh_config."""

import subprocess
from collections.abc import Iterator

import pytest
from lab.network import wait_for
from lab.programs import RELAY_LINES, Client, Spasshd
from lab.transfers import MOSH_PORT, TRANSFERS, Transfer, make_tree, move, why_not
from lab.tunnel import echo_service

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

MODES = {"fdpass": (), "relay": RELAY_LINES}
HOSTS = {"ipv4": "v4.server.test", "ipv6": "v6.server.test"}
WAYS = [(mode, family) for mode in MODES for family in HOSTS]

BIG = 4_000_000
"""Bytes: more than every buffer on the way holds."""

LONG = {"ansible", "borg"}
"""They take seconds, and leave the connection to ssh: one way has to do."""

LIBRARIES = {"asyncssh", "libssh", "paramiko"}
"""Not ssh, and no use for a socket: see test_libraries.py."""

OTHERS = {"autossh", "git", "mosh", "sshfs"}
"""For them it is two ways in which everything differs."""


def ways(name: str) -> list[tuple[str, str]]:
    if name in LONG:
        return [("fdpass", "ipv4")]
    return [WAYS[0], WAYS[-1]] if name in OTHERS else WAYS


CASES = [
    (name, *way) for name in TRANSFERS if name not in LIBRARIES for way in ways(name)
]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--protect", f"udp/{MOSH_PORT}")
    spasshd.start()
    with echo_service(lab.server):
        yield spasshd
    assert spasshd.running.stop() == 0


@pytest.fixture(scope="module")
def client(lab: Lab, server: Spasshd) -> Client:
    return lab.client(server)


@pytest.fixture(scope="module")
def tree(lab: Lab) -> str:
    return make_tree(lab.path("tree"), BIG, 20)


@pytest.mark.parametrize(("name", "mode", "family"), CASES)
def test_a_program_moves_data_there_and_back(
    lab: Lab,
    server: Spasshd,
    client: Client,
    tree: str,
    name: str,
    mode: str,
    family: str,
) -> None:
    if why_not(name):
        pytest.skip(why_not(name))
    server.flush()
    config = client.write_config(*MODES[mode])
    directory = lab.path(name.replace(" ", ""))
    move(name, Transfer(client, config, HOSTS[family], tree, directory, 150))
    # And nothing of it stays behind, of spassh in particular.
    wait_for(
        lambda: not client.host.running(), f"the end of what {name} has started", 30
    )


@pytest.mark.parametrize(("mode", "family"), WAYS)
def test_several_connections_at_once_all_get_in(
    server: Spasshd, client: Client, mode: str, family: str
) -> None:
    server.flush()
    argv = ["ssh", "-F", client.write_config(*MODES[mode]), HOSTS[family], "echo", "in"]
    sessions = [client.popen(*argv, stdout=subprocess.PIPE) for _ in range(4)]
    assert [session.communicate(timeout=60)[0] for session in sessions] == [b"in\n"] * 4


def test_a_host_without_a_profile_is_connected_plainly(
    lab: Lab, server: Spasshd
) -> None:
    bare = lab.client()
    server.verb("stop", "--open")
    try:
        said = bare.ssh("server.test", "echo", "plain")
    finally:
        server.start()
    assert said.stdout == "plain\n"
    assert "spassh" not in said.stderr
