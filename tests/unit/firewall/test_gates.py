"""Our one rule in the chains of others: what it is, and when it is put there."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from unit.firewall.texts import SETTINGS, settings

from spassh_server.firewall import Settings, iptables_gate, native_gate
from spassh_server.firewall.foreign import is_behind_us, is_filter_input
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
        ([PRINTED.replace("spassh:", "spassh-2:")], [f"-I INPUT 1 {GATE}"]),
    ],
)
def test_input_of_iptables_begins_with_our_rule(
    rules: list[str], lines: list[str]
) -> None:
    assert lines == iptables_gate.render_repair(rules, SETTINGS)


def test_only_our_own_rules_are_taken_out_of_iptables() -> None:
    rules = [OTHER, PRINTED, f"-A INPUT {OLD_GATE}", PRINTED.replace("ACCEPT", "DROP")]
    expected = [f"-D INPUT {GATE}", f"-D INPUT {OLD_GATE}"]
    assert expected == iptables_gate.render_removal(rules, "spassh")


@given(settings)
def test_no_byte_outside_the_alphabet_is_emitted(any_settings: Settings) -> None:
    for line in iptables_gate.render_repair([OTHER], any_settings):
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
    ("changes", "behind"),
    [
        ({}, True),
        ({"family": "ip"}, True),
        ({"family": "ip6"}, True),
        ({"prio": 10}, True),
        ({"prio": -9}, True),
        ({"prio": -10}, False),
        ({"prio": -150}, False),
        ({"hook": "forward"}, False),
        ({"hook": "ingress"}, False),
        ({"type": "nat"}, False),
        ({"family": "bridge"}, False),
        ({"family": "arp"}, False),
        ({"table": "spassh"}, False),
        ({"family": "ip", "table": "spassh"}, True),
        ({"family": "ip", "table": "filter", "name": "INPUT"}, True),
        ({"family": "ip", "table": "security", "name": "INPUT", "prio": 50}, False),
    ],
)
def test_filter_chains_of_the_input_hook_are_behind_us(
    changes: dict[str, Any], behind: bool
) -> None:
    assert behind == is_behind_us(CHAIN | changes, "spassh")


def test_a_chain_that_is_on_no_hook_is_not_behind_us() -> None:
    regular = {"family": "inet", "table": "x", "name": "input", "handle": 1}
    assert not is_behind_us(regular, "spassh")


@pytest.mark.parametrize(
    ("family", "table", "name", "is_one"),
    [
        ("ip", "filter", "INPUT", True),
        ("ip6", "filter", "INPUT", True),
        ("inet", "filter", "INPUT", False),
        ("ip", "filter", "input", False),
        ("ip", "mine", "INPUT", False),
    ],
)
def test_iptables_has_its_own_names(
    family: str, table: str, name: str, is_one: bool
) -> None:
    chain = CHAIN | {"family": family, "table": table, "name": name}
    assert is_one == is_filter_input(chain)
