"""A daemon that is killed, and a clock that is set back meanwhile, leave no hole.

The clock of this machine is not for a test to set. So what is granted is granted once
more by somebody whose clock is ahead: to the kernel, it looks as if the clock had been
set back since. That matters where a grant goes by the clock, as rules of iptables do.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import door, inside, port_answers, udp
from lab.knocker import Knocker
from lab.network import SERVER4, Network
from lab.programs import Spasshd
from lab.site import Site

from spassh_server.clock import wall_clock
from spassh_server.firewall.iptables import Iptables
from spassh_server.firewall.timed_render import SLACK_SECONDS

from .conftest import BIN_DIRS
from .test_replays import kill

pytestmark = [pytest.mark.login, pytest.mark.netns]

LIFETIME = 15
MAX_LIFETIME = 20
PATIENCE = 5


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Iterator[Site]:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    spasshd.edit('backend = "auto"', 'backend = "iptables"\nipset = false')
    spasshd.edit("max_lifetime = 300", f"max_lifetime = {MAX_LIFETIME}")
    with door(network.server):
        yield Site(network.server, SERVER4, spasshd)
        if spasshd.daemon is not None:
            spasshd.running.stop()
        spasshd.verb("stop", "--open")


@pytest.fixture
def sock(network: Network) -> Iterator[socket.socket]:
    with udp(network.client) as made:
        yield made


def set_back(site: Site, seconds: int) -> None:
    """Have the kernel's grants as if the clock had been set back."""
    ahead = Iptables(site.config.firewall, lambda: wall_clock() + seconds)
    for active in site.grants():
        inside(site.host, lambda: ahead.grant(active.grant, LIFETIME, active.user))  # noqa: B023


@pytest.mark.parametrize("seconds", [3600, SLACK_SECONDS - 10])
def test_a_clock_that_is_set_back_while_the_daemon_is_dead_leaves_no_hole(
    site: Site, network: Network, sock: socket.socket, seconds: int
) -> None:
    alice = Knocker(site.spasshd, "alice")
    site.spasshd.start()
    assert site.outcome(sock, alice.seal(lifetime=LIFETIME)) == "granted"
    kill(site, "granter")
    assert port_answers(network.client, SERVER4, 22, PATIENCE)
    set_back(site, seconds)
    if seconds < SLACK_SECONDS:
        assert port_answers(network.client, SERVER4, 22, PATIENCE)
    else:
        shut = not port_answers(network.client, SERVER4, 22, 0.3)
        assert shut, "the kernel goes by two dates"

    site.spasshd.start()

    assert site.in_place()
    assert site.grants() == []
    assert not port_answers(network.client, SERVER4, 22, 0.3)
    assert site.outcome(sock, alice.seal()) == "granted"
    assert port_answers(network.client, SERVER4, 22, PATIENCE)
