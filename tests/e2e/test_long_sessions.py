"""Programs that keep a session for days: what they do when the network changes."""

from collections.abc import Iterator

import pytest
from lab.network import CLIENT4, SERVER4, wait_for
from lab.programs import Client, Spasshd
from lab.transfers import MOSH_PORT, Transfer, mosh_session
from lab.tunnel import echo_service, tunnel

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

HOST = "v4.server.test"
ELSEWHERE4 = "192.0.2.3"
SECONDS = 60


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--protect", f"udp/{MOSH_PORT}")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    with echo_service(lab.server):
        yield spasshd


@pytest.fixture(scope="module")
def client(lab: Lab, server: Spasshd) -> Client:
    return lab.client(server)


@pytest.fixture
def elsewhere(lab: Lab) -> Iterator[list[str]]:
    """Return the command that moves the client to another address."""
    argv = ["ip", "address", "add", f"{ELSEWHERE4}/24", "dev", "eth0"]
    lab.client_host.run(argv)
    route = ["ip", "route", "replace", SERVER4, "dev", "eth0", "src", ELSEWHERE4]
    yield route
    lab.client_host.run(["ip", "address", "delete", f"{ELSEWHERE4}/24", "dev", "eth0"])


def to(host: str, client: Client, config: str) -> Transfer:
    return Transfer(client, config, host, "", client.directory, SECONDS)


def addresses(server: Spasshd, port: str) -> set[str]:
    grants = server.status()["grants"]
    return {one["address"] for one in grants if one["port"] == port}


def granted(server: Spasshd) -> int:
    count: int = server.status()["counters"]["granted"]
    return count


def test_mosh_outlives_its_grant_and_a_knock_brings_it_to_another_address(
    lab: Lab, server: Spasshd, client: Client, elsewhere: list[str]
) -> None:
    access = f"udp/{MOSH_PORT}"
    knock = ["spassh", "knock", "--access", access, HOST]
    client.run(*knock)
    with mosh_session(to(HOST, client, client.write_config())) as session:
        session.type("one")
        session.wait_for("seen: one", SECONDS)
        assert addresses(server, access) == {CLIENT4}

        server.flush()
        session.type("two")
        session.wait_for("seen: two", SECONDS)

        lab.client_host.run(elsewhere)
        session.type("three")
        # So mosh says that it hears nothing.
        session.wait_for("Last contact", SECONDS)
        client.run(*knock)
        session.wait_for("seen: three", SECONDS)
        assert addresses(server, access) == {ELSEWHERE4}


def test_ssh_knocks_for_mosh_when_it_is_logged_in(
    server: Spasshd, client: Client
) -> None:
    """So the grant need not last as long as a login takes."""
    server.flush()
    config = client.write_config(
        *("Host mosh.server", f"HostName {HOST}", "ControlPath none"),
        "PermitLocalCommand yes",
        f"LocalCommand spassh knock --access udp/{MOSH_PORT} %h",
    )
    with mosh_session(to("mosh.server", client, config)) as session:
        session.type("one")
        session.wait_for("seen: one", SECONDS)


def test_autossh_logs_in_again_when_its_connection_is_cut(
    server: Spasshd, client: Client
) -> None:
    server.flush()
    with tunnel(client, client.write_config(), HOST) as through:
        assert through.echo(b"one", SECONDS) == b"one"
        before = granted(server)
        # Which may find that there is a grant again: autossh is quick.
        server.verb("revoke", "alice", "--kill", check=False)
        wait_for(lambda: granted(server) > before, "autossh to log in again")
        assert through.echo(b"two", SECONDS) == b"two"
