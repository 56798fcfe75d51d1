"""The text that iptables-restore and ipset get, to the byte."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.texts import (
    BARE,
    GRANT4,
    GRANT6,
    SETTINGS,
    grants,
    names,
    seconds,
    settings,
)

from spassh_server.firewall import Grant, Settings
from spassh_server.firewall.ipsets import parse_save, render_element, render_sets
from spassh_server.firewall.iptables_render import (
    TimedGrant,
    chain_name,
    is_jump_first,
    is_whole,
    parse_timed,
    render_chain,
    render_jump,
    render_rules,
    render_timed,
    render_unjump,
)
from spassh_server.firewall.xtables import comment_of

ALLOWED = set(string.ascii_letters + string.digits + ' -.:,[]"/!')
MATCH_SET = "-m set --match-set spassh-4 src,dst -j ACCEPT"

CHAIN = """\
:SPASSH - [0:0]
-A SPASSH -m comment --comment "spassh 1/8"\
 -m set --match-set spassh-4 src,dst -j ACCEPT
-A SPASSH -m comment --comment "spassh 2/8" -p tcp -m tcp --dport 22\
 ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A SPASSH -m comment --comment "spassh 3/8" -p tcp -m tcp --dport 22 -j DROP
-A SPASSH -m comment --comment "spassh 4/8" -p tcp -m tcp --dport 443\
 ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A SPASSH -m comment --comment "spassh 5/8" -p tcp -m tcp --dport 443 -j DROP
-A SPASSH -m comment --comment "spassh 6/8" -p udp -m udp --dport 53\
 -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A SPASSH -m comment --comment "spassh 7/8" -p udp -m udp --dport 53 -j DROP
