"""Which chains of iptables may drop a packet."""

import pytest

from spassh_server.firewall.iptables_others import may_drop


@pytest.mark.parametrize(
    ("listing", "drops"),
    [
        ([], False),
        (["-P INPUT ACCEPT"], False),
        (["-P INPUT DROP"], True),
        (["-P INPUT ACCEPT", "-A INPUT -p tcp -j ACCEPT"], False),
        (["-P INPUT ACCEPT", "-A INPUT -p tcp"], False),
        (["-P INPUT ACCEPT", "-A INPUT -j LOG --log-prefix x"], False),
        (["-P INPUT ACCEPT", "-A INPUT -j REJECT --reject-with x"], True),
        (["-P INPUT ACCEPT", "-A INPUT -j OTHER"], True),
        (["-P INPUT ACCEPT", "-A INPUT -g OTHER"], True),
    ],
)
def test_a_chain_may_drop_by_its_policy_or_a_rule(
    listing: list[str], drops: bool
) -> None:
    assert may_drop(listing) == drops
