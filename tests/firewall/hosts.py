"""Firewalls that a host may have already."""

import re

import pytest
from firewall.network import sh

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

# The rules that dockerd up to 27 makes if it had to switch forwarding on itself, and a
# container with `-p 2222:22`. Answers may pass to its containers only.
DOCKER = """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {containers} ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 2222 -j DNAT --to-destination {container}
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
"""

_CONTAINERS = {
    "iptables": {
        "loopback": "127.0.0.0/8",
        "containers": "172.17.0.0/16",
        "container": "172.17.0.2:22",
    },
    "ip6tables": {
        "loopback": "::1/128",
        "containers": "fd00:17::/64",
        "container": "[fd00:17::2]:22",
    },
}

_SAME_VARIANT = [
    ("iptables-nft with ipset", "iptables-nft"),
    ("iptables-nft", "iptables-nft"),
    ("iptables-legacy with ipset", "iptables-legacy"),
    ("iptables-legacy", "iptables-legacy"),
]

HOSTS = [
    *(("nftables", host) for host in ("iptables-nft", "iptables-legacy", *NATIVE)),
    ("nftables by program", "nftables that drops"),
    *_SAME_VARIANT,
]

FORWARD_HOSTS = [
    ("nftables", "iptables-nft"),
    ("nftables", "iptables-legacy"),
    ("nftables", "nftables that drops"),
    ("nftables", "nftables that rejects at its end"),
    ("nftables", "nftables under the names of iptables"),
    ("nftables", "docker"),
    ("iptables-nft with ipset", "docker"),
    *_SAME_VARIANT,
]


def on_each(hosts: list[tuple[str, str]]) -> pytest.MarkDecorator:
    """Run a test with each `kind` of back end on a `host` with that firewall."""
    names = [f"{kind} on {host}" for kind, host in hosts]
    return pytest.mark.parametrize(("kind", "host"), hosts, ids=names)


def set_up(host: str) -> None:
    """Give the server's namespace that kind of firewall."""
    _set_up(host, "INPUT")


def set_up_forward(host: str) -> None:
    """Give it one that is about forwarded packets instead."""
    _set_up(host, "FORWARD")


ACCEPTING = ["iptables-nft", "iptables-legacy", "filter", "filter - 5", "raw"]
"""Firewalls that accept: iptables, and chains of nftables by their priority."""


def accept_ssh(host: str, *, first: bool) -> None:
    """Have one of `ACCEPTING` accept who connects to port 22, `first` of all or not."""
    if "iptables" in host:
        for program in ("iptables", "ip6tables"):
            command = f"-{'I' if first else 'A'} INPUT -p tcp --dport 22 -j ACCEPT"
            sh(host.replace("iptables", program), *command.split())
        return
    hook = f"{{ type filter hook input priority {host}; }}"
    verb = "insert" if first else "add"
    sh("nft", f"add table inet open; add chain inet open input {hook};")
    sh("nft", f"{verb} rule inet open input tcp dport 22 accept")


def load_anew(host: str) -> None:
    """Do what a firewall does that is reloaded: forget all it had."""
    for table in re.findall(r"table (\w+ \w+)", NATIVE.get(host, "")):
        sh("nft", "delete", "table", *table.split())
    set_up(host)


def _set_up(host: str, chain: str) -> None:
    if host in NATIVE:
        text = NATIVE[host].replace("INPUT", chain)
        sh("nft", "-f", "-", text=text.replace("hook input", f"hook {chain.lower()}"))
        return
    if host == "docker":
        for program, names in _CONTAINERS.items():
            sh(f"{program}-nft-restore", text=DOCKER.format(**names))
        return
    for program in ("iptables", "ip6tables"):
        lines = ["*filter", f":{chain} DROP"]
        lines.append(f"-A {chain} -m conntrack --ctstate ESTABLISHED -j ACCEPT")
        restore = host.replace("iptables", program) + "-restore"
        sh(restore, text="\n".join([*lines, "COMMIT", ""]))
