"""What only the iptables back end has to do."""

import errno
import os
import re
import socket
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network

import pytest
from firewall.backends import SETTINGS, SSH, VARIANTS, left, make, only, packed, to
from firewall.inner import INNER, Inner
from firewall.network import (
    CLIENT,
    SERVER,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
    wait_for,
)

from spassh_server.firewall import (
    FirewallError,
    Forward,
    Settings,
    Width,
    ipsets,
    iptables,
)
from spassh_server.firewall.ipset_render import MAX_FLOW_PORTS
from spassh_server.firewall.iptables import Iptables
from spassh_server.firewall.netlink import Netlink
from spassh_server.firewall.run import run
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

TIMED = [kind for kind, (_, ipset) in VARIANTS.items() if not ipset]
each_kind = pytest.mark.parametrize("kind", VARIANTS)
IPSET = [kind for kind, (_, ipset) in VARIANTS.items() if ipset]
each_ipset_kind = pytest.mark.parametrize("kind", IPSET)
each_timed_kind = pytest.mark.parametrize("kind", TIMED)
each_variant = pytest.mark.parametrize("variant", ["-nft", "-legacy"])

SHELL = Port(6, 2222)
FORWARDS = tuple(Forward(SHELL, packed(INNER[version]), 22) for version in VERSIONS)
GATEWAY = SETTINGS._replace(forwards=FORWARDS, grant_ports=(SSH, SHELL))


def at(kind: str, seconds: float, settings: Settings = SETTINGS) -> Iptables:
    """Return a back end whose clock is that much ahead."""
    variant, ipset = VARIANTS[kind]
    settings = settings._replace(ipset=ipset)
    return Iptables(settings, lambda: time.time() + seconds, variant)


@each_timed_kind
def test_sweeping_deletes_what_has_expired_and_tells_when_to_come_again(
    kind: str, network: Network
) -> None:
    firewall = at(kind, 0)
    firewall.prepare()
    assert firewall.sweep() is None
    empty = everything()
    start = time.time()
    for seconds, source in zip((30, 60, 90, 120), EVERYBODY, strict=True):
        firewall.grant(to(source), seconds)
    following = firewall.sweep()
    assert following is not None
    assert start + 30 <= following <= time.time() + 31
    later = at(kind, 75)
    assert left(later).keys() == {to(source) for source in EVERYBODY[2:]}
    following = later.sweep()
    assert following is not None
    assert start + 90 <= following <= time.time() + 91
    assert left(firewall).keys() == {to(source) for source in EVERYBODY[2:]}
    assert at(kind, 150).sweep() is None
    assert everything() == empty


@each_timed_kind
def test_preparing_sweeps_what_a_crash_left_and_keeps_what_lives(
    kind: str, network: Network
) -> None:
    firewall = at(kind, 0)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    for source in STRANGERS:
        firewall.grant(to(source), 600)
    at(kind, 100).prepare()
    assert left(firewall).keys() == {to(source) for source in STRANGERS}
    assert network.is_silent(*CLIENTS)
    assert network.is_open(*STRANGERS)


@each_timed_kind
def test_a_clock_that_is_set_back_ends_a_grant(kind: str, network: Network) -> None:
    """Whoever gave it may be dead: it is the kernel that refuses."""
    ahead = at(kind, 3600, GATEWAY)
    ahead.prepare()
    empty = everything()
    for source in CLIENTS:
        for port in (SSH, SHELL):
            ahead.grant(to(source, port), 15)
    assert len(ahead.grants()) == 4
    assert network.is_silent(*EVERYBODY)
    with Inner(network) as inner:
        for source in CLIENTS:
            assert inner.session(source, SHELL.number, patience=0.1) is None
    firewall = at(kind, 0, GATEWAY)
    assert firewall.grants() == []
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    assert network.is_open(*CLIENTS)
    assert all(seconds <= 60 for seconds in left(firewall).values())
    for source in CLIENTS:
        firewall.revoke(to(source))
    assert firewall.sweep() is None
    assert everything() == empty
    ahead.grant(to(CLIENT[4]), 15)
    firewall.prepare()
    assert everything() == empty


