"""Logins over links that delay and lose: it takes longer, and it works."""

import re

import pytest
from lab.network import SERVER4, SERVER6
from lab.programs import Client, Spasshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

HOSTS = {"ipv4": ("v4.server.test", SERVER4), "ipv6": ("v6.server.test", SERVER6)}
DELAYS = (0, 20, 200)
LOSSES = (0, 5, 20)
SEED = 7

MANY_KNOCKS = "timeout = 60"
"""At the worst of these links, one try in two thousand still fails after 20 s."""


@pytest.fixture(scope="module")
def server(lab: Lab) -> Spasshd:
    made = lab.spasshd("--protect", "tcp/22")
    made.start()
    return made


@pytest.fixture(scope="module")
def client(lab: Lab, server: Spasshd) -> Client:
    made = lab.client(server)
    made.set_profile(MANY_KNOCKS)
    return made


@pytest.mark.parametrize("family", HOSTS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("delay", DELAYS)
def test_a_bad_link_is_no_reason_not_to_get_in(
    lab: Lab, server: Spasshd, client: Client, delay: int, loss: int, family: str
) -> None:
    server.flush()
    host, address = HOSTS[family]
    with lab.network.impaired(delay, loss, SEED):
        said = client.run("spassh", "proxy", "-v", "--", host, "22", timeout=120)
    # With nothing to say, the client's half of the connection ends at once.
    assert said.stdout.startswith("SSH-2.0-")
    assert f"connected to {address}" in said.stderr
    took = re.search(r"([0-9.]+) ms: connected", said.stderr)
    assert took is not None
    assert float(took[1]) >= 2 * delay


@pytest.mark.parametrize("delay", DELAYS)
def test_a_whole_login_over_a_bad_link(
    lab: Lab, server: Spasshd, client: Client, delay: int
) -> None:
    server.flush()
    with lab.network.impaired(delay, 5, SEED):
        said = client.ssh("v4.server.test", "echo", "hello", timeout=120)
    assert said.stdout == "hello\n"
