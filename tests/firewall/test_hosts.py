"""Hosts that have a firewall already: a grant gets through, and theirs stays theirs."""

from ipaddress import ip_network

import pytest
from firewall.backends import MARK, ONCE_KINDS, SETTINGS, SSH, make, to
from firewall.hosts import (
    ACCEPTING,
    HOSTS,
    NATIVE,
    accept_ssh,
    load_anew,
    on_each,
    set_up,
)
from firewall.network import CLIENT, STRANGER, Network, everything, sh

from spassh_server.firewall import Width
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

on_each_host = on_each(HOSTS)


@pytest.mark.parametrize("protect", [(), (SSH,)], ids=["open", "protected"])
@on_each_host
def test_a_grant_gets_through_a_host_that_drops(
    kind: str, host: str, protect: tuple[Port, ...], network: Network
) -> None:
    set_up(host)
    firewall = make(kind, SETTINGS._replace(protect=protect))
    firewall.prepare()
    assert network.is_closed(*EVERYBODY)
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    sessions = [network.session(source) for source in CLIENTS]
    assert network.is_closed(*STRANGERS)
    assert network.is_closed(*EVERYBODY, port=80)
    for source in CLIENTS:
        firewall.revoke(to(source))
    assert network.is_closed(*EVERYBODY)
    assert all(session.lives() for session in sessions)


@pytest.mark.parametrize("own_drop", [True, False], ids=["ours too", "only theirs"])
@on_each_host
def test_grants_of_all_widths_get_through_a_host_that_drops(
    kind: str, host: str, own_drop: bool, network: Network
) -> None:
    set_up(host)
    always = (ip_network(STRANGER[4]), ip_network(STRANGER[6]))
    settings = SETTINGS._replace(own_drop=own_drop, always_allow=always)
    firewall = make(kind, settings)
    firewall.prepare()
    assert network.is_open(*STRANGERS)
    assert network.is_closed(*EVERYBODY, port=80)
    for source in CLIENTS:
        firewall.grant(to(source, SSH, Width.FLOW, 40001), 60)
        assert network.answer(source, source_port=40002, patience=0.03) != "open"
        sessions = [network.session(source, source_port=40001)]
        if kind in ONCE_KINDS:
            firewall.grant(to(source, SSH, Width.ONCE), 60)
            sessions.append(network.session(source))
        assert network.is_closed(source)
        assert all(session.lives() for session in sessions)
    firewall.remove()
    assert network.is_closed(*EVERYBODY)


@on_each_host
def test_a_firewall_that_was_loaded_anew_is_mended(
    kind: str, host: str, network: Network
) -> None:
    set_up(host)
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert firewall.repair() is False
    load_anew(host)
    assert network.is_closed(*CLIENTS)
    assert firewall.repair() is True
    assert firewall.repair() is False
    # Grants that are rules went with the other rules of iptables.
    if "nftables" in kind or kind.endswith("ipset"):
        assert network.is_open(*CLIENTS)
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_closed(*STRANGERS)


SOME_HOSTS = ["iptables-nft", "iptables-legacy", "nftables that drops"]


@pytest.mark.parametrize(
    ("kind", "host"),
    [(kind, host) for kind, host in HOSTS if host in SOME_HOSTS],
    ids=str,
)
def test_a_rule_that_was_pushed_down_is_put_back(
    kind: str, host: str, network: Network
) -> None:
    set_up(host)
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    if host in NATIVE:
        sh("nft", "insert rule inet host input tcp dport 22 drop")
    else:
        for program in ("iptables", "ip6tables"):
            command = "-I INPUT -p tcp --dport 22 -j DROP"
            sh(host.replace("iptables", program), *command.split())
    assert network.is_closed(*CLIENTS)
    assert firewall.repair() is True
    assert firewall.repair() is False
    assert network.is_open(*CLIENTS)
    assert network.is_closed(*STRANGERS)


