"""The text that nftables gets, to the byte."""

import string
from ipaddress import ip_address

import pytest
from hypothesis import given
from unit.firewall.texts import (
    BARE,
    GRANT4,
    GRANT6,
    SETTINGS,
    grants,
    seconds,
    settings,
)

from spassh_server.firewall import ActiveGrant, FirewallError, Grant, Settings
from spassh_server.firewall.libnftables import parse_listing
from spassh_server.firewall.nftables_render import (
    parse_set,
    render_comments,
    render_grant,
    render_query,
    render_remove,
    render_revoke,
    render_rules,
    render_table,
)

ALLOWED = set(string.ascii_letters + string.digits + ' -_.:;,@{}()&|!="/\n')

TABLE = """\
add table inet spassh
add set inet spassh granted4 { type ipv4_addr . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add set inet spassh granted6 { type ipv6_addr . inet_proto . inet_service;\
 flags timeout; timeout 15s; }
add chain inet spassh input { type filter hook input priority -10; policy accept; }
flush chain inet spassh input
add rule inet spassh input meta mark set meta mark and 0xdfffffff comment "spassh 1/8"
add rule inet spassh input ip saddr . meta l4proto . th dport @granted4\
 meta mark set meta mark or 0x20000000 accept comment "spassh 2/8"
add rule inet spassh input ip6 saddr . meta l4proto . th dport @granted6\
 meta mark set meta mark or 0x20000000 accept comment "spassh 3/8"
add rule inet spassh input tcp dport { 22, 443 }\
 tcp flags & (fin | syn | rst | ack) != syn ct state established accept\
 comment "spassh 4/8"
add rule inet spassh input tcp dport { 22, 443 } drop comment "spassh 5/8"
add rule inet spassh input udp dport { 53 } ct state established accept\
 comment "spassh 6/8"
add rule inet spassh input udp dport { 53 } drop comment "spassh 7/8"
add rule inet spassh input udp dport 62201 drop comment "spassh 8/8"
"""


def test_the_table_is_added_to_what_is_there() -> None:
    assert render_table(SETTINGS, anew=False) == TABLE


def test_anew_it_is_deleted_first_and_in_the_same_transaction() -> None:
    start = "add table inet spassh\ndelete table inet spassh\n"
    assert start + TABLE == render_table(SETTINGS, anew=True)


def test_with_nothing_to_protect_only_the_knock_port_is_dropped() -> None:
    rules = render_rules(BARE)
    assert [rule for rule in rules if "drop" in rule] == ["udp dport 62201 drop"]
    assert not [rule for rule in rules if "ct " in rule], "nor is anything tracked"


def test_a_port_that_is_named_twice_is_there_once() -> None:
    twice = SETTINGS._replace(protect=SETTINGS.protect * 2)
    assert render_rules(SETTINGS) == render_rules(twice)


def test_a_grant_is_replaced_in_one_transaction() -> None:
    assert render_grant("spassh", GRANT4, 15) == (
        "add element inet spassh granted4 { 192.0.2.2 . 6 . 22 timeout 15s }\n"
        "delete element inet spassh granted4 { 192.0.2.2 . 6 . 22 }\n"
        "add element inet spassh granted4 { 192.0.2.2 . 6 . 22 timeout 15s }\n"
    )


def test_a_grant_is_taken_back_whether_it_is_there_or_not() -> None:
    assert render_revoke("spassh", GRANT6) == (
        "add element inet spassh granted6 { 2001:db8::2 . 17 . 53 timeout 1s }\n"
        "delete element inet spassh granted6 { 2001:db8::2 . 17 . 53 }\n"
    )


def test_one_element_is_asked_for() -> None:
    assert render_query("spassh", GRANT6) == (
        "get element inet spassh granted6 { 2001:db8::2 . 17 . 53 }\n"
    )


def test_removing_works_whether_the_table_is_there_or_not() -> None:
    expected = "add table inet spassh\ndelete table inet spassh\n"
    assert expected == render_remove("spassh")


@pytest.mark.parametrize("bad", [0, -1])
def test_no_text_is_made_for_a_grant_without_end(bad: int) -> None:
    with pytest.raises(FirewallError, match=f"cannot last {bad} seconds"):
        render_grant("spassh", GRANT4, bad)


@given(settings, grants, seconds)
def test_no_byte_outside_the_alphabet_is_emitted(
    any_settings: Settings, grant: Grant, lifetime: int
) -> None:
    name = any_settings.name
    texts = [
        render_table(any_settings, anew=True),
        render_grant(name, grant, lifetime),
        render_revoke(name, grant),
        render_query(name, grant),
        render_remove(name),
    ]
    for text in texts:
        assert set(text) <= ALLOWED
        assert all(line.count('"') in {0, 2} for line in text.splitlines())


@given(settings)
def test_each_protected_port_is_dropped_after_established_and_granted(
    any_settings: Settings,
) -> None:
    rules = render_rules(any_settings)
    for port in any_settings.protect:
        mine = [
            (at, rule)
            for at, rule in enumerate(rules)
            if rule.startswith(f"{port.protocol_name} dport {{")
            and f" {port.number}" in rule.replace(",", " ").replace("}", " ")
        ]
        (established, _), (drop, _) = mine
        assert rules[established].endswith("ct state established accept")
        assert rules[drop].endswith("} drop")
        assert 2 < established < drop
    assert rules[0].startswith("meta mark set meta mark and ")
    assert len(render_comments(any_settings)) == len(rules)


def test_grants_are_read_from_a_listing() -> None:
    listing = (
        b'{"nftables": [{"metainfo": {}}, {"set": {"name": "granted4", "elem": ['
        b'{"elem": {"val": {"concat": ["192.0.2.2", 6, 22]}, "expires": 9}},'
        b'{"elem": {"val": {"concat": ["192.0.2.3", 17, 53]}, "timeout": 5}},'
        b'{"concat": ["192.0.2.4", 6, 80]}]}}]}'
    )
    (listed,) = parse_listing(listing, "set")
    found = {
        (str(ip_address(grant.address)), str(grant.port)): left
        for grant, left in parse_set(listed)
    }
    assert found == {
        ("192.0.2.2", "tcp/22"): 9,
        ("192.0.2.3", "udp/53"): 0,
        ("192.0.2.4", "tcp/80"): 0,
    }
    assert parse_set({"name": "granted4"}) == []
    assert isinstance(parse_set(listed)[0], ActiveGrant)


@pytest.mark.parametrize("text", [b"", b"table inet x {}", b"[]", b"{}", b"\xff"])
def test_what_is_no_listing_is_an_error(text: bytes) -> None:
    with pytest.raises(FirewallError, match="lists nothing in JSON") as caught:
        parse_listing(text, "set")
    assert caught.value.hint == "apt install nftables"
