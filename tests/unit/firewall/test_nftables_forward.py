"""The rules for forwarded packets, to the byte."""

from ipaddress import ip_network

from unit.firewall.texts import SETTINGS

from spassh_server.firewall import Forward, Settings, Width
from spassh_server.firewall.nftables_forward import forward_chains
from spassh_server.firewall.nftables_render import Chain
from spassh_server.ports import Port

ALL = frozenset(Width)
INNER4 = b"\x0a\x09\x00\x05"
INNER6 = b"\xfd\x00" + bytes(13) + b"\x05"
SHELL = Port(6, 2222)
NAMES = Port(17, 5353)
GATEWAY = SETTINGS._replace(
    forwards=(Forward(SHELL, INNER4, 22), Forward(NAMES, INNER4, 53)),
    grant_ports=(SHELL, NAMES),
)


def chains(settings: Settings, widths: frozenset[Width] = ALL) -> dict[str, Chain]:
    return {chain.name: chain for chain in forward_chains(settings, widths)}


def test_without_forwards_there_are_no_chains() -> None:
    assert chains(SETTINGS) == {}


def test_each_chain_is_before_those_of_others() -> None:
    found = chains(GATEWAY)
    assert [chain.definition for chain in found.values()] == [
        "lead4",
        "prerouting { type nat hook prerouting priority -110; policy accept; }",
        "forward { type filter hook forward priority -10; policy accept; }",
    ]


def test_first_packets_of_granted_connections_go_to_the_inner_host() -> None:
    found = chains(GATEWAY)
    ours = "meta l4proto . th dport { 6 . 2222, 17 . 5353 }"
    use_up = (
        "ip saddr . meta l4proto . th dport @once4"
        " add @begun4 { ip saddr . th sport . meta l4proto . th dport }"
        " delete @once4 { ip saddr . meta l4proto . th dport } goto lead4"
    )
    assert found["prerouting"].rules == [
        "fib daddr type != local accept",
        f"{ours} ip saddr . meta l4proto . th dport @granted4 goto lead4",
        f"{ours} ip saddr . th sport . meta l4proto . th dport @flow4 goto lead4",
        f"{ours} ip saddr . th sport . meta l4proto . th dport @begun4 goto lead4",
        f"{ours} tcp flags & (fin | syn | rst | ack) == syn {use_up}",
        f"{ours} meta l4proto 17 ct state != established {use_up}",
    ]
    lead = (
        "add @led4 { ip saddr . th sport . meta l4proto } dnat ip to"
        " meta l4proto . th dport"
        " map { 6 . 2222 : 10.9.0.5 . 22, 17 . 5353 : 10.9.0.5 . 53 }"
    )
    assert found["lead4"].rules == [lead]


def test_only_what_we_have_led_there_or_is_granted_gets_through_as_new() -> None:
    accept = "meta mark set meta mark or 0x20000000 accept"
    led = f"ip saddr . th sport . meta l4proto @led4 {accept}"
    address = "ip saddr . meta l4proto . ct original proto-dst"
    flow = "ip saddr . th sport . meta l4proto . ct original proto-dst"
    once = (
        f"{address} @once4 add @led4 {{ ip saddr . th sport . meta l4proto }}"
        f" delete @once4 {{ {address} }}"
    )
    expected = ["meta mark set meta mark and 0xdfffffff"]
    flags = "tcp flags & (fin | syn | rst | ack)"
    for protocol, port, number, whole, first in (
        ("tcp", 2222, 22, f"{flags} != syn ", f"{flags} == syn "),
        ("udp", 5353, 53, "", ""),
    ):
        origin = f"ct status dnat ct original proto-dst {port}"
        way = f"ip daddr 10.9.0.5 {protocol} dport {number} ct direction original"
        back = f"ip saddr 10.9.0.5 {protocol} sport {number} ct direction reply"
        expected += [
            f"{way} {origin} {led}",
            f"{way} {origin} {whole}ct state established {accept}",
            f"{way} {origin} {address} @granted4 {accept}",
            f"{way} {origin} {flow} @flow4 {accept}",
            f"{way} {origin} {first}{once} {accept}",
            f"{back} {origin} ct state established {accept}",
            f"{way} {origin} drop",
        ]
    assert expected == chains(GATEWAY)["forward"].rules


def test_without_a_drop_of_our_own_nothing_is_dropped() -> None:
    found = chains(GATEWAY._replace(own_drop=False))
    assert len(found["forward"].rules) == 13
    assert not [rule for rule in found["forward"].rules if "drop" in rule]


def test_each_family_has_its_own_way() -> None:
    both = (*GATEWAY.forwards, Forward(SHELL, INNER6, 22, masquerade=True))
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64"))
    found = chains(GATEWAY._replace(forwards=both, always_allow=networks))
    rules = [r for r in found["prerouting"].rules if r.endswith("goto lead6")]
    assert rules
    assert all(r.startswith("meta l4proto . th dport { 6 . 2222 } ") for r in rules)
    assert len([r for r in rules if "ip6 saddr { 2001:db8::/64 } " in r]) == 1
    assert (
        "dnat ip6 to meta l4proto . th dport map { 6 . 2222 : fd00::5 . 22 }"
        in (found["lead6"].rules[0])
    )
    (passing,) = [rule for rule in found["forward"].rules if " { 2001:" in rule]
    assert passing == (
        "ip6 daddr fd00::5 tcp dport 22 ct direction original ct status dnat"
        " ct original proto-dst 2222 ip6 saddr { 2001:db8::/64 }"
        " meta mark set meta mark or 0x20000000 accept"
    )
    hidden = (
        "ip6 daddr fd00::5 tcp dport 22 ct direction original ct status dnat"
        " ct original proto-dst 2222 ip6 saddr . th sport . meta l4proto @led6"
        " masquerade"
    )
    assert found["postrouting"].rules == [hidden]


def test_a_kernel_without_grants_for_one_connection_gets_no_rules_for_them() -> None:
    found = chains(GATEWAY, ALL - {Width.ONCE})
    for chain in found.values():
        assert not [rule for rule in chain.rules if "once" in rule]
