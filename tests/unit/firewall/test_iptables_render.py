"""The text that iptables-restore gets, to the byte."""

import string
from ipaddress import ip_network

import pytest
from hypothesis import given
from unit.firewall.texts import (
    BARE,
    GRANT4,
    SETTINGS,
    settings,
    wide_grants,
)

from spassh_server.firewall import Forward, Grant, Settings, Width
from spassh_server.firewall import ipset_render as sets
from spassh_server.firewall import timed_render as timed
from spassh_server.firewall.iptables_hooks import (
    Hook,
    all_hooks,
    input_hook,
    render_jump,
    wanted_hooks,
)
from spassh_server.firewall.iptables_match import to_ports
from spassh_server.firewall.iptables_render import (
    forward_rules,
    input_rules,
    is_whole,
    numbered,
    render_chain,
    source_rules,
)
from spassh_server.firewall.timed_render import (
    NEVER,
    TimedGrant,
    held_at,
    render_timed,
)
from spassh_server.firewall.xtables import comment_of
from spassh_server.ports import Port

SSH = Port(6, 22)

ALLOWED = set(string.ascii_letters + string.digits + ' -.:,[]"/!_')
MATCH_SET = "-m set --match-set spassh-a4 src,dst -j ACCEPT"

SHELL, NAMES = Port(6, 2222), Port(17, 5353)
INNER4, INNER6 = b"\x0a\x00\x00\x05", b"\xfd" + bytes(14) + b"\x05"
GATEWAY = SETTINGS._replace(
    protect=(Port(6, 22),),
    always_allow=(ip_network("198.51.100.0/24"), ip_network("198.51.100.7")),
    grant_ports=(Port(6, 22), SHELL, NAMES),
    forwards=(Forward(SHELL, INNER4, 22, True), Forward(NAMES, INNER6, 53)),
)

CHAIN = """\
:SPASSH - [0:0]
-A SPASSH -m comment --comment "spassh 1/8 3265c124"\
 -m set --match-set spassh-a4 src,dst -j ACCEPT
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

ACCEPTING = """\
-m set --match-set spassh-a4 src,dst -j ACCEPT
-s 198.51.100.0/24 -p tcp -m multiport --dports 22,2222 -j ACCEPT
-s 198.51.100.0/24 -p udp -m multiport --dports 5353 -j ACCEPT
-p tcp -m tcp --dport 22 -m set --match-set spassh-f4-t22 src,src -j ACCEPT
-p tcp -m tcp --dport 22 --syn -m set --match-set spassh-o4 src,dst\
 -j SET --add-set spassh-f4-t22 src,src --exist --timeout 10
-p tcp -m tcp --dport 22 --syn -m set --match-set spassh-o4 src,dst\
 -j SET --del-set spassh-o4 src,dst
-p tcp -m tcp --dport 22 -m set --match-set spassh-f4-t22 src,src -j ACCEPT
-p udp -m udp --dport 5353 -m set --match-set spassh-f4-u5353 src,src -j ACCEPT
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-o4 src,dst\
 -j SET --add-set spassh-f4-u5353 src,src --exist --timeout 10
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-o4 src,dst -j SET --del-set spassh-o4 src,dst
-p udp -m udp --dport 5353 -m set --match-set spassh-f4-u5353 src,src -j ACCEPT"""

NOTING = """\
-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-f4-t2222 src,src -j RETURN
-s 198.51.100.0/24 -p tcp -m tcp --dport 2222 --syn\
 -j SET --add-set spassh-f4-t2222 src,src --exist --timeout 10
-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-a4 src,dst\
 -j SET --add-set spassh-f4-t2222 src,src --exist --timeout 10
-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-f4-t2222 src,src -j RETURN
-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-o4 src,dst\
 -j SET --add-set spassh-f4-t2222 src,src --exist --timeout 10
-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-o4 src,dst\
 -j SET --del-set spassh-o4 src,dst"""

NOTING6 = """\
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-f6-u5353 src,src -j RETURN
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-a6 src,dst\
 -j SET --add-set spassh-f6-u5353 src,src --exist --timeout 10
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-f6-u5353 src,src -j RETURN
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-o6 src,dst\
 -j SET --add-set spassh-f6-u5353 src,src --exist --timeout 10
-p udp -m udp --dport 5353 -m conntrack ! --ctstate ESTABLISHED\
 -m set --match-set spassh-o6 src,dst -j SET --del-set spassh-o6 src,dst"""

LEADING = (
    "-p tcp -m tcp --dport 2222 --syn -m set --match-set spassh-f4-t2222 src,src"
    " -j DNAT --to-destination 10.0.0.5:22"
)

FORWARDED = """\
-d 10.0.0.5 -p tcp -m tcp --dport 22 ! --syn -m conntrack --ctstate ESTABLISHED\
 --ctorigdstport 2222 --ctdir ORIGINAL -j ACCEPT
-s 10.0.0.5 -p tcp -m tcp --sport 22 -m conntrack --ctorigdstport 2222\
 --ctdir REPLY -j ACCEPT
