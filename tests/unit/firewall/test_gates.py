"""Our one rule in the chains of others: what it is, and when it is put there."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from unit.firewall.texts import SETTINGS, settings

from spassh_server.firewall import Settings, iptables_gate, native_gate
from spassh_server.firewall.foreign import (
    is_before_us,
    is_behind_us,
    is_filter,
    is_of_iptables,
)
from spassh_server.firewall.gate_tag import parse_tag

ALLOWED = set(string.ascii_letters + string.digits + " -:/")

GATE = (
    "-m mark --mark 0x20000000/0x20000000"
    " -m comment --comment spassh:0x20000000 -j ACCEPT"
)
OLD_GATE = "-m mark --mark 0x4/0x4 -m comment --comment spassh:0x4 -j ACCEPT"
PRINTED = f"-A INPUT {GATE}".replace("spassh:0x20000000", '"spassh:0x20000000"')
PRINTED_ANOTHER_WAY = (
    '-A INPUT -m comment --comment "spassh:0x20000000"'
    " -m mark --mark 0x20000000/0x20000000 -j ACCEPT"
)
SIBLING = "-A INPUT -m mark --mark 0x4/0x4 -m comment --comment spassh-2:0x4 -j ACCEPT"
OTHER = "-A INPUT -p tcp -j OTHER"


@pytest.mark.parametrize(
    ("rules", "lines"),
    [
        ([], [f"-I INPUT 1 {GATE}"]),
        ([OTHER], [f"-I INPUT 1 {GATE}"]),
        ([PRINTED, OTHER], []),
        ([PRINTED_ANOTHER_WAY], []),
        ([OTHER, PRINTED], [f"-D INPUT {GATE}", f"-I INPUT 1 {GATE}"]),
        ([PRINTED] * 2, [f"-D INPUT {GATE}"] * 2 + [f"-I INPUT 1 {GATE}"]),
        ([f"-A INPUT {OLD_GATE}"], [f"-D INPUT {OLD_GATE}", f"-I INPUT 1 {GATE}"]),
        ([PRINTED.replace("ACCEPT", "DROP")], [f"-I INPUT 1 {GATE}"]),
        ([SIBLING], [f"-I INPUT 1 {GATE}"]),
        ([SIBLING, SIBLING, PRINTED, OTHER], []),
        ([SIBLING, OTHER, PRINTED], [f"-D INPUT {GATE}", f"-I INPUT 1 {GATE}"]),
        (
            [SIBLING.replace("ACCEPT", "DROP"), PRINTED],
            [f"-D INPUT {GATE}", f"-I INPUT 1 {GATE}"],
        ),
        (
            [SIBLING.replace("0x4/0x4", "0x8/0x8"), PRINTED],
            [f"-D INPUT {GATE}", f"-I INPUT 1 {GATE}"],
        ),
    ],
)
def test_input_of_iptables_begins_with_our_rule(
    rules: list[str], lines: list[str]
) -> None:
    assert lines == iptables_gate.render_repair("INPUT", rules, SETTINGS)


def test_forward_of_iptables_begins_with_our_rule() -> None:
    ours, other = (rule.replace("INPUT", "FORWARD") for rule in (PRINTED, OTHER))
    assert not iptables_gate.render_repair("FORWARD", [ours, other], SETTINGS)
    for rules in ([], [other], [PRINTED]):
        lines = iptables_gate.render_repair("FORWARD", rules, SETTINGS)
        assert lines == [f"-I FORWARD 1 {GATE}"]
    assert iptables_gate.render_removal(
        "FORWARD", [other, ours, PRINTED], "spassh"
    ) == [f"-D FORWARD {GATE}"]


def test_only_our_own_rules_are_taken_out_of_iptables() -> None:
    rules = [OTHER, PRINTED, f"-A INPUT {OLD_GATE}", PRINTED.replace("ACCEPT", "DROP")]
    expected = [f"-D INPUT {GATE}", f"-D INPUT {OLD_GATE}"]
    assert expected == iptables_gate.render_removal("INPUT", rules, "spassh")


@given(settings)
def test_no_byte_outside_the_alphabet_is_emitted(any_settings: Settings) -> None:
    for line in iptables_gate.render_repair("INPUT", [OTHER], any_settings):
        assert set(line) <= ALLOWED
    # JSON is plain ASCII, and what is ours in it has no quotes to escape.
    (command,) = native_gate.render_repair(CHAIN, [], any_settings)
    assert json.dumps(command).isascii()
    assert set(command["insert"]["rule"]["comment"]) <= ALLOWED


@pytest.mark.parametrize(
    ("comment", "mark"),
    [
        ("spassh:0x4", 4),
        ("spassh:0x80000000", 0x8000_0000),
        ("spassh:4", 0),
        ("spassh:0x04", 0),
        ("spassh:0x4 ", 0),
        ("spassh:0X4", 0),
        ("spassh:-0x4", 0),
        ("spassh:0x0", 0),
        ("spassh:", 0),
        ("spassh", 0),
        ("spassh 1/8", 0),
        ("spassh-2:0x4", 0),
        ("", 0),
    ],
)
def test_a_tag_has_one_spelling(comment: str, mark: int) -> None:
    assert mark == parse_tag(comment, "spassh")


CHAIN: dict[str, Any] = {
    "family": "inet",
    "table": 'odd "name"',
    "name": "input",
    "type": "filter",
    "hook": "input",
    "prio": 0,
    "policy": "drop",
}
PLACE = {"family": "inet", "table": 'odd "name"', "chain": "input"}
OURS = {"handle": 7, "comment": "spassh:0x20000000", "expr": [{"accept": None}]}
OLD = {"handle": 8, "comment": "spassh:0x4", "expr": [{"accept": None}]}
THEIRS = {"handle": 9, "comment": "web", "expr": [{"drop": None}]}
INSERT = {
    "insert": {
        "rule": {
            **PLACE,
            "comment": "spassh:0x20000000",
            "expr": [
                {
                    "match": {
                        "op": "==",
                        "left": {"&": [{"meta": {"key": "mark"}}, 0x2000_0000]},
                        "right": 0x2000_0000,
                    }
                },
                {"accept": None},
            ],
        }
    }
}


SIBLINGS = {
    "handle": 6,
    "comment": "spassh-2:0x4",
    "expr": [
        {
            "match": {
                "op": "==",
                "left": {"&": [{"meta": {"key": "mark"}}, 4]},
                "right": 4,
            }
        },
        {"accept": None},
    ],
}


def delete(handle: int) -> dict[str, Any]:
    return {"delete": {"rule": {**PLACE, "handle": handle}}}


@pytest.mark.parametrize(
    ("rules", "commands"),
    [
        ([], [INSERT]),
        ([THEIRS], [INSERT]),
        ([OURS, THEIRS], []),
        ([THEIRS, OURS], [delete(7), INSERT]),
        ([OURS, OURS | {"handle": 10}], [delete(7), delete(10), INSERT]),
        ([OLD, THEIRS], [delete(8), INSERT]),
        ([OLD, OURS], [delete(8), delete(7), INSERT]),
        ([SIBLINGS], [INSERT]),
        ([SIBLINGS, SIBLINGS, OURS, THEIRS], []),
        ([SIBLINGS, THEIRS, OURS], [delete(7), INSERT]),
        ([SIBLINGS | {"expr": [{"drop": None}]}, OURS], [delete(7), INSERT]),
        ([SIBLINGS | {"comment": "spassh-2:0x8"}, OURS], [delete(7), INSERT]),
        ([SIBLINGS | {"comment": "Spassh:0x4"}, OURS], [delete(7), INSERT]),
    ],
)
def test_a_chain_of_nftables_begins_with_our_rule(
    rules: list[dict[str, Any]], commands: list[dict[str, Any]]
) -> None:
    assert commands == native_gate.render_repair(CHAIN, rules, SETTINGS)


def test_only_our_own_rules_are_taken_out_of_nftables() -> None:
    nameless = {"handle": 1, "expr": [{"accept": None}]}
    rules = [nameless, OURS, THEIRS, OLD]
    expected = [delete(7), delete(8)]
    assert expected == native_gate.render_removal(CHAIN, rules, "spassh")


@pytest.mark.parametrize(
    ("policy", "statements", "may_drop"),
    [
        ("drop", [], True),
        ("accept", [], False),
        ("accept", [{"match": {}}, {"accept": None}], False),
        ("accept", [{"counter": {}}, {"log": {}}], False),
        ("accept", [{"match": {}}, {"drop": None}], True),
        ("accept", [{"reject": {"type": "tcp reset"}}], True),
        ("accept", [{"jump": {"target": "x"}}], True),
        ("accept", [{"goto": {"target": "x"}}], True),
        ("accept", [{"vmap": {}}], True),
        ("accept", [{"queue": {"num": 0}}], True),
        ("accept", [{"xt": {"type": "target", "name": "REJECT"}}], True),
    ],
)
def test_a_chain_may_drop_by_its_policy_or_by_any_rule(
    policy: str, statements: list[dict[str, Any]], may_drop: bool
) -> None:
    chain = CHAIN | {"policy": policy}
    rules = [{"expr": [{"accept": None}]}, {"expr": statements}]
    assert may_drop == native_gate.may_drop(chain, rules)


@pytest.mark.parametrize(
    ("changes", "is_one"),
    [
        ({}, True),
        ({"family": "ip"}, True),
        ({"family": "ip6"}, True),
        ({"hook": "forward"}, True),
        ({"type": "nat"}, False),
        ({"family": "bridge"}, False),
        ({"family": "arp"}, False),
        ({"table": "spassh"}, False),
        ({"family": "ip", "table": "spassh"}, True),
    ],
)
def test_filter_chains_for_ip_concern_us(changes: dict[str, Any], is_one: bool) -> None:
    assert is_one == is_filter(CHAIN | changes, "spassh")


def test_a_chain_that_is_on_no_hook_does_not_concern_us() -> None:
    regular = {"family": "inet", "table": "x", "name": "input", "handle": 1}
    assert not is_filter(regular, "spassh")


@pytest.mark.parametrize(
    ("changes", "behind"),
    [
        ({"prio": 0}, True),
        ({"prio": 10}, True),
        ({"prio": -9}, True),
        ({"prio": -10}, False),
        ({"prio": -150}, False),
        ({"family": "ip", "table": "filter", "name": "INPUT"}, True),
        ({"family": "ip", "table": "filter", "name": "FORWARD"}, True),
    ],
)
def test_a_chain_is_either_behind_us_or_before_us(
    changes: dict[str, Any], behind: bool
) -> None:
    assert behind == is_behind_us(CHAIN | changes)
    assert behind != is_before_us(CHAIN | changes)


@pytest.mark.parametrize("name", ["INPUT", "FORWARD"])
def test_chains_of_iptables_that_are_no_filter_are_left_alone(name: str) -> None:
    chain = CHAIN | {"family": "ip", "table": "security", "name": name, "prio": 50}
    assert not is_behind_us(chain)


@pytest.mark.parametrize(
    ("family", "table", "hook", "name", "is_one"),
    [
        ("ip", "filter", "input", "INPUT", True),
        ("ip6", "filter", "input", "INPUT", True),
        ("ip", "filter", "forward", "FORWARD", True),
        ("ip", "filter", "forward", "INPUT", False),
        ("inet", "filter", "input", "INPUT", False),
        ("ip", "filter", "input", "input", False),
        ("ip", "mine", "input", "INPUT", False),
    ],
)
def test_iptables_has_its_own_names(
    family: str, table: str, hook: str, name: str, is_one: bool
) -> None:
    chain = CHAIN | {"family": family, "table": table, "hook": hook, "name": name}
    assert is_one == is_of_iptables(chain)
