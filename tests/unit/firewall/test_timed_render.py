"""Grants as rules that carry their own end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.firewall.test_iptables_render import GATEWAY, SHELL
from unit.firewall.texts import GRANT4, GRANT6, SETTINGS, settings, wide_grants

from spassh_server.firewall import FirewallError, Grant, Settings, Width
from spassh_server.firewall.iptables_hooks import forward_hook, input_hook, lead_hook
from spassh_server.firewall.timed_render import (
    SLACK_SECONDS,
    TimedGrant,
    given_at,
    parse_timed,
    render_timed,
)
from spassh_server.firewall.xtables import comment_of

START, END = 1_699_999_900, 1_700_000_000
TIME = "-m time --datestart 2023-11-14T22:11:40 --datestop 2023-11-14T22:13:19"
narrow = wide_grants.filter(lambda grant: grant.width != Width.ONCE)


def test_a_grant_is_a_rule_with_its_end() -> None:
    here = input_hook(SETTINGS)
    assert render_timed(SETTINGS, TimedGrant(GRANT4, START, END)) == {
        here: f"-s 192.0.2.2 -p tcp -m tcp --dport 22 {TIME} -m comment --comment"
        ' "spassh tcp/22 192.0.2.2 1699999900 1700000000 address" -j ACCEPT'
    }
    flow = GRANT6._replace(width=Width.FLOW, source_port=40001)
    assert render_timed(SETTINGS, TimedGrant(flow, START, END, "alice")) == {
        here: "-s 2001:db8::2 -p udp -m udp --sport 40001 --dport 53"
        f" {TIME} -m comment --comment"
        ' "spassh udp/53 2001:db8::2 1699999900 1700000000 flow:40001 alice" -j ACCEPT'
    }


def test_a_grant_of_a_port_that_leads_elsewhere_is_two_rules() -> None:
    flow = Grant(GRANT4.address, SHELL, Width.FLOW, 40001)
    end = (
        f"{TIME} -m comment --comment"
        ' "spassh tcp/2222 192.0.2.2 1699999900 1700000000 flow:40001 alice"'
    )
    assert render_timed(GATEWAY, TimedGrant(flow, START, END, "alice")) == {
        forward_hook(GATEWAY): "-s 192.0.2.2 -d 10.0.0.5 -p tcp -m tcp --sport 40001"
        " --dport 22 -m conntrack --ctorigdstport 2222 --ctdir ORIGINAL"
        f" {end} -j ACCEPT",
        lead_hook(GATEWAY): "-s 192.0.2.2 -p tcp -m tcp --sport 40001 --dport 2222"
        f" --syn {end} -j DNAT --to-destination 10.0.0.5:22",
    }
    # For IPv6 it is a port of this host.
    six = TimedGrant(Grant(GRANT6.address, SHELL), START, END)
    assert render_timed(GATEWAY, six).keys() == {input_hook(GATEWAY)}


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [(END + 0.5, END - SLACK_SECONDS, END + 16), (3.0, 0, 18)],
    ids=["now", "a clock that begins anew"],
)
def test_a_grant_holds_from_a_little_before_it_is_given(
    now: float, start: int, end: int
) -> None:
    timed = given_at(now, GRANT4, 15, "alice")
    assert timed == TimedGrant(GRANT4, start, end, "alice")
    assert [timed.holds(at) for at in (start, now, end - 0.5, end)] == [
        *(True, True, True),
        False,
    ]
    assert not timed.holds(start - 0.5)


@given(
    settings,
    narrow,
    st.integers(0, 2**33),
    st.integers(1, 2**33),
    st.sampled_from(["", "al.ice", "-"]),
)
def test_a_grant_is_read_from_its_own_comment(
    any_settings: Settings, grant: Grant, start: int, end: int, user: str
) -> None:
    timed = TimedGrant(grant, start, end, user)
    for rule in render_timed(any_settings, timed).values():
        comment = comment_of(f"-A CHAIN {rule}")
        assert timed == parse_timed(comment, any_settings.name)
        assert parse_timed(comment, any_settings.name + "x") is None


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "spassh",
        "spassh 1/3",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000",
        "spassh tcp/22 192.0.2.2 1699999900 soon address",
        "spassh tcp/22 192.0.2.2 soon 1700000000 address",
        "spassh tcp/22 192.0.2.2 1700000000 address",
        "spassh tcp/22 192.0.2.2 1700000000 address alice",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 address alice more",
        'spassh tcp/22 192.0.2.2 1699999900 1700000000 address a"',
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 once",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 flow",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 flow:0",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 flow:65536",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 address:40001",
        "spassh tcp/22 192.0.2.2 1699999900 1700000000 host",
        "spassh tcp/0 192.0.2.2 1699999900 1700000000 address",
        "spassh sctp/22 192.0.2.2 1699999900 1700000000 address",
        "spassh tcp/22 192.0.2.0/24 1699999900 1700000000 address",
        "spassh tcp/22 host.example 1699999900 1700000000 address",
        "other tcp/22 192.0.2.2 1699999900 1700000000 address",
    ],
)
def test_another_comment_is_no_grant(comment: str) -> None:
    assert parse_timed(comment, "spassh") is None


def test_no_user_name_can_end_the_comment() -> None:
    with pytest.raises(FirewallError, match="user"):
        render_timed(SETTINGS, TimedGrant(GRANT4, START, END, 'a" -j ACCEPT'))
