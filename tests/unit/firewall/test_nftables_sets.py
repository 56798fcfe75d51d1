"""Grants as elements of sets, to the byte and back."""

import string
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import GRANT4, GRANT6, SETTINGS, seconds, wide_grants

from spassh_server.firewall import FirewallError, Forward, Grant, Width
from spassh_server.firewall.libnftables import parse_listing
from spassh_server.firewall.nftables_sets import (
    Set,
    is_as_wanted,
    parse_set,
    render_extended,
    render_grant,
    render_revoke,
    set_of,
    sets,
)
from spassh_server.ports import Port

ALLOWED = set(string.ascii_letters + string.digits + ' -_.:{}"\n')

FLOW4 = GRANT4._replace(width=Width.FLOW, source_port=50000)
ONCE6 = GRANT6._replace(width=Width.ONCE)


def test_a_grant_is_one_element_that_is_added() -> None:
    assert render_grant("spassh", ONCE6, 15, "alice") == (
        "add element inet spassh once6"
        ' { 2001:db8::2 . 17 . 53 timeout 15s comment "alice" }\n'
    )


def test_a_grant_is_replaced_in_one_transaction() -> None:
    assert render_extended("spassh", GRANT4, 15, "") == (
        "add element inet spassh granted4 { 192.0.2.2 . 6 . 22 timeout 15s }\n"
        "delete element inet spassh granted4 { 192.0.2.2 . 6 . 22 }\n"
        "add element inet spassh granted4 { 192.0.2.2 . 6 . 22 timeout 15s }\n"
    )


@pytest.mark.parametrize(
    ("grant", "element"),
    [
        (GRANT6, "granted6 { 2001:db8::2 . 17 . 53"),
        (FLOW4, "flow4 { 192.0.2.2 . 50000 . 6 . 22"),
        (ONCE6, "once6 { 2001:db8::2 . 17 . 53"),
    ],
)
def test_each_width_has_its_set_and_the_user_is_a_comment(
    grant: Grant, element: str
) -> None:
    assert render_extended("spassh", grant, 15, "al.i-c_e") == (
        f'add element inet spassh {element} timeout 15s comment "al.i-c_e" }}\n'
        f"delete element inet spassh {element} }}\n"
        f'add element inet spassh {element} timeout 15s comment "al.i-c_e" }}\n'
    )


def test_a_grant_is_taken_back_even_if_it_has_just_ended() -> None:
    assert render_revoke("spassh", GRANT6) == (
        "add element inet spassh granted6 { 2001:db8::2 . 17 . 53 timeout 1s }\n"
        "delete element inet spassh granted6 { 2001:db8::2 . 17 . 53 }\n"
    )


@pytest.mark.parametrize("bad", [0, -1])
def test_no_text_is_made_for_a_grant_without_end(bad: int) -> None:
    with pytest.raises(FirewallError, match=f"cannot last {bad} seconds"):
        render_grant("spassh", GRANT4, bad, "")
    with pytest.raises(FirewallError, match=f"cannot last {bad} seconds"):
        render_extended("spassh", GRANT4, bad, "")


@pytest.mark.parametrize("bad", ['"', "a b", "a" * 33, "é", "a\n", ";"])
def test_no_text_is_made_for_what_is_no_user_name(bad: str) -> None:
    with pytest.raises(FirewallError, match="not a user name"):
        render_grant("spassh", GRANT4, 15, bad)
    with pytest.raises(FirewallError, match="not a user name"):
        render_extended("spassh", GRANT4, 15, bad)


@pytest.mark.parametrize(
    "bad",
    [
        GRANT4._replace(source_port=1),
        GRANT4._replace(width=Width.ONCE, source_port=1),
        FLOW4._replace(source_port=0),
        FLOW4._replace(source_port=65536),
        FLOW4._replace(source_port=-1),
    ],
)
def test_only_a_grant_for_a_flow_has_a_source_port(bad: Grant) -> None:
    with pytest.raises(FirewallError, match="not for source port"):
        render_revoke("spassh", bad)
    with pytest.raises(FirewallError, match="not for source port"):
        render_grant("spassh", bad, 15, "")
    with pytest.raises(FirewallError, match="not for source port"):
        render_extended("spassh", bad, 15, "")


users = st.text(string.ascii_letters + string.digits + "._-", max_size=32)


