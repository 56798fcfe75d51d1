"""What ipfw is told, to the byte, and how its answers are read."""

import string
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import DNS, SSH, grants, settings

from spassh_server.firewall import Grant, Settings, Width
from spassh_server.firewall.ipfw_render import (
    MAX_VALUE,
    group_of,
    is_complete,
    layout,
    parse_rules,
    parse_table,
    render_accept,
    render_file,
    render_key,
    render_lead,
    render_older,
    render_policy,
    render_tables,
    state_name,
)
from spassh_server.firewall.sessions import Session
from spassh_server.ports import Port

ALLOWED = set(string.ascii_letters + string.digits + " -.:,()/")
SETTINGS = Settings(
    "spassh",
    (SSH, DNS),
    62201,
    1,
    always_allow=(ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48")),
    ipfw_rule=1000,
)
HERE = (b"\xc0\x00\x02\x01", 22)

LEAD = """\
add 1000 set 30 skipto 1003 tcp from any to me flow table(spassh-address) in setup\
 // spassh lead 1/4 a5896b77
add 1000 set 30 skipto 1003 udp from any to me flow table(spassh-address) in\
 // spassh lead 2/4 a5896b77
add 1000 set 30 skipto 1003 tcp from any to me flow table(spassh-flow) in setup\
 // spassh lead 3/4 a5896b77
add 1000 set 30 skipto 1003 udp from any to me flow table(spassh-flow) in\
 // spassh lead 4/4 a5896b77
"""

POLICY = """\
allow tcp from 198.51.100.0/24 to me dst-port 22 in
allow tcp from me 22 to 198.51.100.0/24 out
allow udp from 198.51.100.0/24 to me dst-port 53 in
allow udp from me 53 to 198.51.100.0/24 out
allow tcp from 2001:db8:1::/48 to me dst-port 22 in
allow tcp from me 22 to 2001:db8:1::/48 out
allow udp from 2001:db8:1::/48 to me dst-port 53 in
allow udp from me 53 to 2001:db8:1::/48 out
deny tcp from any to me dst-port 22 in setup
skipto 1004 tcp from any to me in setup
check-state :spassh-granted
allow tcp from any to me flow table(spassh-older) in established
deny tcp from any to me dst-port 22 in
deny udp from any to me dst-port 53 in
deny udp from any to me dst-port 62201 in
"""

ACCEPT = """\
allow tcp from any to me flow table(spassh-address) in setup keep-state :spassh-granted
allow udp from any to me flow table(spassh-address) in keep-state :spassh-granted
allow tcp from any to me flow table(spassh-flow) in setup keep-state :spassh-granted
allow udp from any to me flow table(spassh-flow) in keep-state :spassh-granted
"""

LISTING = """\
00100 set 0 allow ip from any to any via lo0
01000 set 30 skipto 1003 tcp from any to me // spassh lead 1/1 0badcafe
01001 set 30 check-state :spassh // spassh policy 1/2 12345678
# DISABLED 01001 set 30 deny ip from any to any // spassh policy 2/2 12345678
01002 set 7 count ip from any to any // spassh policy 1/1 12345678
01003 set 30 count ip from any to any // somebody else wrote this
65535 set 31 deny ip from any to any
"""

FLOWS = """\
--- table(spassh-flow), set(0) ---
192.0.2.9,6,4000,22 1735689600
2001:db8::2,17,65535,53 7
192.0.2.9,6,22 1
192.0.2.9,1,4000,22 1
192.0.2.9,6,4000,22,
nonsense,6,4000,22 1
192.0.2.9,6,4000,23 -1
"""


def texts(rules: list[str]) -> str:
    return "".join(rule.partition(" // ")[0] + "\n" for rule in rules)


def test_what_is_granted_is_led_past_the_drops() -> None:
    assert render_file(1000, render_lead(SETTINGS)) == LEAD


def test_what_is_not_granted_is_dropped() -> None:
    assert texts(render_policy(SETTINGS)) == POLICY


def test_what_keeps_states_depends_on_the_name_alone() -> None:
    assert texts(render_accept(SETTINGS)) == ACCEPT
    other = SETTINGS._replace(protect=(), ipfw_rule=7, knock_port=9, always_allow=())
    assert render_accept(other) == render_accept(SETTINGS)


def test_without_a_drop_of_ours_nothing_is_denied() -> None:
    rules = render_policy(SETTINGS._replace(own_drop=False))
    assert "deny" not in texts(rules)
    assert "check-state :spassh-granted" in texts(rules)


def test_there_is_a_table_for_each_width_and_one_for_older_connections() -> None:
    assert render_tables("spassh") == {
        "spassh-address": "flow:src-ip,proto,dst-port",
        "spassh-flow": "flow:src-ip,proto,src-port,dst-port",
        "spassh-older": "flow:src-ip,proto,src-port,dst-port",
    }


@pytest.mark.parametrize(
    ("grant", "key"),
    [
        (Grant(b"\xc0\x00\x02\x09", SSH), "192.0.2.9,6,22"),
        (Grant(bytes(15) + b"\x01", DNS), "::1,17,53"),
        (Grant(b"\xc0\x00\x02\x09", SSH, Width.FLOW, 4000), "192.0.2.9,6,4000,22"),
    ],
)
def test_a_grant_is_a_key(grant: Grant, key: str) -> None:
    assert render_key(grant) == key


def test_older_connections_replace_one_another() -> None:
    sessions = [Session(HERE, (bytes(15) + b"\x01", 4000))]
    assert render_older("spassh", sessions) == (
        "table spassh-older flush\ntable spassh-older add ::1,6,4000,22 1\n"
    )


def test_a_table_is_read() -> None:
    flow = Grant(b"\xc0\x00\x02\x09", SSH, Width.FLOW, 4000)
    ipv6 = Grant(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x02", DNS, Width.FLOW, 65535)
    assert parse_table(FLOWS, Width.FLOW) == {flow: 1735689600, ipv6: 7}
    assert list(parse_table(FLOWS, Width.ADDRESS)) == [Grant(flow.address, SSH)]


def test_our_rules_are_known_by_set_and_comment() -> None:
    rules = parse_rules(LISTING)
    assert [group_of(rule, "spassh") for rule in rules] == [
        "",
        "lead",
        "policy",
        "policy",
        "",
        "",
        "",
    ]
    assert [rule.disabled for rule in rules] == [False] * 3 + [True] + [False] * 3
    assert (rules[3].number, rules[3].set) == (1001, 30)
    assert rules[1].text == "skipto 1003 tcp from any to me"
    assert not any(group_of(rule, "spass") for rule in rules)


@pytest.mark.parametrize(
    ("comments", "answer"),
    [
        ([], False),
        (["s policy 1/1 aa"], True),
        (["s policy 1/2 aa", "s policy 2/2 aa"], True),
        (["s policy 1/2 aa"], False),
        (["s policy 2/2 aa", "s policy 1/2 aa"], False),
        (["s policy 1/2 aa", "s policy 2/2 bb"], False),
        (["s policy 1/2 aa", "s policy 2/2 aa", "s policy 2/2 aa"], False),
    ],
)
def test_a_group_is_complete_or_not(comments: list[str], answer: bool) -> None:
    assert is_complete(comments) is answer


widths = st.sampled_from([(Width.ADDRESS, 0), (Width.FLOW, 1), (Width.FLOW, 65535)])


@given(grants, widths, st.integers(1, MAX_VALUE))
def test_a_key_that_was_written_is_read(
    grant: Grant, width: tuple[Width, int], end: int
) -> None:
    grant = Grant(grant.address, grant.port, *width)
    text = f"{render_key(grant)} {end}"
    assert parse_table(text, grant.width) == {grant: end}


@given(settings, st.integers(1, 65000))
def test_no_rule_is_too_long_for_ipfw_or_has_a_byte_of_another_alphabet(
    any_settings: Settings, number: int
) -> None:
    any_settings = any_settings._replace(ipfw_rule=number)
    rules = render_lead(any_settings) + render_policy(any_settings)
    for line in render_file(number, rules + render_accept(any_settings)).splitlines():
        assert set(line) <= ALLOWED
        assert len(line.partition(" // ")[2]) <= 80
        assert len(line.split()) < 31  # what a line of a file may have


@given(settings)
def test_each_dropped_port_is_dropped_twice(any_settings: Settings) -> None:
    """First what begins a connection, and after the states everything else."""
    rules = texts(render_policy(any_settings)).splitlines()
    states = rules.index(f"check-state {state_name(any_settings.name)}")
    for port in any_settings.dropped:
        drop = f"deny {port.protocol_name} from any to me dst-port {port.number} in"
        assert drop in rules[states:]
        assert (f"{drop} setup" in rules[:states]) is (port.protocol == 6)


def test_rules_do_not_leave_their_numbers() -> None:
    assert layout(SETTINGS) == (1000, (1001, 1002), 1003, 1004)
    assert Port(6, 22) == SSH