@pytest.mark.parametrize("host", ACCEPTING)
def test_an_accept_of_others_opens_no_protected_port(
    kind: str, host: str, network: Network
) -> None:
    """Be it there before us, or put before us later, once we have looked.

    In nftables an accept ends the way through one chain, and the next one judges the
    packet all the same, whatever their priorities. It is final among the rules of one
    variant of iptables alone, which are one chain: there ours have to be the first.
    """
    accept_ssh(host, first=False)
    assert network.is_open(*EVERYBODY)
    firewall = make(kind)
    firewall.prepare()
    assert network.is_silent(*EVERYBODY)
    accept_ssh(host, first=True)
    is_before_us = kind.startswith(host)
    assert (network.is_open if is_before_us else network.is_silent)(*EVERYBODY)
    assert firewall.repair() or not is_before_us
    assert firewall.repair() is False
    assert network.is_silent(*EVERYBODY)
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)


@pytest.mark.parametrize(
    "kind", ["nftables", "iptables-nft with ipset", "iptables-legacy"]
)
def test_rules_of_others_survive_to_the_byte(kind: str, network: Network) -> None:
    sh(*["ip", "link", "set", "veth0", "down"])  # nothing may move a counter
    sh("nft", "-f", "-", text=NATIVE["nftables that drops in another chain"])
    sh("nft", "-f", "-", text=STRANGE_RULES)
    for variant in ("nft", "legacy"):
        set_up(f"iptables-{variant}")
        for program in ("iptables", "ip6tables"):
            sh(f"{program}-{variant}-restore", "--noflush", text=MORE_RULES)
    before = everything()
    firewall = make(kind)
    for _ in range(2):
        firewall.prepare()
        firewall.grant(to(CLIENT[4]), 60)
        firewall.repair()
    assert everything() != before
    firewall.remove()
    assert everything() == before


STRANGE_RULES = """
    table inet later {
        flags dormant
        chain input {
            type filter hook input priority 10; policy drop
        }
    }
    table inet before {
        chain input {
            type filter hook input priority -20; policy accept
            tcp dport 1 drop
        }
    }
    table bridge link {
        chain input {
            type filter hook input priority 0; policy drop
        }
    }
    table ip odd.name {
        chain in-put {
            type filter hook input priority 5; policy drop
            ip saddr 198.51.100.7 log prefix "x" accept comment "spassh-t:0x1 and more"
        }
    }
"""
# The first two have something of ours in them, and are not ours.
MORE_RULES = """*filter
:OTHERS - [0:0]
-A INPUT -m comment --comment "spassh-t:0x20000000" -j OTHERS
-A INPUT -m mark --mark 0x20000000/0x20000000 -m comment --comment "mine" -j ACCEPT
-A INPUT -p tcp -m tcp --dport 25 -m comment --comment "it's a \\"quote\\"" -j DROP
-A OTHERS -j RETURN
COMMIT
*mangle
:PREROUTING ACCEPT
-A PREROUTING -j MARK --set-xmark 0x1/0xff
COMMIT
"""


@pytest.mark.parametrize("host", ["no firewall", *SOME_HOSTS])
def test_a_mark_that_a_packet_comes_with_opens_nothing(
    host: str, network: Network
) -> None:
    if host != "no firewall":
        set_up(host)
    sh("nft", "-f", "-", text=MARKING)
    firewall = make("nftables")
    firewall.prepare()
    assert network.is_closed(*EVERYBODY)
    is_kept_out = network.is_closed if host in SOME_HOSTS else network.is_open
    assert is_kept_out(*EVERYBODY, port=80)


def test_the_other_bits_of_the_mark_are_left_alone(network: Network) -> None:
    sh("nft", "-f", "-", text=MARKING)
    firewall = make("nftables")
    firewall.prepare()
    assert network.is_open(CLIENT[4], port=80)
    assert (counted("plain"), counted("granted")) == (True, False)
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])
    assert counted("granted")


def counted(name: str) -> bool:
    """Tell whether the counter of that name saw a packet."""
    return "packets 0 " not in sh("nft", "list", "counter", "inet", "marking", name)


MARKING = f"""
table inet marking {{
    counter plain {{ }}
    counter granted {{ }}
    chain prerouting {{
        type filter hook prerouting priority mangle
        meta mark set {MARK | 0xFF:#x}
    }}
    chain input {{
        type filter hook input priority 20
        meta mark 0xff counter name plain
        meta mark {MARK | 0xFF:#x} counter name granted
    }}
}}
"""
