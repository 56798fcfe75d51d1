"""What an ipfw without tables of flows is told, to the byte, and how it is read."""

import string
from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import DNS, SSH, grants, settings

from spassh_server.firewall import Grant, Settings, Width
from spassh_server.firewall.ipfw_render import Rule, parse_rules, render_file
from spassh_server.firewall.ipfw_sets_render import (
    ACCEPT,
    GRANT,
    GUARD,
    MAX_END,
    MAX_GRANTS,
    OLDER,
    POLICY,
    GrantRule,
    group_of,
    is_complete,
    label_of,
    labels_of,
    layout,
    ours,
    parse_grants,
    parse_ifconfig,
    render_accept,
    render_grant,
    render_guard,
    render_older,
    render_policy,
)
from spassh_server.firewall.sessions import Session
from spassh_server.ports import Port

ALLOWED = set(string.ascii_letters + string.digits + " -.:/_")
SETTINGS = Settings(
    "spassh",
    (SSH, DNS),
    62201,
    1,
    always_allow=(ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48")),
    ipfw_rule=1000,
)
ADDRESS = b"\xc0\x00\x02\x02"

GRANTS = """\
skipto 1094 tcp from 192.0.2.2 to me dst-port 22 in setup\
 // spassh c0000202.6.22 1800000000 alice
skipto 1094 tcp from 192.0.2.2 4000 to me dst-port 22 in setup\
 // spassh c0000202.6.22.4000 1800000000
skipto 1094 udp from ::1 to me dst-port 53 in\
 // spassh 00000000000000000000000000000001.17.53 7 bob
"""
GRANT_RULES = [
    GrantRule(1000, Grant(ADDRESS, SSH), 1_800_000_000, "alice"),
    GrantRule(1001, Grant(ADDRESS, SSH, Width.FLOW, 4000), 1_800_000_000),
    GrantRule(1002, Grant(bytes(15) + b"\1", DNS), 7, "bob"),
]

POLICY_FILE = """\
add 1091 set 30 allow tcp from 198.51.100.0/24 to me dst-port 22 in\
 // spassh policy 1/9 d33cc85e
add 1091 set 30 allow tcp from me 22 to 198.51.100.0/24 out\
 // spassh policy 2/9 d33cc85e
add 1091 set 30 allow udp from 198.51.100.0/24 to me dst-port 53 in\
 // spassh policy 3/9 d33cc85e
add 1091 set 30 allow udp from me 53 to 198.51.100.0/24 out\
 // spassh policy 4/9 d33cc85e
add 1091 set 30 deny tcp from any to me dst-port 22 in setup\
 // spassh policy 5/9 d33cc85e
add 1091 set 30 skipto 1095 tcp from any to me in setup // spassh policy 6/9 d33cc85e
add 1091 set 30 check-state
add 1091 set 30 deny tcp from any to me dst-port 22 in // spassh policy 7/9 d33cc85e
add 1091 set 30 deny udp from any to me dst-port 53 in // spassh policy 8/9 d33cc85e
add 1091 set 30 deny udp from any to me dst-port 62201 in // spassh policy 9/9 d33cc85e
"""


def listed(number: int, rules: list[str]) -> list[Rule]:
    """Return `rules` as they would be read again."""
    lines = [f"{number:05} set 30 {rule}" for rule in rules]
    return parse_rules("\n".join(lines))


def test_the_numbers_are_ninety_five() -> None:
    places = layout(SETTINGS)
    assert (places.grants[0], places.after) == (1000, 1095)
    assert len(places.grants) == MAX_GRANTS + 1
    named = [places.place(number) for number in range(999, 1096)]
    expected = [GRANT] * 90 + [OLDER, POLICY, POLICY, GUARD, ACCEPT]
    assert named == ["", *expected, ""]


def test_a_grant_is_a_rule_that_makes_and_asks_no_state() -> None:
    lines = [render_grant(SETTINGS, rule) for rule in GRANT_RULES]
    assert "\n".join(lines) + "\n" == GRANTS
    rules = [
        rule for one, line in enumerate(lines) for rule in listed(1000 + one, [line])
    ]
    assert parse_grants(rules, "spassh") == GRANT_RULES
    assert parse_grants(rules, "other") == []


def test_the_policy_makes_no_state() -> None:
    rules = render_policy(SETTINGS, ipv6=False)
    assert render_file(1091, rules) == POLICY_FILE
    assert "2001:db8" in "".join(render_policy(SETTINGS, ipv6=True))


def test_guard_and_accept() -> None:
    assert [rule.partition(" //")[0] for rule in render_guard(SETTINGS)] == [
        "skipto 1095 ip from any to any"
    ]
    assert [rule.partition(" //")[0] for rule in render_accept(SETTINGS)] == [
        "allow tcp from any to me in setup keep-state",
        "allow udp from any to me in keep-state",
    ]


def test_accept_is_the_same_for_whatever_is_configured() -> None:
    """States die with it."""
    other = SETTINGS._replace(protect=(), ipfw_rule=7, knock_port=9, always_allow=())
    assert render_accept(other) == render_accept(SETTINGS)


def test_without_a_drop_of_ours_there_is_none() -> None:
    policy = render_policy(SETTINGS._replace(own_drop=False), ipv6=True)
    assert not [rule for rule in policy if rule.startswith("deny")]
    assert "check-state" in policy


def test_an_older_session_is_let_go_on_packet_by_packet() -> None:
    session = Session((b"\xc0\0\2\1", 22), (ADDRESS, 4000))
    body = "allow tcp from 192.0.2.2 4000 to me dst-port 22 in established"
    comment = "spassh older c0000202.4000.22"
    assert render_older("spassh", [session]) == [f"{body} // {comment}"]


def test_a_group_that_lacks_a_rule_is_not_complete() -> None:
    rules = listed(1091, render_policy(SETTINGS, ipv6=True))
    labels = [label_of(rule) for rule in rules]
    assert labels == labels_of(render_policy(SETTINGS, ipv6=True))
    assert is_complete(labels)
    for one in range(len(labels)):
        assert not is_complete(labels[:one] + labels[one + 1 :])
    assert not is_complete([])


def test_a_bare_check_state_is_ours_only_among_others_of_ours() -> None:
    bare = Rule(1091, 30, "check-state", "", disabled=False)
    policy = listed(1091, render_policy(SETTINGS, ipv6=True))
    assert ours([bare], "spassh") == {}
    assert ours([*policy, bare._replace(number=1092)], "spassh").keys() == {1091}
    assert ours([*policy, bare._replace(set=4)], "spassh") == ours(policy, "spassh")
    assert len(ours(policy, "spassh")[1091]) == len(policy)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "spassh",
        "spassh policy",
        "spassh policy 1/9",
        "spassh policy 1/9 0badcafe more",
        "spassh grant c0000202.6.22 7",
        "other c0000202.6.22 7",
        "spassh c0000202.6.22",
        "spassh c0000202.6.22 seven",
        "spassh c0000202.6.22 7 alice bob",
        "spassh c00002.6.22 7",
        "spassh c0000202.1.22 7",
        "spassh c0000202.6 7",
        "spassh c0000202.6.22.4000.1 7",
        "spassh zz000202.6.22 7",
        "spassh c0000202.6.ssh 7",
    ],
)
def test_what_is_not_our_comment_is_not_our_rule(comment: str) -> None:
    rule = Rule(1000, 30, "allow ip from any to any", comment, disabled=False)
    assert group_of(rule, "spassh") == ""
    assert parse_grants([rule], "spassh") == []


