"""What leads to our chains, and who may come before it."""

import pytest
from unit.firewall.texts import SETTINGS

from spassh_server.firewall.iptables_hooks import (
    Hook,
    chains_before,
    forward_hook,
    input_hook,
    is_of_ours,
    lead_hook,
    render_jump,
    render_unjump,
)

INPUT = input_hook(SETTINGS)
FORWARD = forward_hook(SETTINGS)

JUMP = "-A INPUT -j SPASSH"
SIBLING = "-A INPUT -j SPASSH-2"
OTHER = "-A INPUT -p tcp -j OTHER"
GATE = "-A INPUT -m mark --mark 0x4/0x4 -m comment --comment spassh-2:0x4 -j ACCEPT"
FORWARD_JUMP = "-A FORWARD -m conntrack --ctstate DNAT -j SPASSH-forward"


def test_the_jumps_to_our_chains_say_which_packets_concern_us() -> None:
    assert INPUT.jump == "-j SPASSH"
    assert FORWARD.jump == "-m conntrack --ctstate DNAT -j SPASSH-forward"
    assert lead_hook(SETTINGS).jump == "-m addrtype --dst-type LOCAL -j SPASSH"


@pytest.mark.parametrize(
    ("present", "before"),
    [
        ([], None),
        ([OTHER], None),
        ([JUMP], []),
        ([JUMP, OTHER], []),
        ([OTHER, JUMP], None),
        ([SIBLING, JUMP], ["SPASSH-2"]),
        (["-A INPUT -j lower", JUMP], None),
        (["-A INPUT -j ACCEPT", JUMP], ["ACCEPT"]),  # which is no chain at all
        ([SIBLING, OTHER, JUMP], None),
        ([GATE, SIBLING, GATE, JUMP], ["SPASSH-2"]),
        ([GATE.replace("ACCEPT", "DROP"), JUMP], None),
        ([GATE], None),
        ([JUMP, OTHER, JUMP], None),
        (["-A INPUT -i eth0 -j SPASSH"], None),
    ],
)
def test_only_other_instances_may_come_before_us(
    present: list[str], before: list[str] | None
) -> None:
    assert chains_before(INPUT, present) == before


@pytest.mark.parametrize(
    ("present", "before"),
    [
        ([FORWARD_JUMP], []),
        ([FORWARD_JUMP.replace("SPASSH", "X"), FORWARD_JUMP], ["X-forward"]),
        (["-A FORWARD -j X-forward", FORWARD_JUMP], None),
        (["-A FORWARD -m conntrack --ctstate DNAT -j X", FORWARD_JUMP], ["X"]),
    ],
)
def test_the_same_goes_for_forwarded_packets(
    present: list[str], before: list[str] | None
) -> None:
    if before == ["X"]:
        before = None  # their chain for this has another name
    assert chains_before(FORWARD, present) == before


@pytest.mark.parametrize(
    ("chain", "comments", "ours"),
    [
        ("SPASSH-2", ["spassh-2 1/2", "spassh-2 2/2"], True),
        ("SPASSH-2", ["spassh-2 tcp/22 192.0.2.2 17 address", "spassh-2 1/1"], True),
        ("SPASSH-2", ["spassh-2 1/2"], False),
        ("SPASSH-2", ["spassh 1/1"], False),
        ("SPASSH-2", ["spassh-2 1/1", ""], False),
        ("SPASSH-2", [], False),
        ("ACCEPT", [], False),
    ],
)
def test_a_chain_is_known_by_its_last_comment(
    chain: str, comments: list[str], ours: bool
) -> None:
    rules = [f'-A {chain} -m comment --comment "{text}" -j DROP' for text in comments]
    assert is_of_ours(INPUT, chain, rules) == ours


def test_a_jump_is_put_at_the_top_and_there_is_just_one() -> None:
    assert render_jump(INPUT, [OTHER]) == ["-I INPUT 1 -j SPASSH"]
    assert render_jump(INPUT, [JUMP, OTHER, JUMP]) == [
        "-D INPUT -j SPASSH",
        "-D INPUT -j SPASSH",
        "-I INPUT 1 -j SPASSH",
    ]
    assert render_jump(FORWARD, [FORWARD_JUMP]) == [
        "-D FORWARD -m conntrack --ctstate DNAT -j SPASSH-forward",
        "-I FORWARD 1 -m conntrack --ctstate DNAT -j SPASSH-forward",
    ]
    assert render_unjump(INPUT, [OTHER, SIBLING]) == []


def test_the_chains_of_one_owner_are_told_apart() -> None:
    # A name cannot end in small letters, as chains do.
    assert Hook("filter", "INPUT", "spassh-forward").chain == "SPASSH-FORWARD"
    assert FORWARD.chain == "SPASSH-forward"