@each_timed_kind
def test_a_clock_that_is_set_back_by_a_little_ends_no_grant(
    kind: str, network: Network
) -> None:
    """As NTP does it. The client that has just knocked must get in."""
    firewall = at(kind, 0)
    at(kind, 30).prepare()
    for source in CLIENTS:
        at(kind, 30).grant(to(source), 15)
    firewall.prepare()
    assert network.is_open(*CLIENTS)
    assert all(15 < seconds <= 45 for seconds in left(firewall).values())
    for source in CLIENTS:
        firewall.grant(to(source), 15)
    assert len(firewall.grants()) == 2
    for program in ("iptables", "ip6tables"):
        assert sh(program + VARIANTS[kind][0], "-S").count("--datestart") == 1


@each_timed_kind
def test_granting_again_replaces_the_rule(kind: str, network: Network) -> None:
    firewall = at(kind, 0)
    firewall.prepare()
    for source in CLIENTS:
        for seconds in (60, 120, 30):
            firewall.grant(to(source), seconds)
    for program in ("iptables", "ip6tables"):
        assert sh(program + VARIANTS[kind][0], "-S").count("--datestop") == 1


def test_the_last_second_in_a_set_is_not_shortened(network: Network) -> None:
    """The kernel says 1 for anything below 2."""
    firewall = make("iptables-legacy with ipset")
    firewall.prepare()
    start = time.monotonic()
    firewall.grant(to(CLIENT[4]), 2)
    firewall.grant(to(CLIENT[4]), 1)
    wait_for(partial(network.is_silent, CLIENT[4]), "the end of a grant")
    assert time.monotonic() - start > 1.9


def test_short_grants_do_not_keep_a_longer_one_alive(network: Network) -> None:
    firewall = make("iptables-legacy with ipset")
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 4)

    def seconds_left() -> int:
        firewall.grant(to(CLIENT[4]), 1)
        return left(firewall)[to(CLIENT[4])]

    wait_for(lambda: seconds_left() < 3, "a grant to come nearer to its end")


@each_kind
def test_grants_are_kept_when_our_chain_is_damaged(kind: str, network: Network) -> None:
    variant, _ = VARIANTS[kind]
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 60)
    intact = everything()
    assert firewall.repair() is False
    for program in ("iptables", "ip6tables"):
        sh(program + variant, "-I", "SPASSH-T", "1", "-j", "ACCEPT")
        assert firewall.repair() is True
        sh(program + variant, "-D", "SPASSH-T", "4")
        assert firewall.repair() is True
        sh(program + variant, "-D", "INPUT", "1")
        assert firewall.repair() is True
    assert everything() == intact
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)


