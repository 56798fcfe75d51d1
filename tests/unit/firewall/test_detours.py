"""Rules of others that send packets elsewhere, or hide them from conntrack."""

import json
from typing import Any

import pytest
from unit.firewall.texts import SETTINGS

from spassh_server.firewall import FirewallError, detours
from spassh_server.firewall.detours import (
    find_detours,
    iptables_detours,
    native_detours,
    xt_tables,
)
from spassh_server.ports import Port

SSH, WEB, DNS = Port(6, 22), Port(6, 443), Port(17, 53)
PORTS = (SSH, WEB, DNS)

Json = dict[str, Any]


def dport(right: Any, protocol: str = "tcp", op: str = "==") -> Json:
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def by_map(data: Any) -> Json:
    key = {"payload": {"protocol": "tcp", "field": "dport"}}
    return {"dnat": {"family": "ip", "addr": {"map": {"key": key, "data": data}}}}


NOTRACK: Json = {"notrack": None}
REDIRECT: Json = {"redirect": {"port": 2222}}
DNAT: Json = {"dnat": {"addr": "10.0.0.2"}}
COUNTER: Json = {"counter": {"packets": 0, "bytes": 0}}
ELSEWHERE: Json = {
    "match": {
        "op": "==",
        "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "192.0.2.9",
    }
}


def listing(
    *expr: Json, family: str = "ip", table: str = "x", hook: str = "prerouting"
) -> bytes:
    place = {"family": family, "table": table}
    chain = {**place, "name": "c", "type": "nat", "hook": hook, "prio": -100}
    rule = {**place, "chain": "c", "handle": 7, "expr": list(expr)}
    ports = {**place, "name": "s", "elem": [22, {"range": [400, 500]}]}
    hosts = {**place, "name": "m", "elem": [[22, "10.0.0.2"]]}
    entries = [{"metainfo": {}}, {"chain": chain}, {"set": ports}, {"map": hosts}]
    return json.dumps({"nftables": [*entries, {"rule": rule}]}).encode()


@pytest.mark.parametrize(
    ("expr", "ports"),
    [
        ([dport(22), REDIRECT], [SSH]),
        ([dport(22), COUNTER, DNAT], [SSH]),
        ([dport(22, "th"), REDIRECT], [SSH]),
        ([meta("l4proto", "tcp"), dport(22, "th"), REDIRECT], [SSH]),
        ([dport({"set": [22, {"range": [440, 450]}]}), DNAT], [SSH, WEB]),
        ([dport({"range": [20, 30]}), DNAT], [SSH]),
        ([dport("@s"), DNAT], [SSH, WEB]),
        ([dport({"set": [{"elem": {"val": 22, "timeout": 9}}]}), DNAT], [SSH]),
        ([by_map({"set": [[22, "10.0.0.4"]]})], [SSH]),
        ([by_map("@m")], [SSH]),
        ([dport(53, "udp"), DNAT], [DNS]),
        ([ELSEWHERE, dport(22), DNAT], [SSH]),
        ([dport(22), {"tproxy": {"port": 1}}], [SSH]),
        # Others than the ports in question.
        ([dport(23), REDIRECT], []),
        ([dport(22, "udp"), REDIRECT], []),
        ([meta("l4proto", "udp"), dport(22, "th"), REDIRECT], []),
        ([dport(22, op="!="), REDIRECT], []),
        ([dport("@none"), REDIRECT], []),
        ([by_map({"set": [[23, "10.0.0.4"]]})], []),
        ([by_map("@none")], []),
        # Who leads to it says for which ports it is.
        ([DNAT], []),
        ([meta("iifname", "lo"), dport(22), DNAT], []),
        ([dport(22), {"accept": None}], []),
        ([dport(22), {"snat": {"addr": "10.0.0.2"}}], []),
    ],
)
def test_translations_of_named_ports_are_found(
    expr: list[Json], ports: list[Port]
) -> None:
    found = native_detours(listing(*expr), "spassh", PORTS)
    assert [port for one in found for port in one.ports] == ports
    for one in found:
        assert one.translates
        assert one.is_named
        assert one.place == "chain ip x c"
        assert one.removal == "nft delete rule ip x c handle 7"


@pytest.mark.parametrize(
    ("expr", "named", "silent"),
    [
        ([NOTRACK], [], [SSH, WEB, DNS]),
        ([dport(22), NOTRACK], [SSH], []),
        ([dport(22, op="!="), NOTRACK], [], [WEB]),
        ([meta("l4proto", "udp"), NOTRACK], [], [DNS]),
        ([meta("l4proto", {"set": ["tcp", "udp"]}), NOTRACK], [], [SSH, WEB, DNS]),
        ([meta("l4proto", "tcp", "!="), NOTRACK], [], [DNS]),
        ([dport(53, "udp"), NOTRACK], [DNS], []),
        ([meta("iif", "lo"), NOTRACK], [], []),
        ([meta("iifname", "lo", "!="), NOTRACK], [], [SSH, WEB, DNS]),
        ([meta("iifname", "eth0"), NOTRACK], [], [SSH, WEB, DNS]),
        ([ELSEWHERE, NOTRACK], [], [SSH, WEB, DNS]),
        ([{"match": {"op": "==", "left": "x", "right": 1}}, NOTRACK], [], [*PORTS]),
    ],
)
def test_packets_that_are_not_tracked_are_found(
    expr: list[Json], named: list[Port], silent: list[Port]
) -> None:
    found = native_detours(listing(*expr), "spassh", PORTS)
    assert not any(one.translates for one in found)
    assert [port for one in found if one.is_named for port in one.ports] == named
    assert [port for one in found if not one.is_named for port in one.ports] == silent