-A SPASSH -m comment --comment "spassh 8/8" -p udp -m udp --dport 62201 -j DROP"""


def test_the_chain_is_filled_in_one_transaction() -> None:
    rules = render_rules(SETTINGS, [MATCH_SET])
    assert CHAIN.splitlines() == render_chain(chain_name(SETTINGS), rules)


def test_with_nothing_to_protect_only_the_knock_port_is_dropped() -> None:
    assert render_rules(BARE, []) == [
        '-m comment --comment "spassh 1/1" -p udp -m udp --dport 62201 -j DROP'
    ]


JUMP = "-A INPUT -j SPASSH"
OTHER = "-A INPUT -p tcp -j OTHER"


@pytest.mark.parametrize(
    ("present", "lines"),
    [
        ([], ["-I INPUT 1 -j SPASSH"]),
        ([OTHER], ["-I INPUT 1 -j SPASSH"]),
        ([JUMP], []),
        ([JUMP, OTHER], []),
        ([OTHER, JUMP], ["-D INPUT -j SPASSH", "-I INPUT 1 -j SPASSH"]),
        (
            [JUMP, OTHER, JUMP],
            ["-D INPUT -j SPASSH", "-D INPUT -j SPASSH", "-I INPUT 1 -j SPASSH"],
        ),
        (["-A INPUT -i eth0 -j SPASSH"], ["-I INPUT 1 -j SPASSH"]),
    ],
)
def test_input_begins_with_one_jump_to_us(present: list[str], lines: list[str]) -> None:
    assert lines == render_jump("SPASSH", present)
    assert is_jump_first("SPASSH", present) == (not lines)
    assert render_unjump("SPASSH", present) == ["-D INPUT -j SPASSH"] * present.count(
        JUMP
    )


def test_a_grant_is_a_rule_with_its_end() -> None:
    assert render_timed("spassh", TimedGrant(GRANT4, 1_700_000_000)) == (
        "-s 192.0.2.2 -p tcp -m tcp --dport 22 -m time --datestop 2023-11-14T22:13:19"
        ' -m comment --comment "spassh tcp/22 192.0.2.2 1700000000" -j ACCEPT'
    )
    assert render_timed("spassh", TimedGrant(GRANT6, 1_700_000_000)) == (
        "-s 2001:db8::2 -p udp -m udp --dport 53 -m time"
        ' --datestop 2023-11-14T22:13:19 -m comment --comment "spassh udp/53'
        ' 2001:db8::2 1700000000" -j ACCEPT'
    )


@given(names, grants, st.integers(1, 2**33))
def test_a_grant_is_read_from_its_own_comment(
    name: str, grant: Grant, end: int
) -> None:
    timed = TimedGrant(grant, end)
    comment = comment_of(f"-A CHAIN {render_timed(name, timed)}")
    assert timed == parse_timed(comment, name)
    assert parse_timed(comment, name + "x") is None


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "spassh",
        "spassh 1/3",
        "spassh tcp/22 192.0.2.2",
        "spassh tcp/22 192.0.2.2 soon",
        "spassh tcp/22 192.0.2.2 1700000000 more",
        "spassh tcp/0 192.0.2.2 1700000000",
        "spassh sctp/22 192.0.2.2 1700000000",
        "spassh tcp/22 192.0.2.0/24 1700000000",
        "spassh tcp/22 host.example 1700000000",
        "other tcp/22 192.0.2.2 1700000000",
    ],
)
def test_another_comment_is_no_grant(comment: str) -> None:
    assert parse_timed(comment, "spassh") is None


def test_a_chain_is_whole_if_it_has_all_our_rules_in_order_beside_grants() -> None:
    wanted = render_rules(SETTINGS, [])
    present = [f"-A SPASSH {rule}" for rule in wanted]
    grant = f"-A SPASSH {render_timed('spassh', TimedGrant(GRANT4, 1))}"
    assert is_whole("spassh", present, wanted)
    assert is_whole("spassh", [grant, *present], wanted)
    assert not is_whole("spassh", present[1:], wanted)
    assert not is_whole("spassh", present[::-1], wanted)
    assert not is_whole("spassh", ["-A SPASSH -j ACCEPT", *present], wanted)
    assert not is_whole("spassh", [], wanted)


@pytest.mark.parametrize(
    ("rule", "comment"),
    [
        ("-A X -m comment --comment spassh -j ACCEPT", "spassh"),
        ('-A X -m comment --comment "a b" -j ACCEPT', "a b"),
        (r'-A X -m comment --comment "it\'s \"so\"" -j ACCEPT', 'it\'s "so"'),
        (r'-A X -m comment --comment "back\\slash" -j ACCEPT', "back\\slash"),
        ('-A X -m comment --comment "" -j ACCEPT', ""),
        ('-A X -j LOG --log-prefix "a --comment b"', ""),
        ('-A X -m comment --comment "open', '"open'),
        ("-A X -j ACCEPT", ""),
    ],
)
def test_a_comment_is_read_as_iptables_quotes_it(rule: str, comment: str) -> None:
    assert comment == comment_of(rule)


def test_sets_are_made_for_both_families() -> None:
    assert render_sets("spassh", (6, 4)) == (
        "create spassh-6 hash:ip,port family inet6 timeout 1\n"
        "create spassh-4 hash:ip,port family inet timeout 1\n"
    )


def test_elements_name_protocols_by_number() -> None:
    assert render_element("spassh", GRANT4) == ("spassh-4", "192.0.2.2,6:22")
    assert render_element("spassh", GRANT6) == ("spassh-6", "2001:db8::2,17:53")


def test_grants_are_read_from_what_ipset_saves() -> None:
    text = (
        "create spassh-6 hash:ip,port family inet6 hashsize 1024 timeout 1\n"
        "add spassh-6 2001:db8::2,udp:53 timeout 29\n"
        "add spassh-4 192.0.2.2,6:22 timeout 7\n"
    )
    assert [tuple(one) for one in parse_save(text)] == [(GRANT6, 29), (GRANT4, 7)]


@given(settings, grants, seconds)
def test_no_byte_outside_the_alphabet_is_emitted(
    any_settings: Settings, grant: Grant, end: int
) -> None:
    chain = chain_name(any_settings)
    timed = render_timed(any_settings.name, TimedGrant(grant, end))
    lines = [
        *render_chain(chain, [timed, *render_rules(any_settings, [])]),
        *render_jump(chain, ["-A INPUT -j OTHER", f"-A INPUT -j {chain}"]),
        *render_sets(any_settings.name, (4, 6)).splitlines(),
        *render_element(any_settings.name, grant),
    ]
    for line in lines:
        assert set(line) <= ALLOWED
        assert line.count('"') in {0, 2}


@given(settings)
def test_each_protected_port_is_dropped_after_established(
    any_settings: Settings,
) -> None:
    rules = [rule.split('" ', 1)[1] for rule in render_rules(any_settings, [MATCH_SET])]
    assert rules[0] == MATCH_SET
    for port in any_settings.protect:
        match = (
            f"-p {port.protocol_name} -m {port.protocol_name} --dport {port.number} "
        )
        mine = [
            rule.removeprefix(match) for rule in rules[:-1] if rule.startswith(match)
        ]
        whole = "! --syn " if port.protocol_name == "tcp" else ""
        accept = f"{whole}-m conntrack --ctstate ESTABLISHED -j ACCEPT"
        assert mine == [accept, "-j DROP"]