@each_variant
def test_without_ip6tables_nothing_is_protected_and_it_says_so(
    variant: str,
    network: Network,
    tmp_path: os.PathLike[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"iptables{variant}"
    only([name, f"{name}-restore", "ipset"], tmp_path, monkeypatch)
    firewall = Iptables(SETTINGS, time.time, variant)
    assert firewall.unavailable() == f"ip6{name[2:]} not found"
    with pytest.raises(FirewallError, match=f"ip6{name[2:]}.* not found"):
        firewall.prepare()
    assert "-A SPASSH" not in everything()


@each_variant
def test_without_ip6tables_the_rest_can_be_removed(
    variant: str,
    network: Network,
    tmp_path: os.PathLike[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Iptables(SETTINGS, time.time, variant).prepare()
    name = f"iptables{variant}"
    only([name, f"{name}-restore", "ipset"], tmp_path, monkeypatch)
    with pytest.raises(FirewallError, match=f"ip6{name[2:]} not found"):
        Iptables(SETTINGS, time.time, variant).remove()
    assert network.is_open(CLIENT[4])
    assert network.is_silent(CLIENT[6])


@each_variant
def test_a_kernel_without_ipv6_needs_no_ip6tables(
    variant: str,
    network: Network,
    tmp_path: os.PathLike[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"iptables{variant}"
    only([name, f"{name}-restore"], tmp_path, monkeypatch)
    monkeypatch.setattr(iptables, "IPV6_MARKER", "/proc/net/no_such_file")
    firewall = Iptables(SETTINGS, time.time, variant)
    assert firewall.unavailable() is None
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])
    assert network.is_silent(STRANGER[4])
    with pytest.raises(FirewallError, match="cannot do IPv6"):
        firewall.grant(to(CLIENT[6]), 60)
    with pytest.raises(FirewallError, match="cannot do IPv6"):
        firewall.revoke(to(CLIENT[6]))


@each_kind
def test_ipv6_that_is_switched_off_for_now_is_protected_all_the_same(
    kind: str, network: Network
) -> None:
    switch = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
    with open(switch, "w", encoding="ascii") as file:
        file.write("1")
    firewall = make(kind)
    assert firewall.unavailable() is None
    firewall.prepare()
    with open(switch, "w", encoding="ascii") as file:
        file.write("0")
    sh(*f"ip addr add {'2001:db8::1'}/64 dev veth0 nodad".split())
    assert network.is_silent(STRANGER[6])


@each_variant
def test_without_ipset_each_grant_is_a_rule(
    variant: str,
    network: Network,
    tmp_path: os.PathLike[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Iptables(SETTINGS, time.time, variant).expires_by_itself
    names = [f"{name}{variant}" for name in ("iptables", "ip6tables")]
    restores = [f"{name}-restore" for name in names]
    only([*names, *restores], tmp_path, monkeypatch)
    firewall = Iptables(SETTINGS, time.time, variant)
    assert not firewall.expires_by_itself
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(CLIENT[4])


def test_a_set_of_our_name_that_somebody_else_made_is_left_alone(
    network: Network,
) -> None:
    sh(*["ipset", "create", "spassh-t-a4", "hash:net"])
    with pytest.raises(FirewallError, match="same name already exists"):
        make("iptables-nft with ipset").prepare()
    assert "hash:net" in sh("ipset", "save")
    assert network.is_open(*EVERYBODY)


def test_sets_go_even_if_the_settings_do_not_want_them_any_more(
    network: Network,
) -> None:
    make("iptables-legacy with ipset").prepare()
    make("iptables-legacy").prepare()
    assert "spassh-t-a4" in everything()
    make("iptables-legacy").remove()
    assert "spassh" not in everything()


@each_kind
def test_many_ports_can_be_protected(kind: str, network: Network) -> None:
    protect = tuple(Port(6, number) for number in range(20, 60))
    firewall = make(kind, SETTINGS._replace(protect=protect))
    firewall.prepare()
    assert firewall.repair() is False
    for version in VERSIONS:
        assert network.is_silent(CLIENT[version], port=59)
        assert network.answer(CLIENT[version], 60) == "refused"


@each_kind
def test_the_longest_names_are_not_too_long(kind: str, network: Network) -> None:
    settings = GATEWAY._replace(
        name="a-name-of-20-letters",
        grant_ports=(SSH, SHELL, Port(6, 65535)),
        forwards=tuple(forward._replace(masquerade=True) for forward in FORWARDS),
    )
    firewall = make(kind, settings)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source, Port(6, 65535), Width.FLOW, 40001), 60, "u" * 32)
        firewall.grant(to(source, SHELL, Width.FLOW, 40001), 60, "u" * 32)
    assert len(firewall.grants()) == 4
    assert firewall.repair() is False
    firewall.remove()
    assert "name-of-20" not in everything().lower()


@each_kind
def test_two_instances_do_not_take_turns_at_the_top(
    kind: str, network: Network
) -> None:
    first = make(kind, GATEWAY)
    second = make(kind, GATEWAY._replace(name="spassh-u", protect=(Port(6, 80),)))
    first.prepare()
    second.prepare()
    assert [first.repair(), second.repair(), first.repair()] == [False] * 3
    assert first.in_place()
    assert second.in_place()
    assert network.is_silent(*STRANGERS)
    assert network.is_silent(*STRANGERS, port=80)
    for source in CLIENTS:
        first.grant(to(source), 60)
        assert network.is_open(source)
    second.remove()
    assert first.repair() is False


@each_kind
def test_what_only_looks_like_another_instance_does_not_come_first(
    kind: str, network: Network
) -> None:
    variant, _ = VARIANTS[kind]
    firewall = make(kind)
    firewall.prepare()
    for program in ("iptables", "ip6tables"):
        sh(program + variant, "-N", "OTHERS")
        comment = ["-m", "comment", "--comment", "spassh-t 1/1"]
        sh(program + variant, "-A", "OTHERS", *comment, "-j", "DROP")
        sh(program + variant, "-I", "INPUT", "1", "-j", "OTHERS")
    assert not firewall.in_place()
    assert firewall.repair() is True
    assert firewall.repair() is False
    for source in CLIENTS:
        firewall.grant(to(source), 60)
        assert network.is_open(source)


# Each program once, and each way to keep grants: what is mended is nothing to them.
@pytest.mark.parametrize("kind", ["iptables-nft with ipset", "iptables-legacy"])
def test_every_chain_of_a_gateway_is_mended(kind: str, network: Network) -> None:
    variant, _ = VARIANTS[kind]
    hidden = tuple(forward._replace(masquerade=True) for forward in FORWARDS)
    firewall = make(kind, GATEWAY._replace(forwards=hidden))
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source, SHELL), 60, "alice")
    intact = everything()
    for program in ("iptables", "ip6tables"):
        for table, base, chain in (
            ("filter", "FORWARD", "SPASSH-T-forward"),
            *[("mangle", "PREROUTING", "SPASSH-T")] * (kind in IPSET),
            ("nat", "PREROUTING", "SPASSH-T"),
            ("nat", "POSTROUTING", "SPASSH-T-source"),
        ):
            change = partial(sh, program + variant, "-t", table)
            for command in (
                ["-D", base, "1"],
                ["-I", base, "1", "-j", "RETURN"],
                ["-F", chain],
                ["-A", chain, "-j", "RETURN"],
            ):
                change(*command)
                assert not firewall.in_place()
                assert firewall.repair() is True
                assert firewall.in_place()
            change("-D", base, "-j", "RETURN")
    assert len(firewall.grants()) == 2
    assert everything() == intact


@each_timed_kind
def test_sweeping_covers_forwards(kind: str, network: Network) -> None:
    firewall = at(kind, 0, GATEWAY)
    firewall.prepare()
    empty = everything()
    for source in CLIENTS:
        firewall.grant(to(source, SHELL), 30, "alice")
        firewall.grant(to(source, SHELL, Width.FLOW, 40001), 30, "alice")
    assert everything().count("40001") >= 4
    assert at(kind, 60, GATEWAY).grants() == []
    assert at(kind, 60, GATEWAY).sweep() is None
    assert everything() == empty


@each_ipset_kind
def test_a_packet_that_was_let_in_once_is_told_as_no_grant(
    kind: str, network: Network
) -> None:
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source, SSH, Width.ONCE), 60, "alice")
        assert network.is_open(source)
    assert firewall.grants() == []
    assert sh("ipset", "save").count("add ") == 2


