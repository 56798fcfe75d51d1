"""Programs that run over ssh, each moving real data, with the example ssh_config."""

import filecmp
import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from lab.network import run
from lab.programs import RELAY, Client, Spasshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

MODES = {"fdpass": (), "relay": RELAY}
HOSTS = {"ipv4": "v4.server.test", "ipv6": "v6.server.test"}

BIG = 4_000_000
"""Bytes: more than every buffer on the way holds."""


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0


@pytest.fixture(scope="module")
def client(lab: Lab, server: Spasshd) -> Client:
    return lab.client(server)


@pytest.fixture(scope="module")
def tree(lab: Lab) -> str:
    """Make some files, small and big."""
    path = lab.path("tree")
    os.makedirs(f"{path}/sub")
    for number in range(20):
        with open(f"{path}/sub/{number}", "wb") as file:
            file.write(os.urandom(number * 100))
    with open(f"{path}/big", "wb") as file:
        file.write(os.urandom(BIG))
    return path


@pytest.fixture(
    params=[(mode, family) for mode in MODES for family in HOSTS], ids="-".join
)
def way(request: pytest.FixtureRequest, server: Spasshd) -> tuple[list[str], str]:
    """Return ssh's options and the host for one way to go, with no grant left."""
    server.flush()
    mode, family = request.param
    return list(MODES[mode]), HOSTS[family]


def bracketed(host: str, path: str) -> str:
    return f"{host}:{path}"


@pytest.mark.parametrize("protocol", ["-s", "-O"])
def test_scp_copies_both_ways(
    lab: Lab, client: Client, tree: str, way: tuple[list[str], str], protocol: str
) -> None:
    options, host = way
    scp = ["scp", "-q", protocol, *client.ssh_options, *options]
    there, back = lab.path("there"), lab.path("back")
    client.run(*scp, f"{tree}/big", f"{host}:{there}")
    client.run(*scp, f"{host}:{there}", back)
    assert filecmp.cmp(f"{tree}/big", back, shallow=False)


def test_sftp_copies_both_ways(
    lab: Lab, client: Client, tree: str, way: tuple[list[str], str]
) -> None:
    options, host = way
    there, back = lab.path("there"), lab.path("back")
    commands = f"put {tree}/big {there}\nget {there} {back}\n"
    argv = ["sftp", "-q", "-b", "-", *client.ssh_options, *options, host]
    client.run(*argv, text=commands)
    assert filecmp.cmp(f"{tree}/big", back, shallow=False)


def test_rsync_copies_a_tree(
    lab: Lab, client: Client, tree: str, way: tuple[list[str], str]
) -> None:
    options, host = way
    there = lab.path("there")
    ssh = shlex.join(["ssh", *client.ssh_options, *options])
    client.run("rsync", "-a", "-e", ssh, f"{tree}/", f"{host}:{there}/")
    run(["diff", "-r", tree, there])


def test_git_clones_and_pushes(
    lab: Lab, client: Client, tree: str, way: tuple[list[str], str]
) -> None:
    options, host = way
    origin, clone = lab.path("origin.git"), lab.path("clone")
    client.run("git", "init", "-q", "--bare", "-b", "main", origin)
    ssh = shlex.join(["ssh", *client.ssh_options, *options])
    git = ["git", "-c", f"core.sshCommand={ssh}"]
    client.run(*git, "clone", "-q", f"ssh://{host}{origin}", clone)
    run(["cp", "-r", f"{tree}/sub", clone])
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    client.run("git", "-C", clone, "add", "-A")
    client.run("git", "-C", clone, *identity, "commit", "-q", "-m", "files")
    client.run(*git, "-C", clone, "push", "-q", "origin", "HEAD:main")
    again = lab.path("again")
    client.run(*git, "clone", "-q", f"ssh://{host}{origin}", again)
    assert filecmp.dircmp(f"{clone}/sub", f"{again}/sub").diff_files == []
    assert os.listdir(f"{again}/sub")


def test_several_connections_at_once_all_get_in(
    client: Client, way: tuple[list[str], str]
) -> None:
    options, host = way
    argv = ["ssh", *client.ssh_options, *options, host, "echo", "in"]
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
