"""How much a grant opens: one flow, one connection, one address; and for how long.

The client's own NAT, where a test makes one, is a rule in the client's namespace.
"""

from collections.abc import Iterator

import pytest
from lab.inside import port_answers
from lab.knocks import connects, knock
from lab.network import CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4
from lab.programs import Client, Spasshd
from lab.sessions import session
from lab.users import set_lines

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

PORT = 40001
NAT = """
table ip nat {
  chain out {
    type nat hook postrouting priority 100;
    udp dport 62201 masquerade to :50000-50010
  }
}
"""


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def server(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", request.param)
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


def user(lab: Lab, server: Spasshd, name: str, *lines: str) -> Client:
    """Make a user whose file has `lines` of its own."""
    client = lab.client(server, name)
    set_lines(server, name, *lines)
    server.verb("reload")
    return client


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    return user(lab, server, "alice")


@pytest.fixture(scope="module")
def flo(lab: Lab, server: Spasshd) -> Client:
    return user(lab, server, "flo", 'widths = ["flow"]')


@pytest.fixture(scope="module")
def ona(lab: Lab, server: Spasshd) -> Client:
    return user(lab, server, "ona", 'widths = ["once"]')


@pytest.fixture
def nat(lab: Lab) -> Iterator[None]:
    """Put the client behind a NAT that rewrites the ports of its datagrams."""
    lab.client_host.run(["nft", "-f", "-"], text=NAT)
    yield
    lab.client_host.run(["nft", "delete", "table", "ip", "nat"])


@pytest.mark.parametrize(
    ("address", "source"), [(SERVER4, CLIENT4), (SERVER6, CLIENT6)]
)
def test_a_flow_is_open_for_the_port_that_was_named_and_for_no_other(
    lab: Lab, server: Spasshd, alice: Client, address: str, source: str
) -> None:
    server.flush()
    knock(alice, address, source=PORT, source_port=PORT)

    said = f"granted user=alice address={source} port=tcp/22 seconds=300 width=flow"
    server.running.wait_log(f"{said} source_port={PORT}")
    (grant,) = server.status()["grants"]
    assert (grant["user"], grant["width"], grant["source_port"]) == (
        "alice",
        "flow",
        PORT,
    )
    # A neighbour who shares the client's address has other ports.
    assert not connects(lab.client_host, address, 22, PORT + 1, 0.3)
    assert not port_answers(lab.client_host, address, 22, 0.3)
    assert connects(lab.client_host, address, 22, PORT)
    assert not connects(lab.stranger, address, 22, PORT, 0.3)


def test_a_nat_that_rewrites_ports_makes_a_flow_an_address(
    lab: Lab, server: Spasshd, alice: Client, nat: None
) -> None:
    server.flush()
    knock(alice, SERVER4, source=PORT + 10, source_port=PORT + 10)

    server.running.wait_log("width=address")
    (grant,) = server.status()["grants"]
    assert (grant["address"], grant["width"]) == (CLIENT4, "address")
    assert connects(lab.client_host, SERVER4, 22, PORT + 11)
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_a_user_of_flows_alone_is_refused_behind_such_a_nat(
    lab: Lab, server: Spasshd, flo: Client, nat: None
) -> None:
    server.flush()
    named = PORT + 20
    knock(flo, SERVER4, source=named, source_port=named)

    said = f'refused user=flo address={CLIENT4} reason="a NAT rewrites ports: {named}'
    server.running.wait_log(said)
    assert f"{said} became 500" in server.running.log
    assert server.status()["grants"] == []
    assert not connects(lab.client_host, SERVER4, 22, named, 0.3)


def test_a_user_of_flows_alone_has_to_name_a_port(
    lab: Lab, server: Spasshd, flo: Client
) -> None:
    server.flush()
    knock(flo, SERVER4, source=PORT)

    server.running.wait_log(
        'reason="the user\'s widths take a source port, and the request names none"'
    )
    assert server.status()["grants"] == []


def test_once_lets_one_login_in_which_lives_on(
    lab: Lab, server: Spasshd, ona: Client
) -> None:
    server.flush()
    with session(ona, "v4.server.test") as login:
        assert "user=ona address=192.0.2.2 port=tcp/22 seconds=300 width=once" in (
            server.running.log
        )
        assert server.status()["grants"] == []
        assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
        assert login.lives()
        with session(ona, "v4.server.test") as second:
            assert second.lives()
        assert login.lives()


def test_a_grant_for_another_address_is_for_who_may_ask_for_one(
    lab: Lab, server: Spasshd, alice: Client
) -> None:
    server.flush()
    other = bytes(map(int, STRANGER4.split(".")))
    knock(alice, SERVER4, address=other)
    server.running.wait_log("the address to allow is not the packet's source")
    proxy = user(lab, server, "proxy", "any_address = true")

    knock(proxy, SERVER4, address=other)

    server.running.wait_log(f"granted user=proxy address={STRANGER4}")
    assert port_answers(lab.stranger, SERVER4, 22)
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