@each_ipset_kind
def test_a_connection_that_has_a_flow_uses_up_nothing_else(
    kind: str, network: Network
) -> None:
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        given = {to(source, SSH, Width.ONCE), to(source, SSH, Width.FLOW, 40001)}
        for grant in given:
            firewall.grant(grant, 60)
        assert network.answer(source, source_port=40001) == "open"
        assert left(firewall).keys() == given
        for grant in given:
            firewall.revoke(grant)


@each_ipset_kind
def test_what_was_let_in_is_forgotten_when_a_grant_is_revoked(
    kind: str, network: Network
) -> None:
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        for width in (Width.ONCE, Width.ADDRESS):
            firewall.grant(to(source, SSH, Width.ONCE), 60)
            assert network.answer(source, source_port=40001 + width) == "open"
            assert "add " in sh("ipset", "save")
            firewall.grant(to(source, SSH, Width.FLOW, 50000), 60)
            firewall.revoke(to(source, SSH, width))
            firewall.revoke(to(source, SSH, Width.FLOW, 50000))
            assert "add " not in sh("ipset", "save")


@each_ipset_kind
def test_sets_that_are_not_needed_any_more_go(kind: str, network: Network) -> None:
    old = ["spassh-t-4", "spassh-t-6", "spassh-t-f4-t99"]
    for name in (*old, "spassh-t-x-a4", "spassh-tt-a4", "other"):
        sh("ipset", "create", name, "hash:ip,port", "timeout", "1")
    sh(*f"iptables{VARIANTS[kind][0]} -A OUTPUT -m set --match-set".split(), *OLD_USE)
    make(kind).prepare()
    present = sh("ipset", "list", "-name").split()
    assert {"spassh-t-x-a4", "spassh-tt-a4", "other", "spassh-t-f4-t99"} <= {*present}
    assert not {"spassh-t-4", "spassh-t-6"} & {*present}


