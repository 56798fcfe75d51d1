"""Chains of iptables with a rule of nft that iptables cannot print, and so not list."""

import time
from ipaddress import ip_network

import pytest
from firewall.backends import MARK, SETTINGS, VARIANTS, make, to
from firewall.inner import Inner
from firewall.network import CLIENT, STRANGER, Network, everything, sh
from firewall.test_forwards import GATEWAY, SHELL

from spassh_server.firewall import FirewallError
from spassh_server.firewall.nftables_sets import FAMILIES
from spassh_server.firewall.select import choose, others
from spassh_server.firewall.xtables import Xtables

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
PROGRAMS = ("iptables-nft", "ip6tables-nft")

each_kind = pytest.mark.parametrize(
    "kind", [kind for kind, (variant, _) in VARIANTS.items() if variant == "-nft"]
)


def set_up(*chains: str) -> None:
    """Have a rule that sessions need in each of these chains."""
    for program in PROGRAMS:
        for chain in chains:
            rule = f"-A {chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT"
            sh(program, *rule.split())


# iptables gets past the second one when it looks for a rule to delete.
FIB = "fib daddr type local"
LIMIT = "limit rate over 1000000/second"


def hide(*chains: str, command: str = "add", rule: str = FIB) -> None:
    """Have nft put such a rule into each of these chains, last or first."""
    for version, family in FAMILIES.items():
        for chain in chains:
            sh("nft", f"{command} rule {family} filter {chain} {rule}")
            assert Xtables(version, "-nft").listing(chain) is None


def reveal() -> None:
    """Take those rules out of INPUT again."""
    for family in FAMILIES.values():
        place = [family, "filter", "INPUT"]
        for line in sh("nft", "-a", "list", "chain", *place).splitlines():
            if FIB in line or LIMIT in line:
                handle = line.rpartition(" ")[2]
                sh("nft", "delete", "rule", *place, "handle", handle)


def jumps() -> int:
    return everything().count("jump SPASSH-T\n")


@each_kind
def test_one_jump_leads_to_our_chain_and_it_is_told_that_it_may_not_be_first(
    kind: str, network: Network
) -> None:
    set_up("INPUT")
    hide("INPUT")
    firewall = make(kind)
    assert firewall.unavailable() is None
    for _ in range(2):
        firewall.prepare()
        for _ in range(3):
            with pytest.raises(FirewallError, match="ip6tables-nft cannot list INPUT"):
                firewall.repair()
    assert jumps() == 2
    with pytest.raises(FirewallError, match="cannot list INPUT") as caught:
        firewall.in_place()
    assert 'backend = "nftables"' in caught.value.hint
    assert "\n".join(firewall.warnings()).count("cannot list INPUT") == 2
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)
    reveal()
    assert firewall.repair() is False
    assert "cannot list" not in "\n".join(firewall.warnings())


@each_kind
def test_a_jump_that_is_missing_comes_back(kind: str, network: Network) -> None:
    set_up("INPUT")
    hide("INPUT")
    firewall = make(kind)
    firewall.prepare()
    intact = everything()
    sh("ip6tables-nft", "-D", "INPUT", "-j", "SPASSH-T")
    assert network.is_open(STRANGER[6])
    with pytest.raises(FirewallError, match="iptables-nft cannot list INPUT"):
        firewall.repair()  # IPv4 has one: that does not keep IPv6 from its own
    assert everything() == intact
    assert network.is_silent(*STRANGERS)


@pytest.mark.parametrize("command", ["add", "insert"])
@each_kind
def test_all_of_ours_can_be_removed(kind: str, command: str, network: Network) -> None:
    set_up("INPUT", "FORWARD")
    make(kind, GATEWAY).prepare()
    make(kind, GATEWAY).remove()  # iptables keeps the tables that it made for us
    hide("INPUT", "FORWARD", command=command)
    before = everything()
    with Inner(network) as inner:
        gateway = make(kind, GATEWAY)
        gateway.prepare()
        for source in CLIENTS:
            gateway.grant(to(source, SHELL), 60)
            assert inner.session(source, SHELL.number) is not None
    for program in PROGRAMS:
        # As an earlier version did for as long as it ran.
        sh(program, "-I", "INPUT", "-j", "SPASSH-T")
    assert network.is_silent(*STRANGERS)
    make(kind, GATEWAY).remove()
    assert everything() == before
    assert network.is_open(*STRANGERS)


@each_kind
def test_our_own_chain_is_mended_and_removed_if_it_cannot_be_listed(
    kind: str, network: Network
) -> None:
    set_up("INPUT")
    before = everything()
    firewall = make(kind)
    firewall.prepare()
    hide("SPASSH-T", command="insert")
    assert firewall.repair() is True
    assert firewall.repair() is False
    hide("SPASSH-T")
    firewall.remove()
    assert everything() == before


def test_another_back_end_can_take_over(network: Network) -> None:
    set_up("INPUT")
    old, _ = choose("iptables", SETTINGS, time.time)
    old.prepare()
    old.remove()
    hide("INPUT")
    before = everything()
    choose("iptables", SETTINGS, time.time)[0].prepare()
    assert network.is_silent(*STRANGERS)
    new, _ = choose("nftables", SETTINGS, time.time)
    new.prepare()
    for other in others(new, SETTINGS, time.time):
        other.remove()
    assert "SPASSH-T" not in everything()
    for source in CLIENTS:
        new.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    new.remove()
    assert everything() == before


@pytest.mark.parametrize(
    ("command", "rule"), [("add", FIB), ("add", LIMIT), ("insert", LIMIT)]
)
def test_the_rule_of_the_nftables_back_end_survives_it_and_can_be_removed(
    command: str, rule: str, network: Network
) -> None:
    for program in PROGRAMS:
        sh(program, "-P", "INPUT", "DROP")
    set_up("INPUT")
    plain = everything()
    always = tuple(map(ip_network, STRANGERS))
    firewall = make("nftables", SETTINGS._replace(always_allow=always))
    firewall.prepare()
    for _ in range(2):
        hide("INPUT", command=command, rule=rule)
        firewall.repair()
        assert firewall.repair() is False
        assert network.is_open(*STRANGERS)
        reveal()
        firewall.repair()
        assert firewall.repair() is False
        assert network.is_open(*STRANGERS)
        assert everything().count(f"mark & {MARK:#x} == {MARK:#x}") == 2
    hide("INPUT", command=command, rule=rule)
    firewall.repair()
    firewall.remove()
    reveal()
    assert everything() == plain


def test_a_rule_that_iptables_does_not_find_goes_as_well(network: Network) -> None:
    set_up("INPUT")
    plain = everything()
    firewall = make("nftables")
    firewall.prepare()
    hide("INPUT", command="insert")
    firewall.remove()
    reveal()
    assert everything() == plain
    assert network.is_open(*STRANGERS)
