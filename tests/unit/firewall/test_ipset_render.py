"""What ipset is told, and what it says."""

import pytest
from hypothesis import given
from unit.firewall.texts import GRANT4, GRANT6, names, ports, wide_grants

from spassh_server.firewall import ActiveGrant, FirewallError, Grant, Settings, Width
from spassh_server.firewall.ipset_render import (
    MAX_FLOW_PORTS,
    is_set_name,
    parse_save,
    render_element,
    render_forget,
    render_options,
    render_sets,
    set_names,
    widths_of,
)
from spassh_server.ports import Port

SSH = Port(6, 22)
SETTINGS = Settings("spassh", (SSH,), 62201, 1, grant_ports=(SSH, Port(17, 53)))

SAVED = """\
create spassh-f6-t22 hash:ip,port family inet6 hashsize 1024 timeout 1 comment
add spassh-f6-t22 2001:db8::2,tcp:40001 timeout 29 comment "granted alice"
add spassh-f6-t22 2001:db8::2,tcp:40002 timeout 9
add spassh-f6-t22 2001:db8::3,tcp:40003 timeout 8
add spassh-f6-t22 2001:db8::2,tcp:40004 timeout 7 comment "mine"
add spassh-f6-t22 2001:db8::2,tcp:40005 timeout 6 comment "granted a b"
add spassh-a4 192.0.2.2,6:22 timeout 7 comment "granted"
add spassh-o6 2001:db8::2,udp:53 timeout 29 comment "granted bob"
add other 192.0.2.2,6:22 timeout 7 comment "granted"
"""


def test_sets_are_made_for_both_families() -> None:
    assert render_sets(SETTINGS, (6, 4)) == (
        "create spassh-a6 hash:ip,port family inet6 timeout 1 comment\n"
        "create spassh-o6 hash:ip,port family inet6 timeout 1 comment\n"
        "create spassh-f6-t22 hash:ip,port family inet6 timeout 1 comment\n"
        "create spassh-f6-u53 hash:ip,port family inet6 timeout 1 comment\n"
        "create spassh-a4 hash:ip,port family inet timeout 1 comment\n"
        "create spassh-o4 hash:ip,port family inet timeout 1 comment\n"
        "create spassh-f4-t22 hash:ip,port family inet timeout 1 comment\n"
        "create spassh-f4-u53 hash:ip,port family inet timeout 1 comment\n"
    )


def test_elements_name_protocols_by_number() -> None:
    assert render_element("spassh", GRANT4) == ("spassh-a4", "192.0.2.2,6:22")
    assert render_element("spassh", GRANT6) == ("spassh-a6", "2001:db8::2,17:53")
    once = GRANT6._replace(width=Width.ONCE)
    assert render_element("spassh", once) == ("spassh-o6", "2001:db8::2,17:53")
    flow = GRANT4._replace(width=Width.FLOW, source_port=40001)
    assert render_element("spassh", flow) == ("spassh-f4-t22", "192.0.2.2,6:40001")


def test_who_was_granted_something_is_in_its_comment() -> None:
    assert render_options(15, "") == ("timeout", "15", "comment", "granted")
    assert render_options(15, "al.x") == ("timeout", "15", "comment", "granted al.x")
    for bad in ("a b", 'a"', "x" * 33):
        with pytest.raises(FirewallError, match="user"):
            render_options(15, bad)
    with pytest.raises(FirewallError, match="cannot last"):
        render_options(0, "alice")


def test_grants_are_read_from_what_ipset_saves() -> None:
    flow = Grant(GRANT6.address, SSH, Width.FLOW, 40001)
    assert parse_save(SAVED) == [
        ActiveGrant(flow, 29, "alice"),
        ActiveGrant(flow._replace(source_port=40005), 6, ""),
        ActiveGrant(GRANT4, 7, ""),
        ActiveGrant(GRANT6._replace(width=Width.ONCE), 29, "bob"),
    ]


@given(names, wide_grants)
def test_each_grant_is_read_from_its_own_element(name: str, grant: Grant) -> None:
    place, element = render_element(name, grant)
    assert is_set_name(name, place)
    line = f'add {place} {element} timeout 7 comment "granted alice"\n'
    assert parse_save(line) == [ActiveGrant(grant, 7, "alice")]


def test_what_rules_added_for_one_client_is_forgotten() -> None:
    assert render_forget(SAVED, frozenset({GRANT6.address})) == (
        "del spassh-f6-t22 2001:db8::2,tcp:40002\n"
    )


@given(names, names, ports)
def test_no_set_is_of_two_instances(one: str, other: str, port: Port) -> None:
    settings = SETTINGS._replace(name=one, grant_ports=(port,))
    for name in (*set_names(settings, 4), *set_names(settings, 6)):
        assert is_set_name(one, name)
        assert is_set_name(other, name) == (one == other)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("spassh-4", True),  # as it was before there were widths
        ("spassh-6", True),
        ("spassh-a4", True),
        ("spassh-f6-u65535", True),
        ("spassh-a5", False),
        ("spassh-f4", False),
        ("spassh-f4-22", False),
        ("spassh-x-a4", False),
        ("spassh", False),
        ("spassha4", False),
    ],
)
def test_sets_are_known_by_their_names(text: str, ours: bool) -> None:
    assert is_set_name("spassh", text) == ours


def test_the_number_of_sets_is_bounded() -> None:
    ports = tuple(Port(6, number) for number in range(1, MAX_FLOW_PORTS + 1))
    few = SETTINGS._replace(grant_ports=ports)
    many = SETTINGS._replace(grant_ports=(*ports, Port(17, 1)))
    assert widths_of(few) == frozenset(Width)
    assert widths_of(many) == {Width.ADDRESS}
    assert len(set_names(few, 4)) == MAX_FLOW_PORTS + 2
    assert len(set_names(many, 4)) == 2