OLD_USE = ["spassh-t-f4-t99", "src,src"]


@each_ipset_kind
def test_with_too_many_ports_grants_are_for_addresses(
    kind: str, network: Network
) -> None:
    ports = tuple(Port(6, 1000 + number) for number in range(MAX_FLOW_PORTS))
    firewall = make(kind, GATEWAY._replace(grant_ports=(SSH, SHELL, *ports)))
    assert firewall.widths == {Width.ADDRESS}
    firewall.prepare()
    assert firewall.repair() is False
    with Inner(network) as inner:
        for source in CLIENTS:
            with pytest.raises(FirewallError, match="flow"):
                firewall.grant(to(source, SSH, Width.FLOW, 40001), 60)
            firewall.revoke(to(source, SSH, Width.FLOW, 40001))
            firewall.grant(to(source, SHELL), 60)
            assert inner.session(source, SHELL.number) is not None
        assert [text for text in firewall.warnings() if "grant_ports" in text]


@each_kind
def test_networks_that_need_no_grant_may_overlap(kind: str, network: Network) -> None:
    always = map(ip_network, ("192.0.2.2/31", "192.0.2.2/32", "2001:db8::2/127"))
    protect = (SSH, *(Port(6, number) for number in range(30, 60)))
    settings = SETTINGS._replace(always_allow=tuple(always), protect=protect)
    firewall = make(kind, settings)
    firewall.prepare()
    assert firewall.repair() is False
    assert network.is_open(*EVERYBODY)
    assert network.answer(CLIENT[4], 59) == "refused"
    changed = make(kind, settings._replace(always_allow=(ip_network("192.0.2.2"),)))
    changed.prepare()
    assert network.is_open(CLIENT[4])
    assert network.is_silent(*EVERYBODY[1:])


OTHERS = """
table inet host {
    chain input { type filter hook input priority 10; policy drop; }
    chain output { type filter hook output priority 10; policy drop; }
    chain forward { type filter hook forward priority 10; tcp dport 25 reject; }
    chain calm { type filter hook input priority 20; tcp dport 25 accept; }
}
"""


@each_kind
def test_it_warns_of_firewalls_that_it_does_not_lead_through(
    kind: str, network: Network
) -> None:
    firewall = make(kind)
    firewall.prepare()
    assert firewall.warnings() == []
    sh("nft", "-f", "-", text=OTHERS)
    (warning,) = firewall.warnings()
    assert "inet host input" in warning
    variant = "-legacy" if VARIANTS[kind][0] == "-nft" else "-nft"
    sh(f"iptables{variant}", "-A", "INPUT", "-p", "udp", "-j", "REJECT")
    sh(f"ip6tables{variant}", "-P", "INPUT", "DROP")
    before = everything()
    warnings = "\n".join(firewall.warnings())
    assert everything() == before
    names = {
        "-legacy": ["INPUT of iptables-legacy", "INPUT of ip6tables-legacy"],
        "-nft": ["ip filter INPUT", "ip6 filter INPUT"],
    }
    for name in ("inet host input", *names[variant]):
        assert name in warnings
    assert "forward" not in warnings
    with Inner(network):
        assert "inet host forward" in "\n".join(make(kind, GATEWAY).warnings())


@each_variant
def test_no_table_is_made_for_nothing(variant: str, network: Network) -> None:
    firewall = Iptables(SETTINGS, time.time, variant)
    firewall.prepare()
    firewall.warnings()
    firewall.repair()
    firewall.remove()
    assert "nat" not in everything()
    assert "mangle" not in everything()


