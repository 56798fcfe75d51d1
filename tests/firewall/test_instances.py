"""Two daemons on one host: both get through chains of others, and none takes turns."""

import pytest
from firewall.backends import KINDS, SETTINGS, make, to
from firewall.hosts import HOSTS, on_each, set_up
from firewall.network import CLIENT, STRANGER, Network, everything

from spassh_server.firewall import Firewall
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())

WEB = Port(6, 80)
OTHER = SETTINGS._replace(
    name="spassh-u",
    protect=(WEB,),
    grant_ports=(WEB,),
    knock_port=SETTINGS.knock_port + 1,
    mark=0x1000_0000,
)


def assert_both_work(first: Firewall, second: Firewall, network: Network) -> None:
    for source in CLIENTS:
        first.grant(to(source), 60)
        second.grant(to(source, WEB), 60)
    for port in (22, 80):
        assert network.is_open(*CLIENTS, port=port)
        assert network.is_closed(*STRANGERS, port=port)


@on_each(HOSTS)
def test_two_instances_get_through_one_firewall(
    kind: str, host: str, network: Network
) -> None:
    set_up(host)
    first, second = make(kind), make(kind, OTHER)
    first.prepare()
    second.prepare()
    before = everything()
    assert not any(one.repair() for one in (first, second, first, second))
    assert everything() == before
    assert_both_work(first, second, network)
    second.remove()
    assert first.repair() is False
    assert "spassh-u" not in everything().lower()


@pytest.mark.parametrize("kind", KINDS)
def test_two_instances_with_two_back_ends_do_not_take_turns_either(
    kind: str, network: Network
) -> None:
    for host in ("iptables-nft", "iptables-legacy"):
        set_up(host)
    first, second = make("nftables"), make(kind, OTHER)
    for _ in range(2):
        first.prepare()
        second.prepare()
        first.repair()
        before = everything()
        assert not any(one.repair() for one in (second, first, second, first))
        assert everything() == before
        first, second = second, first