@pytest.mark.parametrize("hook", ["output", "postrouting"])
def test_what_happens_to_packets_that_leave_is_no_matter(hook: str) -> None:
    rules = listing(dport(22), NOTRACK, hook=hook)
    assert native_detours(rules, "spassh", PORTS) == []


def test_our_own_table_is_no_matter() -> None:
    ours = listing(dport(22), DNAT, family="inet", table="spassh")
    assert native_detours(ours, "spassh", PORTS) == []
    assert native_detours(ours, "spassh-2", PORTS)


def test_what_iptables_has_made_is_left_to_iptables() -> None:
    target = {"xt": {"type": "target", "name": "DNAT"}}
    made = listing(dport(22), target, family="ip6", table="nat")
    assert native_detours(made, "spassh", PORTS) == []
    assert xt_tables(made) == {(6, "nat")}
    assert xt_tables(listing(dport(22), DNAT)) == set()
    # A bridge is no matter of iptables.
    assert xt_tables(listing(target, family="bridge")) == set()


@pytest.mark.parametrize(
    ("rule", "named", "silent"),
    [
        ("-p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222", [SSH], []),
        ("! -i docker0 -p tcp --dport 22 -j DNAT --to-destination 1.2.3.4", [SSH], []),
        (
            "-p tcp -m multiport --dports 22,440:450 -j DNAT --to-d 1.2.3.4",
            [*PORTS[:2]],
            [],
        ),
        ("-p tcp --dport 20:30 -j TPROXY --on-port 1", [SSH], []),
        ("-p udp --dport 53 -j DNAT --to-destination 1.2.3.4", [DNS], []),
        ("-p tcp --dport 22 -j CT --notrack", [SSH], []),
        ("-j NOTRACK", [], [*PORTS]),
        ("-p tcp -j NOTRACK", [], [SSH, WEB]),
        ("! -p tcp -j NOTRACK", [], [DNS]),
        ("-p tcp ! --dport 22 -j NOTRACK", [], [WEB]),
        ("-i lo -j NOTRACK", [], []),
        ("! -i lo -j NOTRACK", [], [*PORTS]),
        ("-p tcp --dport 22 -j CT --zone 3", [], []),
        ("-p tcp --dport 23 -j DNAT --to-destination 1.2.3.4", [], []),
        ("-p tcp --dport ssh -j DNAT --to-destination 1.2.3.4", [], []),
        ("-p udp --dport 22 -j DNAT --to-destination 1.2.3.4", [], []),
        ("-j DNAT --to-destination 1.2.3.4", [], []),
        ("-p tcp --dport 22 -j ACCEPT", [], []),
        ("-p tcp --dport 22", [], []),
    ],
)
def test_rules_of_iptables_are_read(
    rule: str, named: list[Port], silent: list[Port]
) -> None:
    lines = ["-P PREROUTING ACCEPT", "-N DOCKER", f"-A DOCKER {rule}"]
    found = iptables_detours(lines, "iptables-nft", "nat", "spassh", PORTS)
    assert [port for one in found if one.is_named for port in one.ports] == named
    assert [port for one in found if not one.is_named for port in one.ports] == silent
    for one in found:
        assert one.place == "DOCKER in table nat of iptables-nft"
        assert one.removal == f"iptables-nft -t nat -D DOCKER {rule}"


@pytest.mark.parametrize(
    ("chain", "count"),
    [
        ("PREROUTING", 1),
        ("OUTPUT", 0),
        ("POSTROUTING", 0),
        ("SPASSH", 0),
        ("SPASSH-source", 0),
        ("SPASSHX", 1),
    ],
)
def test_chains_of_ours_and_those_for_packets_that_leave_are_no_matter(
    chain: str, count: int
) -> None:
    lines = [f"-A {chain} -p tcp --dport 22 -j DNAT --to-destination 1.2.3.4"]
    found = iptables_detours(lines, "iptables-legacy", "nat", "spassh", PORTS)
    assert len(found) == count


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"nftables": [{"rule": {}}]}',
        b'{"nftables": [{"rule": {"family": "ip", "table": "x", "expr": [7]}}]}',
        b'{"nftables": [{"set": 7}]}',
    ],
)
def test_an_answer_of_nft_that_makes_no_sense_is_an_error(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(detours, "find", lambda _: "/usr/sbin/nft")
    monkeypatch.setattr(detours, "run", lambda *_: answer)
    with pytest.raises(FirewallError, match="nftables: "):
        find_detours(SETTINGS)
