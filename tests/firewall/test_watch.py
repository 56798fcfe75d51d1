"""Which changes the granter hears of, from this kernel."""

import select

import pytest
from firewall.backends import SSH, make, to
from firewall.network import CLIENT, Network, sh

from spassh_server.firewall import Width
from spassh_server.firewall.netlink import message
from spassh_server.firewall.watch import Watch, is_change

NEW_RULE, NEW_ELEMENT = 10 << 8 | 6, 10 << 8 | 12


def heard(watch: Watch) -> bool:
    """Wait for what is told, and return whether it is a change."""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    assert poll.poll(10_000)
    return watch.drain()


@pytest.mark.parametrize("width", Width)
def test_a_grant_of_ours_is_no_change(network: Network, width: Width) -> None:
    firewall = make("nftables")
    firewall.prepare()
    watch = Watch()
    grant = to(CLIENT[4], SSH, width, 50_000 if width is Width.FLOW else 0)
    firewall.grant(grant, 60)
    assert not heard(watch)
    firewall.grant(grant, 90)
    assert not heard(watch)
    firewall.revoke(grant)
    assert not heard(watch)
    watch.close()


@pytest.mark.parametrize(
    "change",
    [
        ("add", "rule", "inet", "spassh-t", "input", "drop"),
        ("add", "table", "inet", "other"),
        ("delete", "table", "inet", "spassh-t"),
        ("flush", "ruleset"),
    ],
)
def test_a_rule_or_a_table_is_one_also_beside_a_grant(
    network: Network, change: tuple[str, ...]
) -> None:
    firewall = make("nftables")
    firewall.prepare()
    watch = Watch()
    firewall.grant(to(CLIENT[4]), 60)
    sh("nft", *change)
    assert heard(watch)
    watch.close()


def test_messages_that_are_cut_short_are_a_change() -> None:
    element = message(NEW_ELEMENT, 0, bytes(4))
    assert not is_change(element * 2)
    assert is_change(element + message(NEW_RULE, 0, bytes(4)))
    assert is_change(element[:-1])