-p icmp -m conntrack --ctstate RELATED --ctproto 6 --ctreplsrc 10.0.0.5\
 --ctorigdstport 2222 -j ACCEPT
-d 10.0.0.5 -p tcp -m tcp --dport 22 -m conntrack --ctorigdstport 2222\
 --ctdir ORIGINAL -m set --match-set spassh-f4-t2222 src,src -j ACCEPT
-d 10.0.0.5 -p tcp -m tcp --dport 22 -m conntrack --ctorigdstport 2222\
 --ctdir ORIGINAL -j DROP"""

FORWARDED6 = """\
-d fd00::5 -p udp -m udp --dport 53 -m conntrack --ctstate ESTABLISHED\
 --ctorigdstport 5353 --ctdir ORIGINAL -j ACCEPT
-s fd00::5 -p udp -m udp --sport 53 -m conntrack --ctorigdstport 5353\
 --ctdir REPLY -j ACCEPT
-p ipv6-icmp -m conntrack --ctstate RELATED --ctproto 17 --ctreplsrc fd00::5\
 --ctorigdstport 5353 -j ACCEPT
-d fd00::5 -p udp -m udp --dport 53 -m conntrack --ctorigdstport 5353\
 --ctdir ORIGINAL -j DROP"""


def test_the_chain_is_filled_in_one_transaction() -> None:
    rules = numbered("spassh", input_rules(SETTINGS, [MATCH_SET]))
    assert CHAIN.splitlines() == render_chain(input_hook(SETTINGS), rules)


def test_with_nothing_to_protect_only_the_knock_port_is_dropped() -> None:
    assert input_rules(BARE, []) == ["-p udp -m udp --dport 62201 -j DROP"]


def test_without_a_drop_of_our_own_nothing_is_dropped() -> None:
    others = GATEWAY._replace(own_drop=False)
    assert input_rules(others, [MATCH_SET]) == [MATCH_SET]
    assert not any("DROP" in rule for rule in forward_rules(others, 4, []))
    assert numbered("spassh", []) == ['-m comment --comment "spassh 1/1" -j RETURN']


def test_who_may_come_in_anyway_uses_nothing_up() -> None:
    # The port that leads to another host for IPv4 has no rules here.
    assert ACCEPTING.splitlines() == sets.accepting(GATEWAY, 4)


def test_what_is_granted_is_noted_and_sent_on() -> None:
    assert NOTING.splitlines() == sets.noting(GATEWAY, 4)
    assert NOTING6.splitlines() == sets.noting(GATEWAY, 6)
    assert sets.leading(GATEWAY, 4) == [LEADING]
    (dnat6,) = sets.leading(GATEWAY, 6)
    assert dnat6.endswith("-j DNAT --to-destination [fd00::5]:53")


def test_only_what_we_sent_on_may_pass() -> None:
    passing = sets.passing(GATEWAY, 4)
    assert FORWARDED.splitlines() == forward_rules(GATEWAY, 4, passing)
    assert FORWARDED6.splitlines() == forward_rules(GATEWAY, 6, [])


def test_without_sets_those_who_need_no_grant_have_rules_of_their_own() -> None:
    assert ACCEPTING.splitlines()[1:3] == timed.always_accepting(GATEWAY, 4)
    (leading,) = timed.always_leading(GATEWAY, 4)
    assert leading == (
        "-s 198.51.100.0/24 -p tcp -m tcp --dport 2222 --syn"
        " -j DNAT --to-destination 10.0.0.5:22"
    )
    (passing,) = timed.always_passing(GATEWAY, 4)
    assert passing == (
        "-s 198.51.100.0/24 -d 10.0.0.5 -p tcp -m tcp --dport 22"
        " -m conntrack --ctorigdstport 2222 --ctdir ORIGINAL -j ACCEPT"
    )
    for rules in (timed.always_accepting, timed.always_leading, timed.always_passing):
        assert rules(GATEWAY, 6) == []


def test_clients_are_hidden_only_where_it_is_asked_for() -> None:
    (rule,) = source_rules(GATEWAY, 4)
    assert rule == (
        "-d 10.0.0.5 -p tcp -m tcp --dport 22 -m conntrack --ctorigdstport 2222"
        " --ctdir ORIGINAL -j MASQUERADE"
    )
    assert source_rules(GATEWAY, 6) == []


def test_ports_are_put_together_by_fifteen() -> None:
    ports = [Port(6, number) for number in range(1, 17)]
    assert to_ports([Port(17, 53), *ports]) == [
        "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
        "-p tcp -m multiport --dports 16",
        "-p udp -m multiport --dports 53",
    ]
    assert to_ports([]) == []


def test_a_chain_is_whole_if_it_has_all_our_rules_in_order_beside_grants() -> None:
    wanted = numbered("spassh", input_rules(SETTINGS, []))
    present = [f"-A SPASSH {rule}" for rule in wanted]
    (rule,) = render_timed(SETTINGS, TimedGrant(GRANT4, 0, 1)).values()
    grant = f"-A SPASSH {rule}"
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


@given(settings, wide_grants)
def test_no_byte_outside_the_alphabet_is_emitted(
    any_settings: Settings, grant: Grant
) -> None:
    lines = sets.render_sets(any_settings, (4, 6)).splitlines()
    lines += sets.render_element(any_settings.name, grant)
    if grant.width != Width.ONCE:
        timed_grant = TimedGrant(grant, 0, 1, "a.b-c_D")
        lines += render_timed(any_settings, timed_grant).values()
    for version in (4, 6):
        lines += input_rules(any_settings, sets.accepting(any_settings, version))
        lines += forward_rules(any_settings, version, [])
        lines += sets.passing(any_settings, version)
        lines += sets.noting(any_settings, version)
        lines += sets.leading(any_settings, version)
        lines += source_rules(any_settings, version)
        lines += timed.always_accepting(any_settings, version)
        lines += timed.always_leading(any_settings, version)
        lines += timed.always_passing(any_settings, version)
    for hook in all_hooks(any_settings):
        lines += render_chain(hook, numbered(any_settings.name, ["-j RETURN"]))
        lines += render_jump(hook, ["-A INPUT -j OTHER"])
    for line in lines:
        assert set(line) <= ALLOWED
        assert line.count('"') in {0, 2}


@given(settings)
def test_each_protected_port_is_dropped_after_established(
    any_settings: Settings,
) -> None:
    rules = input_rules(any_settings, [MATCH_SET])
    assert rules.pop(0) == MATCH_SET
    if any_settings.own_drop:
        assert rules.pop().endswith(f"--dport {any_settings.knock_port} -j DROP")
    for port in any_settings.dropped:
        match = (
            f"-p {port.protocol_name} -m {port.protocol_name} --dport {port.number} "
        )
        mine = [rule.removeprefix(match) for rule in rules if rule.startswith(match)]
        whole = "! --syn " if port.protocol_name == "tcp" else ""
        accept = f"{whole}-m conntrack --ctstate ESTABLISHED -j ACCEPT"
        assert mine == [accept, "-j DROP"]
    assert len(rules) == 2 * len(any_settings.dropped)


def test_what_is_on_trial_is_dropped_between_two_times() -> None:
    on_trial = BARE._replace(trial=(SSH,))
    ssh = "-p tcp -m tcp --dport 22"
    # From a minute before, in case the clock is set back by a little, and no more.
    held = held_at(1_767_225_600.5, 120)
    when = "-m time --datestart 2025-12-31T23:59:00 --datestop 2026-01-01T00:02:00"
    assert input_rules(on_trial, [], held) == [
        f"{ssh} ! --syn -m conntrack --ctstate ESTABLISHED {when} -j ACCEPT",
        f"{ssh} {when} -j DROP",
        *input_rules(BARE, []),
    ]


def test_another_time_is_not_another_chain() -> None:
    """Each process that looks at the chain would have another one."""
    on_trial = BARE._replace(trial=(SSH,))
    found = {
        tuple(map(comment_of, numbered("spassh", input_rules(settings, [], held))))
        for settings, held in (
            (on_trial, NEVER),
            (on_trial, held_at(1_767_225_600, 120)),
            (on_trial._replace(trial=(Port(6, 443),)), NEVER),
            (BARE._replace(protect=(SSH,)), NEVER),
        )
    }
    assert len(found) == 3


def test_until_it_is_held_what_is_on_trial_is_never_dropped() -> None:
    rules = input_rules(BARE._replace(trial=(SSH,)), [])
    then = "--datestart 1970-01-01T00:00:00 --datestop 1970-01-01T00:00:00"
    assert [rule.partition("-m time ")[2] for rule in rules[:2]] == [
        f"{then} -j ACCEPT",
        f"{then} -j DROP",
    ]


@given(settings)
def test_no_name_is_too_long(any_settings: Settings) -> None:
    for version in (4, 6):
        for name in sets.set_names(any_settings, version):
            assert len(name) <= 31
        for hook in wanted_hooks(any_settings, version, notes=True):
            assert len(hook.chain) <= 28
    assert len({*all_hooks(any_settings)}) == 5


def test_every_hook_has_a_chain_of_its_own() -> None:
    hooks = all_hooks(GATEWAY)
    assert len({(hook.table, hook.chain) for hook in hooks}) == len(hooks)
    assert [hook.base for hook in wanted_hooks(GATEWAY, 4)] == [
        "INPUT",
        "FORWARD",
        "POSTROUTING",
        "PREROUTING",
    ]
    assert [hook.base for hook in wanted_hooks(GATEWAY, 6)] == [
        "INPUT",
        "FORWARD",
        "PREROUTING",
    ]
    # Who is sent on is noted before.
    noted = wanted_hooks(GATEWAY, 6, notes=True)
    assert [hook.table for hook in noted] == ["filter", "filter", "mangle", "nat"]
    assert wanted_hooks(SETTINGS, 4, notes=True) == wanted_hooks(SETTINGS, 4)
    assert wanted_hooks(SETTINGS, 4) == [Hook("filter", "INPUT", "spassh")]
