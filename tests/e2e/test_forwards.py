"""ssh to a host behind the server, by a port of the server: see lab/inner.py."""

from collections.abc import Iterator

import pytest
from lab.inner import INNER4, INNER6, Inner
from lab.knocks import connects, knock
from lab.network import CLIENT4, SERVER4, SERVER6
from lab.programs import Client, Spasshd
from lab.sessions import session
from lab.users import set_lines

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

FORWARDS = f"""
[[forward]]
port = "tcp/2222"
to = "{INNER4}"
to_port = 22

[[forward]]
port = "tcp/2222"
to = "{INNER6}"
to_port = 22
"""

HOSTS = ("v4.server.test", "v6.server.test")
SHELL = ("-p", "2222")


@pytest.fixture(scope="module")
def inner(lab: Lab) -> Inner:
    return Inner(lab.network, lab.path("inner"), lab.sshd.user_key)


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def server(request: pytest.FixtureRequest, lab: Lab, inner: Inner) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", request.param)
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(FORWARDS)
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    client = lab.client(server)
    # One grant for each login: of flows, a slow machine needs several.
    client.set_profile('width = "address"')
    set_lines(server, "alice", 'forwards = ["tcp/2222"]')
    server.verb("reload")
    return client


@pytest.fixture(scope="module")
def eve(lab: Lab, server: Spasshd) -> Client:
    """Make a user whose grants are soon over."""
    client = lab.client(server, "eve")
    set_lines(server, "eve", 'forwards = ["tcp/2222"]', "lifetime = 3")
    server.verb("reload")
    return client


@pytest.fixture(scope="module")
def bob(lab: Lab, server: Spasshd) -> Client:
    """Make a user who may only log in to the server itself."""
    return lab.client(server, "bob")


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_leads_its_users_to_the_inner_host(
    lab: Lab, server: Spasshd, alice: Client, inner: Inner, host: str
) -> None:
    server.flush()
    said = alice.ssh(*SHELL, host, "echo", "$HOME")

    assert said.stdout == f"{inner.home}\n"
    address = SERVER4 if host.startswith("v4") else SERVER6
    assert not connects(lab.stranger, address, 2222, 40001, 0.3)
    # The grant is for that port, and not for the server itself.
    assert not connects(lab.client_host, address, 22, 40001, 0.3)
    assert alice.ssh(host, "echo", "$HOME").stdout != f"{inner.home}\n"


def test_the_session_outlives_the_grant_and_a_restart_and_kill_cuts_it(
    lab: Lab, server: Spasshd, eve: Client
) -> None:
    server.flush()
    with session(eve, *SHELL, "v4.server.test") as login:
        server.wait_closed()
        assert login.lives()
        assert not connects(lab.client_host, SERVER4, 2222, 40002, 0.3)
        server.running.stop()
        server.start()
        assert login.lives()
        # No grant is left that says whose address it is.
        killed = server.verb("revoke", "--kill", CLIENT4)
        assert "connections ended: 1\n" in killed.stdout
        # Nobody tells the two ends: for them, the other one has gone silent.
        assert login.is_cut()


def test_kill_cuts_the_forwarded_session_of_a_user(
    server: Spasshd, alice: Client
) -> None:
    server.flush()
    with session(alice, *SHELL, "v4.server.test") as login:
        killed = server.verb("revoke", "--kill", "alice")
        assert killed.stdout == "grants taken back: 1\nconnections ended: 1\n"
        # Nobody tells the two ends: for them, the other one has gone silent.
        assert login.is_cut()


def test_a_user_without_the_forward_is_refused(
    lab: Lab, server: Spasshd, bob: Client
) -> None:
    server.flush()
    knock(bob, SERVER4, 2222)

    server.running.wait_log(
        f'refused user=bob address={CLIENT4} reason="tcp/2222 is not in the'
    )
    assert server.status()["grants"] == []
    assert not connects(lab.client_host, SERVER4, 2222, 40003, 0.3)
    assert bob.ssh("v4.server.test", "echo", "in").stdout == "in\n"


def test_check_says_what_forwards_need(
    lab: Lab, server: Spasshd, alice: Client
) -> None:
    assert "warning: " not in server.verb("check").stdout
    lab.server.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=0"])
    try:
        assert "warning: " in server.verb("check").stdout
    finally:
        lab.server.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