def test_without_ipset_it_says_what_is_missing(
    network: Network, tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["iptables-nft", "ip6tables-nft"]
    only([*names, *(f"{name}-restore" for name in names)], tmp_path, monkeypatch)
    (warning,) = Iptables(SETTINGS, time.time, "-nft").warnings()
    assert "apt install ipset" in warning
    assert Iptables(SETTINGS._replace(ipset=False), time.time, "-nft").warnings() == []


def close_forward(variant: str) -> None:
    """Have a gateway that lets nothing through, not even sessions: as Docker does."""
    for program in ("iptables", "ip6tables"):
        sh(program + variant, "-P", "FORWARD", "DROP")


@each_kind
def test_sessions_need_nothing_of_a_gateway_that_lets_nothing_through(
    kind: str, network: Network
) -> None:
    close_forward(VARIANTS[kind][0])
    firewall = make(kind, GATEWAY._replace(own_drop=False))
    firewall.prepare()
    with Inner(network) as inner:
        for source in CLIENTS:
            firewall.grant(to(source, SHELL), 60)
            session = inner.session(source, SHELL.number)
            assert session is not None
            firewall.revoke(to(source, SHELL))
            assert session.lives()
            assert inner.session(source, SHELL.number, patience=0.1) is None


@each_kind
def test_errors_of_the_inner_host_get_back_to_the_client(
    kind: str, network: Network
) -> None:
    """Without "too big", a session hangs as soon as the client sends much."""
    close_forward(VARIANTS[kind][0])
    names = Port(17, 5353)
    forwards = tuple(forward._replace(port=names, number=53) for forward in FORWARDS)
    settings = SETTINGS._replace(forwards=forwards, grant_ports=(SSH, names))
    firewall = make(kind, settings)
    firewall.prepare()
    with Inner(network):
        for version in VERSIONS:
            firewall.grant(to(CLIENT[version], names), 60)
            with network.client_socket(CLIENT[version], socket.SOCK_DGRAM) as sock:
                sock.settimeout(3)
                sock.connect((SERVER[version], names.number))
                sock.send(b"is anybody there?")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(1)


@pytest.mark.parametrize("own_drop", [True, False])
@each_kind
def test_who_others_send_to_the_same_place_is_not_let_through_by_us(
    kind: str, own_drop: bool, network: Network
) -> None:
    variant, _ = VARIANTS[kind]
    for version, program in ((4, "iptables"), (6, "ip6tables")):
        host = f"[{INNER[version]}]" if version == 6 else INNER[version]
        rule = f"-t nat -A PREROUTING -p tcp --dport {SHELL.number} -j DNAT"
        sh(program + variant, *rule.split(), "--to-destination", f"{host}:22")
    firewall = make(kind, GATEWAY._replace(own_drop=own_drop))
    with Inner(network) as inner:
        for source in EVERYBODY:
            assert inner.session(source, SHELL.number) is not None
        if not own_drop:
            close_forward(variant)
        firewall.prepare()
        for source in CLIENTS:
            firewall.grant(to(source, SHELL), 60)
            assert inner.session(source, SHELL.number) is not None
        for source in STRANGERS:
            assert inner.session(source, SHELL.number, patience=0.1) is None


@pytest.mark.parametrize("number", [4, 6])
@pytest.mark.parametrize("width", Width)
def test_a_grant_is_listed_as_one_that_ipset_has_added(
    network: Network, monkeypatch: pytest.MonkeyPatch, number: int, width: Width
) -> None:
    """And takes no program, for which a client would have to wait."""
    firewall = make("iptables-nft with ipset")
    grant = to(CLIENT[number], SSH, width, 50_000 if width is Width.FLOW else 0)
    started: list[str] = []
    seen = []
    for fast in (True, False):
        firewall.remove()
        firewall.prepare()
        if not fast:
            monkeypatch.setattr(Netlink, "ask", refuse)
        with monkeypatch.context() as patch:
            patch.setattr(ipsets, "run", noting(run, started))
            firewall.grant(grant, 60, "ada")
        assert started == ([] if fast else ["ipset"])
        (one,) = firewall.grants()
        assert 0 < one.seconds_left <= 60
        listed = re.sub(r"(timeout|initval) \w+", "", sh("ipset", "save"))
        seen.append((one.grant, one.user, listed))
    assert seen[0] == seen[1]
    assert seen[0][:2] == (grant, "ada")


def refuse(*_: object) -> list[bytes]:
    raise OSError(errno.EINVAL, "netlink: the kernel refused")


def noting(whole: Callable[..., bytes], started: list[str]) -> Callable[..., bytes]:
    def noted(*argv: str, **options: bytes) -> bytes:
        started.append(argv[0])
        return whole(*argv, **options)

    return noted
