"""The rules that nftables gets, to the byte."""

import string
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import BARE, GRANT4, SETTINGS, SSH, settings

from spassh_server.firewall import ActiveGrant, FirewallError, Settings, Width
from spassh_server.firewall.nftables_forward import forward_chains
from spassh_server.firewall.nftables_render import (
    Chain,
    Hook,
    input_chain,
    render_comments,
    render_remove,
    render_table,
)
from spassh_server.firewall.nftables_sets import render_hold
from spassh_server.ports import Port

ALL = frozenset(Width)
NOT_ONCE = ALL - {Width.ONCE}
ALLOWED = set(string.ascii_letters + string.digits + ' -_.:;,@{}()&|!="/\n')

TABLE = """\
add table inet spassh
add set inet spassh granted4 { type ipv4_addr . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add set inet spassh flow4 { type ipv4_addr . inet_service . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add set inet spassh once4 { type ipv4_addr . inet_proto . inet_service;\
 size 65535; flags timeout, dynamic; timeout 15s; limit rate 1/week burst 1 packets; }
add set inet spassh begun4 { type ipv4_addr . inet_service . inet_proto . inet_service;\
 size 65535; flags timeout, dynamic; timeout 10s; }
add set inet spassh granted6 { type ipv6_addr . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add set inet spassh flow6 { type ipv6_addr . inet_service . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add set inet spassh once6 { type ipv6_addr . inet_proto . inet_service;\
 size 65535; flags timeout, dynamic; timeout 15s; limit rate 1/week burst 1 packets; }
add set inet spassh begun6 { type ipv6_addr . inet_service . inet_proto . inet_service;\
 size 65535; flags timeout, dynamic; timeout 10s; }
add set inet spassh trial { type inet_proto . inet_service; flags timeout; timeout 1s; }
add chain inet spassh input { type filter hook input priority -10; policy accept; }
flush chain inet spassh input
add rule inet spassh input meta mark set meta mark and 0xdfffffff\
 comment "spassh 1/14 c91ff807"
add rule inet spassh input ip saddr . meta l4proto . th dport @granted4\
 meta mark set meta mark or 0x20000000 accept comment "spassh 2/14"
add rule inet spassh input ip saddr . th sport . meta l4proto . th dport @flow4\
 meta mark set meta mark or 0x20000000 accept comment "spassh 3/14"
add rule inet spassh input ip saddr . th sport . meta l4proto . th dport @begun4\
 meta mark set meta mark or 0x20000000 accept comment "spassh 4/14"
add rule inet spassh input tcp flags & (fin | syn | rst | ack) == syn\
 ip saddr . meta l4proto . th dport @once4\
 add @begun4 { ip saddr . th sport . meta l4proto . th dport }\
 delete @once4 { ip saddr . meta l4proto . th dport }\
 meta mark set meta mark or 0x20000000 accept comment "spassh 5/14"
add rule inet spassh input ip6 saddr . meta l4proto . th dport @granted6\
 meta mark set meta mark or 0x20000000 accept comment "spassh 6/14"
add rule inet spassh input ip6 saddr . th sport . meta l4proto . th dport @flow6\
 meta mark set meta mark or 0x20000000 accept comment "spassh 7/14"
add rule inet spassh input ip6 saddr . th sport . meta l4proto . th dport @begun6\
 meta mark set meta mark or 0x20000000 accept comment "spassh 8/14"
add rule inet spassh input tcp flags & (fin | syn | rst | ack) == syn\
 ip6 saddr . meta l4proto . th dport @once6\
 add @begun6 { ip6 saddr . th sport . meta l4proto . th dport }\
 delete @once6 { ip6 saddr . meta l4proto . th dport }\
 meta mark set meta mark or 0x20000000 accept comment "spassh 9/14"
add rule inet spassh input tcp dport { 22, 443 }\
 tcp flags & (fin | syn | rst | ack) != syn ct state established accept\
 comment "spassh 10/14"
add rule inet spassh input tcp dport { 22, 443 } drop comment "spassh 11/14"
add rule inet spassh input udp dport { 53 } ct state established accept\
 comment "spassh 12/14"
add rule inet spassh input udp dport { 53 } drop comment "spassh 13/14"
add rule inet spassh input udp dport 62201 drop comment "spassh 14/14"
delete set inet spassh trial
"""


def table(settings: Settings, *, anew: bool, kept: tuple[ActiveGrant, ...] = ()) -> str:
    return render_table(
        settings, ALL, [input_chain(settings, ALL)], anew=anew, kept=kept
    )


def rules(settings: Settings, widths: frozenset[Width] = ALL) -> list[str]:
    return input_chain(settings, widths).rules


def test_the_table_is_added_to_what_is_there() -> None:
    assert table(SETTINGS, anew=False) == TABLE


def test_anew_it_is_deleted_first_and_in_the_same_transaction() -> None:
    start = "add table inet spassh\ndelete table inet spassh\n"
    end = (
        'add element inet spassh granted4 { 192.0.2.2 . 6 . 22 timeout 9s comment "a" }'
    )
    kept = (ActiveGrant(GRANT4, 9, "a"), ActiveGrant(GRANT4, 0))
    assert f"{start}{TABLE}{end}\n" == table(SETTINGS, anew=True, kept=kept)


def test_other_ports_are_another_chain() -> None:
    """They are in one rule, whose comment would be the same."""
    fewer = SETTINGS._replace(protect=(SSH, Port(17, 53)))
    on_trial = fewer._replace(protect=(Port(17, 53),), trial=(SSH,))
    comments = {
        tuple(render_comments("spassh", input_chain(one, ALL)))
        for one in (SETTINGS, fewer, on_trial)
    }
    assert len(comments) == 3


