"""What only the iptables back end has to do."""

import os
import time
from functools import partial

import pytest
from firewall.backends import SETTINGS, VARIANTS, make, only, to
from firewall.network import (
    CLIENT,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
    wait_for,
)

from spassh_server.firewall import FirewallError, iptables
from spassh_server.firewall.iptables import Iptables
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

TIMED = [kind for kind, (_, ipset) in VARIANTS.items() if not ipset]
each_kind = pytest.mark.parametrize("kind", VARIANTS)
each_timed_kind = pytest.mark.parametrize("kind", TIMED)
each_variant = pytest.mark.parametrize("variant", ["-nft", "-legacy"])


def at(kind: str, seconds: float) -> Iptables:
    """Return a back end whose clock is that much ahead."""
    variant, ipset = VARIANTS[kind]
    settings = SETTINGS._replace(ipset=ipset)
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
    assert dict(later.grants()).keys() == {to(source) for source in EVERYBODY[2:]}
    following = later.sweep()
    assert following is not None
    assert start + 90 <= following <= time.time() + 91
    assert dict(firewall.grants()).keys() == {to(source) for source in EVERYBODY[2:]}
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
    assert dict(firewall.grants()).keys() == {to(source) for source in STRANGERS}
    assert network.is_silent(*CLIENTS)
    assert network.is_open(*STRANGERS)


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
        ((_, left),) = firewall.grants()
        return left

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
    sh(*["ipset", "create", "spassh-t-4", "hash:net"])
    with pytest.raises(FirewallError, match="same name already exists"):
        make("iptables-nft with ipset").prepare()
    assert "hash:net" in sh("ipset", "save")
    assert network.is_open(*EVERYBODY)


def test_sets_go_even_if_the_settings_do_not_want_them_any_more(
    network: Network,
) -> None:
    make("iptables-legacy with ipset").prepare()
    make("iptables-legacy").prepare()
    assert "spassh-t-4" in everything()
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
