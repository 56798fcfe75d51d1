"""What is made of the packet filter, and of the rules of others in it."""

import pytest
from unit.firewall.texts import BARE
from unit.server.doctor.test_judge_service import RESTART, SERVICE, START, Told, told
from unit.server.parties import HERE, SSH, THERE

from spassh.protocol.finding import Result
from spassh_server.doctor.judge_filter import (
    Filter,
    judge_detours,
    judge_filter,
    judge_foreign,
    judge_tracking,
)
from spassh_server.doctor.sockets import Session
from spassh_server.doctor.tracking import Tracking
from spassh_server.firewall.detours import Detour

GUARD = BARE._replace(protect=(SSH,))
WHOLE = Filter("nftables", "nftables, because it works here", in_place=True)
WHY = ("ok", "nftables, because it works here", "")


@pytest.mark.parametrize(
    ("seen", "running", "expected"),
    [
        (
            WHOLE,
            True,
            ("ok", "our rules are in place and whole, and judge before those of", ""),
        ),
        (
            WHOLE._replace(in_place=False),
            True,
            ("problem", "our rules are not in place, or not whole, or oth", RESTART),
        ),
        (
            WHOLE._replace(in_place=False),
            False,
            ("problem", "our rules are not in place", START),
        ),
        (
            WHOLE._replace(in_place=None, unknown="iptables cannot list INPUT"),
            True,
            ("unknown", "iptables cannot list INPUT", RESTART),
        ),
        (
            WHOLE._replace(in_place=None, unknown="no", hint="do it"),
            True,
            ("unknown", "no", "do it"),
        ),
    ],
)
def test_whether_our_rules_come_first_is_told(
    seen: Filter, running: bool, expected: Told
) -> None:
    firewall, order = judge_filter(seen, SERVICE, running=running)
    assert told([firewall], "firewall") == [WHY]
    result, text, remedy = expected
    assert (order.check, str(order.result), order.remedy) == ("order", result, remedy)
    assert order.seen.startswith(text)


@pytest.mark.parametrize(
    ("hint", "remedy"), [("apt install nftables", "apt install nftables"), ("", "")]
)
def test_that_no_packet_filter_works_is_told(hint: str, remedy: str) -> None:
    seen = Filter(why="no packet filter works here: x", hint=hint)
    found = told(judge_filter(seen, SERVICE, running=False), "firewall")
    assert found == [
        ("problem", "no packet filter works here: x", remedy or "spasshd check")
    ]
    assert judge_foreign(seen, SERVICE, running=False) == []


@pytest.mark.parametrize(
    ("warning", "remedy"),
    [
        (
            "chain inet f input may drop granted packets: it comes before ours",
            (
                "let the protected ports through there, or give it a priority above"
                " -10: nft -a list chain inet f input"
            ),
        ),
        (
            "this host does not forward IPv4 packets: sysctl -w net.ipv4.ip_forward=1",
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        (
            "grants for one connection take ipset: apt install ipset",
            "apt install ipset",
        ),
        (
            'chain x may drop what is granted: backend = "nftables" leads around it',
            f'write backend = "nftables" in /etc/spassh/spasshd.toml, then: {RESTART}',
        ),
        (
            "granted packets may be dropped: chain x: no",
            "see what it has: nft list ruleset",
        ),
    ],
)
def test_what_may_drop_granted_packets_is_told_with_its_remedy(
    warning: str, remedy: str
) -> None:
    seen = WHOLE._replace(warnings=(warning,))
    found = judge_foreign(seen, SERVICE, running=True)
    assert told(found, "foreign") == [("warning", warning, remedy)]


def test_a_chain_that_does_not_lead_on_is_a_problem_once_our_rules_are_there() -> None:
    seen = WHOLE._replace(missing=("inet f input",))
    text = "inet f input does not begin with our rule: what is granted may be dropped"
    for running, remedy in ((True, RESTART), (False, START)):
        found = judge_foreign(seen, SERVICE, running=running)
        assert told(found, "foreign") == [("problem", text, remedy)]
    none = judge_foreign(seen._replace(in_place=False), SERVICE, running=False)
    assert told(none, "foreign")[0][0] == "ok"


def detour(*, translates: bool, is_named: bool) -> Detour:
    return Detour("chain ip x y", (SSH,), translates, is_named, "nft delete it")


@pytest.mark.parametrize(
    ("one", "result", "seen", "remedy"),
    [
        (
            detour(translates=True, is_named=True),
            "warning",
            "chain ip x y sends tcp/22 elsewhere before our rules see it",
            "if that is not meant: nft delete it",
        ),
        (
            detour(translates=False, is_named=True),
            "problem",
            "chain ip x y has packets to tcp/22 not tracked",
            "nft delete it",
        ),
        (
            detour(translates=False, is_named=False),
            "warning",
            "chain ip x y has packets to tcp/22 not tracked",
            "nft delete it",
        ),
    ],
)
def test_ways_around_are_told(one: Detour, result: str, seen: str, remedy: str) -> None:
    (finding,) = judge_detours(GUARD, [one])
    assert (finding.check, str(finding.result)) == ("bypass", result)
    assert finding.seen.startswith(seen)
    assert finding.remedy == remedy


def test_where_nothing_is_protected_nothing_leads_around() -> None:
    assert judge_detours(BARE, []) == []
    assert judge_tracking(BARE, Tracking(None, None), SERVICE) == []
    (finding,) = judge_detours(GUARD, [])
    assert finding.result is Result.OK


LOST = (Session(SSH, HERE, 4000), Session(SSH, HERE, 4001), Session(SSH, THERE, 1))


@pytest.mark.parametrize(
    ("tracking", "expected"),
    [
        (
            Tracking(1, 100),
            [("ok", "connections are tracked: sessions outlast their grant", "")],
        ),
        (
            Tracking(89, 100, 2),
            [
                (
                    "ok",
                    (
                        "connections are tracked, the 2 sessions among them: sessions"
                        " outlast their grant"
                    ),
                    "",
                )
            ],
        ),
        (
            Tracking(1, None),
            [("ok", "connections are tracked: sessions outlast their grant", "")],
        ),
        (
            Tracking(None, None),
            [
                (
                    "unknown",
                    "this kernel shows no conntrack, and without it no session lasts",
                    f"modprobe nf_conntrack, then: {RESTART}",
                )
            ],
        ),
        (
            Tracking(90, 100, 3, LOST),
            [
                (
                    "problem",
                    "conntrack has 90 of 100 entries: new connections are dropped",
                    "sysctl -w net.netfilter.nf_conntrack_max=200",
                ),
                (
                    "problem",
                    (
                        "3 of 3 sessions are not tracked, and will hang: from"
                        " 192.0.2.7, 198.51.100.9"
                    ),
                    RESTART,
                ),
            ],
        ),
    ],
)
def test_whether_sessions_outlast_their_grant_is_told(
    tracking: Tracking, expected: list[Told]
) -> None:
    found = judge_tracking(GUARD, tracking, SERVICE)
    assert told(found, "established") == expected