def test_a_rule_of_another_set_is_not_ours() -> None:
    (rule,) = listed(1000, [render_grant(SETTINGS, GRANT_RULES[0])])
    assert group_of(rule, "spassh") == GRANT
    assert group_of(rule._replace(set=0), "spassh") == ""


def test_ipv6_addresses_are_found() -> None:
    text = (
        "lo0: x\n\tinet6 ::1 prefixlen 128\n\tinet6 fe80::1%lo0 prefixlen 64\n\tinet 1"
    )
    assert parse_ifconfig(text) == [IPv6Address("::1"), IPv6Address("fe80::1")]
    with pytest.raises(ValueError, match="nonsense"):
        parse_ifconfig("inet6 nonsense")


@given(
    settings,
    grants,
    st.integers(0, 65535),
    st.integers(1, MAX_END),
    st.text("aZ9._-", max_size=32),
)
def test_no_rule_is_too_long_for_ipfw_or_has_a_byte_of_another_alphabet(
    any_settings: Settings, grant: Grant, source_port: int, end: int, user: str
) -> None:
    if source_port:
        grant = grant._replace(width=Width.FLOW, source_port=source_port)
    line = render_grant(any_settings, GrantRule(0, grant, end, user))
    session = Session((ADDRESS, 65535), (grant.address, 65535))
    rules = [line, *render_older(any_settings.name, [session])]
    for make in (render_guard, render_accept):
        rules += make(any_settings)
    rules += render_policy(any_settings, ipv6=True)
    for rule in rules:
        body, _, comment = rule.partition(" // ")
        assert len(comment) <= 80
        assert set(body + comment) <= ALLOWED
    (told,) = parse_grants(listed(5, [line]), any_settings.name)
    assert told._replace(user="") == GrantRule(5, grant, end)
    assert told.user in {user, ""}
    assert layout(any_settings).after < 65535


@given(grants, st.text("aZ9._-", max_size=32))
def test_with_the_usual_name_and_ipv4_the_user_is_always_kept(
    grant: Grant, user: str
) -> None:
    grant = grant._replace(
        address=grant.address[:4], width=Width.FLOW, source_port=65535
    )
    rule = GrantRule(5, grant._replace(port=Port(17, 65535)), MAX_END, user)
    (told,) = parse_grants(listed(5, [render_grant(SETTINGS, rule)]), "spassh")
    assert told == rule
