"""Hosts that have a firewall already: a grant gets through, and theirs stays theirs."""

import re

import pytest
from firewall.backends import MARK, SETTINGS, SSH, make, to
from firewall.network import CLIENT, STRANGER, Network, everything, sh

from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

NATIVE = {
    "nftables that drops": """
        table inet host {
            chain input {
                type filter hook input priority filter; policy drop
                ct state established accept
            }
        }
    """,
    # as firewalld does
    "nftables that rejects at its end": """
        table inet host {
            chain filter_INPUT {
                type filter hook input priority filter + 10; policy accept
                ct state established accept
                reject with icmpx admin-prohibited
            }
        }
    """,
    "nftables that drops in another chain": """
        table inet host {
            chain judge {
                drop
            }
            chain input {
                type filter hook input priority filter; policy accept
                ct state established accept
                meta l4proto vmap { tcp : jump judge }
            }
        }
    """,
    "nftables for each family": """
        table ip host {
            chain input {
                type filter hook input priority filter; policy drop
                ct state established accept
            }
        }
        table ip6 host {
            chain input {
                type filter hook input priority filter; policy drop
                ct state established accept
            }
        }
    """,
    # with a set, which iptables cannot read
    "nftables under the names of iptables": """
        table ip filter {
            set friends { type ipv4_addr; }
            chain INPUT {
                type filter hook input priority filter; policy drop
                ct state established accept
                ip saddr @friends accept
            }
        }
        table ip6 filter {
            set friends { type ipv6_addr; }
            chain INPUT {
                type filter hook input priority filter; policy drop
                ct state established accept
                ip6 saddr @friends accept
            }
        }
    """,
}


def set_up(host: str) -> None:
    """Give the server's namespace that kind of firewall."""
    if host in NATIVE:
        sh("nft", "-f", "-", text=NATIVE[host])
        return
    for program in ("iptables", "ip6tables"):
        lines = ["*filter", ":INPUT DROP"]
        lines.append("-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT")
        restore = host.replace("iptables", program) + "-restore"
        sh(restore, text="\n".join([*lines, "COMMIT", ""]))


def load_anew(host: str) -> None:
    """Do what a firewall does that is reloaded: forget all it had."""
    for table in re.findall(r"table (\w+ \w+)", NATIVE.get(host, "")):
        sh("nft", "delete", "table", *table.split())
    set_up(host)


HOSTS = [
    *(("nftables", host) for host in ("iptables-nft", "iptables-legacy", *NATIVE)),
    ("iptables-nft with ipset", "iptables-nft"),
    ("iptables-nft", "iptables-nft"),
    ("iptables-legacy with ipset", "iptables-legacy"),
    ("iptables-legacy", "iptables-legacy"),
]
on_each_host = pytest.mark.parametrize(
    ("kind", "host"), HOSTS, ids=[f"{kind} on {host}" for kind, host in HOSTS]
)


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
    if kind == "nftables" or kind.endswith("ipset"):
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
    assert network.is_closed(*EVERYBODY, port=80) == (host in SOME_HOSTS)


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