@given(wide_grants, seconds, users)
def test_no_byte_outside_the_alphabet_is_emitted(
    grant: Grant, lifetime: int, user: str
) -> None:
    texts = [
        render_grant("spassh", grant, lifetime, user),
        render_extended("spassh", grant, lifetime, user),
        render_revoke("spassh", grant),
    ]
    for text in texts:
        assert set(text) <= ALLOWED
        assert all(line.count('"') in {0, 2} for line in text.splitlines())


def test_grants_are_read_from_a_listing() -> None:
    listing = (
        b'{"nftables": [{"metainfo": {}}, {"set": {"name": "granted4", "elem": ['
        b'{"elem": {"val": {"concat": ["192.0.2.2", 6, 22]}, "expires": 9,'
        b' "comment": "alice"}},'
        b'{"elem": {"val": {"concat": ["192.0.2.3", 17, 53]}, "timeout": 5,'
        b' "comment": "by hand, for Bob"}},'
        b'{"concat": ["192.0.2.4", 6, 80]}]}}]}'
    )
    (listed,) = parse_listing(listing, "set")
    assert {
        (str(ip_address(active.grant.address)), str(active.grant.port)): active[1:]
        for active in parse_set(listed, Width.ADDRESS)
    } == {
        ("192.0.2.2", "tcp/22"): (9, "alice"),
        ("192.0.2.3", "udp/53"): (0, ""),
        ("192.0.2.4", "tcp/80"): (0, ""),
    }
    assert parse_set({"name": "granted4"}, Width.ADDRESS) == []


def test_the_width_of_a_grant_is_that_of_its_set() -> None:
    flow = {"elem": [{"concat": ["192.0.2.2", 50000, 6, 22]}]}
    assert [active.grant for active in parse_set(flow, Width.FLOW)] == [FLOW4]
    once = {
        "elem": [{"elem": {"val": {"concat": ["2001:db8::2", 17, 53]}, "limit": {}}}]
    }
    assert [active.grant for active in parse_set(once, Width.ONCE)] == [ONCE6]


@pytest.mark.parametrize("text", [b"", b"table inet x {}", b"[]", b"{}", b"\xff"])
def test_what_is_no_listing_is_an_error(text: bytes) -> None:
    with pytest.raises(FirewallError, match="lists nothing in JSON") as caught:
        parse_listing(text, "set")
    assert caught.value.hint == "apt install nftables"


def test_there_is_a_set_for_each_width_and_family() -> None:
    found = sets(SETTINGS, frozenset(Width))
    holding = {one.name for one in found if one.width is not None}
    assert holding == {
        set_of(grant._replace(width=width))
        for width in Width
        for grant in (GRANT4, GRANT6)
    }
    led = SETTINGS._replace(forwards=(Forward(Port(6, 2222), GRANT6.address, 22),))
    more = {one.name for one in sets(led, frozenset(Width))}
    assert more - {one.name for one in found} == {"led6"}
    narrow = sets(SETTINGS, frozenset({Width.ADDRESS, Width.FLOW}))
    assert [one.name for one in narrow if one.is_dynamic] == []


GRANTED = {
    "name": "granted4",
    "type": ["ipv4_addr", "inet_proto", "inet_service"],
    "flags": ["timeout"],
    "timeout": 15,
}


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({}, True),
        ({"flags": "timeout"}, True),
        ({"flags": ["timeout", "dynamic"]}, True),
        ({"flags": []}, False),
        ({"flags": ["timeout", "interval"]}, False),
        ({"timeout": 3600}, False),
        ({"timeout": None}, False),
        ({"type": "ipv4_addr"}, False),
        ({"type": ["ipv6_addr", "inet_proto", "inet_service"]}, False),
        ({"stmt": [{"limit": {}}]}, False),
    ],
)
def test_a_set_can_stay_if_it_is_like_ours(
    changes: dict[str, object], alike: bool
) -> None:
    types = ("ipv4_addr", "inet_proto", "inet_service")
    wanted = Set("granted4", types, 15, Width.ADDRESS)
    assert alike == is_as_wanted(GRANTED | changes, wanted)


def test_a_set_for_one_connection_needs_its_bucket() -> None:
    types = ("ipv4_addr", "inet_proto", "inet_service")
    wanted = Set("once4", types, 15, Width.ONCE)
    assert not is_as_wanted(GRANTED, wanted)
    assert is_as_wanted(GRANTED | {"stmt": [{"limit": {}}]}, wanted)
