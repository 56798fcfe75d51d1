"""What a login opens is for its own connection, and what is done where a NAT is."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from lab.inside import port_answers
from lab.nat import CHANGES_PORTS, CHANGES_PORTS_OF_TCP, KEEPS_PORTS, behind
from lab.network import CLIENT4, SERVER4
from lab.programs import Client, Spasshd
from lab.users import set_lines

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Spasshd:
    made = lab.spasshd("--protect", "tcp/22")
    made.start()
    return made


@contextmanager
def at_home(
    lab: Lab, server: Spasshd, user: str, rules: tuple[str, ...]
) -> Iterator[Client]:
    """Have a client behind a router; the end of the test takes both away."""
    with behind(lab.network, lab.client_host, rules) as inner:
        client = Client(inner, lab.path("home"), lab.sshd.user_key)
        client.accept(server.invite(user), "--host", "v4.server.test")
        server.verb("reload")
        server.flush()
        yield client


def grants(server: Spasshd) -> list[tuple[str, str]]:
    return [(one["address"], one["width"]) for one in server.status()["grants"]]


def test_a_neighbour_behind_the_same_address_stays_outside(
    lab: Lab, server: Spasshd
) -> None:
    client = lab.client(server, "ada")
    server.flush()
    argv = ["ssh", *client.ssh_options, "v4.server.test", "cat"]
    session = client.popen(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert session.stdin
    assert session.stdout
    session.stdin.write(b"in\n")
    session.stdin.flush()
    assert session.stdout.readline() == b"in\n"
    assert set(grants(server)) == {(CLIENT4, "flow")}
    # The same address while the grant lives, and any other source port.
    assert not port_answers(lab.client_host, SERVER4, 22)
    session.kill()
    session.communicate()


def test_a_nat_that_keeps_ports_gets_flows(lab: Lab, server: Spasshd) -> None:
    with at_home(lab, server, "keeps", KEEPS_PORTS) as client:
        assert client.ssh("v4.server.test", "echo", "hello").stdout == "hello\n"
        assert set(grants(server)) == {(CLIENT4, "flow")}


def test_a_nat_that_changes_ports_gets_the_address_at_once(
    lab: Lab, server: Spasshd
) -> None:
    """The datagram gives it away, so nobody has to wait for a flow that never comes."""
    with at_home(lab, server, "changes", CHANGES_PORTS) as client:
        assert client.ssh("v4.server.test", "echo", "hello").stdout == "hello\n"
        assert grants(server) == [(CLIENT4, "address")]


def test_a_nat_that_changes_the_ports_of_tcp_alone_costs_half_a_second(
    lab: Lab, server: Spasshd
) -> None:
    with at_home(lab, server, "tcp", CHANGES_PORTS_OF_TCP) as client:
        assert client.ssh("v4.server.test", "echo", "hello").stdout == "hello\n"
        assert {(CLIENT4, "flow"), (CLIENT4, "address")} == set(grants(server))


def test_a_nat_and_a_user_who_may_have_flows_alone_do_not_go_together(
    lab: Lab, server: Spasshd
) -> None:
    """It is said on both sides, within the profile's timeout."""
    with at_home(lab, server, "strict", CHANGES_PORTS) as client:
        set_lines(server, "strict", 'widths = ["flow"]')
        server.verb("reload")
        client.set_profile("timeout = 2")
        began = time.monotonic()
        failed = client.ssh("v4.server.test", "true", check=False)
        assert failed.returncode == 255
        assert "stays shut: no answer within 2 s" in failed.stderr
        assert time.monotonic() - began >= 2
        server.running.wait_log("a NAT rewrites ports")
        assert grants(server) == []


def test_a_profile_may_ask_for_no_flow(lab: Lab, server: Spasshd) -> None:
    client = lab.client(server, "wide")
    client.set_profile('width = "address"')
    server.flush()
    assert client.ssh("v4.server.test", "echo", "hello").stdout == "hello\n"
    assert grants(server) == [(CLIENT4, "address")]