def test_with_nothing_to_protect_only_the_knock_port_is_dropped() -> None:
    found = rules(BARE)
    assert [rule for rule in found if "drop" in rule] == ["udp dport 62201 drop"]
    assert not [rule for rule in found if "ct " in rule], "nor is anything tracked"


def test_what_is_on_trial_is_dropped_while_the_set_has_it() -> None:
    on_trial = BARE._replace(trial=(SSH, Port(6, 2222)))
    ports = "tcp dport { 22, 2222 }"
    whole = "tcp flags & (fin | syn | rst | ack) != syn"
    assert rules(on_trial) == [
        *rules(BARE)[:-1],
        f"{ports} meta l4proto . th dport != @trial accept",
        f"{ports} {whole} ct state established accept",
        f"{ports} drop",
        "udp dport 62201 drop",
    ]
    assert "delete set" not in table(on_trial, anew=False)


def test_what_is_on_trial_is_held_for_its_time_and_no_longer() -> None:
    assert render_hold("spassh", [SSH], 9) == (
        "add element inet spassh trial { 6 . 22 timeout 9s }\n"
        "delete element inet spassh trial { 6 . 22 }\n"
        "add element inet spassh trial { 6 . 22 timeout 9s }\n"
    )
    # To nftables, 0 means for ever.
    with pytest.raises(FirewallError, match="0 seconds"):
        render_hold("spassh", [SSH], 0)


def test_without_a_drop_of_our_own_nothing_is_dropped() -> None:
    found = rules(SETTINGS._replace(own_drop=False))
    assert rules(BARE)[:-1] == found
    assert not [rule for rule in found if "drop" in rule]


def test_a_port_that_is_named_twice_is_there_once() -> None:
    twice = SETTINGS._replace(protect=SETTINGS.protect * 2)
    assert rules(SETTINGS) == rules(twice)


def test_a_kernel_without_grants_for_one_connection_gets_no_rules_for_them() -> None:
    found = rules(SETTINGS, NOT_ONCE)
    assert found == [r for r in rules(SETTINGS) if "once" not in r and "begun" not in r]
    text = render_table(SETTINGS, NOT_ONCE, [Chain("input", found)], anew=True)
    assert "dynamic" not in text
    assert "limit" not in text


def test_a_datagram_uses_a_grant_up_if_it_belongs_to_no_connection() -> None:
    udp = SETTINGS._replace(grant_ports=(Port(17, 53),))
    begins = [rule for rule in rules(udp) if " @once" in rule]
    assert [rule.split(" ip")[0] for rule in begins] == [
        "meta l4proto 17 ct state != established"
    ] * 2


def test_networks_that_need_no_grant_are_merged_and_named_with_all_ports() -> None:
    networks = [
        "10.0.0.0/8",
        "192.0.2.0/25",
        "10.1.0.0/16",
        "192.0.2.128/25",
        "fd00::/8",
    ]
    admins = SETTINGS._replace(always_allow=tuple(map(ip_network, networks)))
    ports = "meta l4proto . th dport { 6 . 22, 6 . 443, 17 . 53 }"
    accept = "meta mark set meta mark or 0x20000000 accept"
    assert [rule for rule in rules(admins) if " saddr {" in rule] == [
        f"ip saddr {{ 10.0.0.0/8, 192.0.2.0/24 }} {ports} {accept}",
        f"ip6 saddr {{ fd00::/8 }} {ports} {accept}",
    ]


def test_removing_works_whether_the_table_is_there_or_not() -> None:
    expected = "add table inet spassh\ndelete table inet spassh\n"
    assert expected == render_remove("spassh")


@given(settings, st.sampled_from([ALL, NOT_ONCE]))
def test_no_byte_outside_the_alphabet_is_emitted(
    any_settings: Settings, widths: frozenset[Width]
) -> None:
    chains = [input_chain(any_settings, widths), *forward_chains(any_settings, widths)]
    text = render_table(any_settings, widths, chains, anew=True)
    assert set(text + render_remove(any_settings.name)) <= ALLOWED
    assert all(line.count('"') in {0, 2} for line in text.splitlines())


@given(settings)
def test_each_protected_port_is_dropped_after_established_and_granted(
    any_settings: Settings,
) -> None:
    found = rules(any_settings)
    for port in any_settings.dropped:
        mine = [
            (at, rule)
            for at, rule in enumerate(found)
            if rule.startswith(f"{port.protocol_name} dport {{")
            and f" {port.number}" in rule.replace(",", " ").replace("}", " ")
        ]
        (established, _), (drop, _) = mine
        assert found[established].endswith("ct state established accept")
        assert found[drop].endswith("} drop")
        assert 2 < established < drop
    assert found[0].startswith("meta mark set meta mark and ")
    comments = render_comments(any_settings.name, input_chain(any_settings, ALL))
    assert len(comments) == len(found)


LISTED = {
    "name": "x",
    "type": "filter",
    "hook": "input",
    "prio": -10,
    "policy": "accept",
}


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, True),
        ({"handle": 7}, True),
        ({"type": "nat"}, False),
        ({"hook": "forward"}, False),
        ({"prio": 0}, False),
        ({"policy": "drop"}, False),
    ],
)
def test_a_chain_is_ours_if_its_hook_is(
    changes: dict[str, object], alike: bool
) -> None:
    chain = Chain("x", [], Hook("filter", "input", -10))
    assert alike == chain.is_like(LISTED | changes)
    assert not chain.is_like({"name": "x"})
    assert not Chain("x", []).is_like(LISTED | changes)
    assert Chain("x", []).is_like({"name": "x", "handle": 7})
