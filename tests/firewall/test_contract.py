"""What every back end promises, seen by a client and by a stranger."""

import signal
import time
from functools import partial
from ipaddress import ip_network
from itertools import count

import pytest
from firewall.backends import (
    DNS,
    KNOCK_PORT,
    SETTINGS,
    SSH,
    left,
    make,
    python,
    repeated,
    to,
)
from firewall.network import (
    CLIENT,
    LOOPBACK,
    PATIENCE,
    STRANGER,
    VERSIONS,
    Network,
    everything,
    sh,
    wait_for,
)
from firewall.packets import is_answered, wrappings

from spassh_server.firewall import Firewall, FirewallError
from spassh_server.ports import Port

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS


def test_it_works_on_this_machine(firewall: Firewall) -> None:
    assert firewall.unavailable() is None


def test_protected_ports_are_silent_and_all_others_stay_open(
    firewall: Firewall, network: Network
) -> None:
    assert network.is_open(*EVERYBODY)
    assert all(network.udp_arrives(source, DNS.number) for source in EVERYBODY)
    firewall.prepare()
    assert network.is_silent(*EVERYBODY)
    assert all(network.udp_is_lost(source, DNS.number) for source in EVERYBODY)
    assert network.is_open(*EVERYBODY, port=80)
    assert all(network.answer(source, 81) == "refused" for source in EVERYBODY)
    assert all(network.udp_arrives(source, 54) for source in EVERYBODY)


def test_loopback_is_not_exempt(firewall: Firewall, network: Network) -> None:
    assert network.is_open(*LOOPBACK)
    firewall.prepare()
    assert network.is_silent(*LOOPBACK)


def test_a_grant_opens_one_port_to_one_address(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 60)
        assert network.is_open(CLIENT[version])
        assert network.is_silent(STRANGER[version])
        assert network.udp_is_lost(CLIENT[version], DNS.number)


def test_a_grant_is_of_one_protocol(firewall: Firewall, network: Network) -> None:
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version], Port(17, 22)), 60)
        firewall.grant(to(CLIENT[version], DNS), 60)
        assert network.is_silent(CLIENT[version])
        assert network.udp_arrives(CLIENT[version], DNS.number)
        assert network.udp_is_lost(STRANGER[version], DNS.number)


def test_grants_are_told_as_they_were_given(firewall: Firewall) -> None:
    assert firewall.grants() == []
    firewall.prepare()
    assert firewall.grants() == []
    wanted = {
        to(address, port): seconds
        for address, port, seconds in zip(
            ("192.0.2.2", "2001:db8::2", "255.255.255.254", "::1"),
            (SSH, Port(17, 65535), Port(6, 1), DNS),
            (15, 60, 86400, 1_000_000),
            strict=True,
        )
    }
    start = time.monotonic()
    for grant, seconds in wanted.items():
        firewall.grant(grant, seconds)
    told = left(firewall)
    passed = time.monotonic() - start
    assert told.keys() == wanted.keys()
    for grant, seconds in wanted.items():
        assert seconds - passed - 1 <= told[grant] <= seconds


def test_granting_again_extends_and_neither_shortens_nor_duplicates(
    firewall: Firewall,
) -> None:
    firewall.prepare()
    for address in CLIENTS:
        for seconds, least in ((100, 100), (200, 200), (50, 200), (200, 200), (1, 200)):
            firewall.grant(to(address), seconds)
            assert least - 8 <= left(firewall)[to(address)] <= least
    assert left(firewall).keys() == {to(address) for address in CLIENTS}


def test_a_grant_that_has_just_ended_can_be_given_again(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 1)
    for version in VERSIONS:
        wait_for(partial(network.is_silent, CLIENT[version]), "the end of a grant")
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 60)
        assert network.is_open(CLIENT[version])
    assert len(firewall.grants()) == 2


def test_revoking_closes_and_may_be_repeated(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 60)
        firewall.grant(to(STRANGER[version]), 60)
        for _ in range(2):
            firewall.revoke(to(CLIENT[version]))
            assert network.is_silent(CLIENT[version])
            assert network.is_open(STRANGER[version])
    assert left(firewall).keys() == {to(address) for address in STRANGERS}


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_grant_can_be_without_end(firewall: Firewall, seconds: int) -> None:
    firewall.prepare()
    for address in CLIENTS:
        with pytest.raises(FirewallError, match="cannot last"):
            firewall.grant(to(address), seconds)
    assert firewall.grants() == []


def test_a_grant_ends_even_if_its_process_is_killed(
    kind: str, network: Network
) -> None:
    script = f"""
from firewall.backends import make, to
firewall = make({kind!r})
firewall.prepare()
for address in {CLIENTS!r}:
    firewall.grant(to(address), 2)
print("granted", flush=True)
input()
"""
    with python(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "granted\n"
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    assert network.is_open(*CLIENTS)
    for source in CLIENTS:
        wait_for(partial(network.is_silent, source), "the end of a grant")
    assert make(kind).grants() == []


def test_a_session_outlives_the_grant_that_let_it_in(
    firewall: Firewall, network: Network
) -> None:
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 1)
    expired = [network.session(source) for source in CLIENTS]
    for source in CLIENTS:
        wait_for(partial(network.is_silent, source), "the end of a grant")
    for source in STRANGERS:
        firewall.grant(to(source), 60)
    revoked = [network.session(source) for source in STRANGERS]
    for source in STRANGERS:
        firewall.revoke(to(source))
        assert network.is_silent(source)
    firewall.sweep()
    assert all(session.lives() for session in expired + revoked)


def test_a_session_that_is_older_than_our_rules_lives_on(
    firewall: Firewall, network: Network
) -> None:
    """The kernel does not track it, and its client is the first to speak again."""
    sessions = [network.session(source) for source in EVERYBODY]
    firewall.prepare()
    assert all(session.lives() for session in sessions)
    assert network.is_silent(*EVERYBODY)


def test_preparing_again_keeps_grants_and_changes_nothing(
    kind: str, network: Network
) -> None:
    first = make(kind)
    first.prepare()
    before = everything()
    for source in CLIENTS:
        first.grant(to(source), 60)
    sessions = [network.session(source) for source in CLIENTS]
    second = make(kind)  # as after a crash
    for _ in range(2):
        second.prepare()
        assert network.is_open(*CLIENTS)
        assert network.is_silent(*STRANGERS)
        assert [seconds > 50 for seconds in left(second).values()] == [True, True]
    assert second.repair() is False
    assert all(session.lives() for session in sessions)
    for source in CLIENTS:
        second.revoke(to(source))
    assert everything() == before


def test_preparing_again_leaves_no_gap(kind: str, network: Network) -> None:
    firewall = make(kind)
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 600)
    with repeated(f"make({kind!r}).prepare()"):
        for _ in range(16):
            assert network.is_open(*CLIENTS)
            assert all(network.answer(s, patience=0.002) != "open" for s in STRANGERS)


def test_what_is_protected_may_change(kind: str, network: Network) -> None:
    make(kind).prepare()
    make(kind).grant(to(CLIENT[4]), 60)
    changed = make(kind, SETTINGS._replace(protect=(Port(6, 80),)))
    changed.prepare()
    assert changed.repair() is False
    assert network.is_open(*EVERYBODY)
    assert network.is_silent(*EVERYBODY, port=80)
    assert left(changed).keys() == {to(CLIENT[4])}


def test_with_nothing_to_protect_an_open_host_stays_open(
    kind: str, network: Network
) -> None:
    firewall = make(kind, SETTINGS._replace(protect=()))
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(*EVERYBODY)
    assert all(network.udp_is_unanswered(source, KNOCK_PORT) for source in EVERYBODY)


def test_without_a_drop_of_our_own_nothing_is_dropped(
    kind: str, network: Network
) -> None:
    firewall = make(kind, SETTINGS._replace(own_drop=False))
    before = [network.udp_is_refused(source, KNOCK_PORT) for source in CLIENTS]
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert network.is_open(*EVERYBODY)
    assert all(network.udp_arrives(source, DNS.number) for source in EVERYBODY)
    after = [network.udp_is_refused(source, KNOCK_PORT) for source in STRANGERS]
    assert before == after == [True, True]
    assert firewall.repair() is False
    firewall.remove()
    assert network.is_open(*EVERYBODY)


def test_some_networks_need_no_grant(kind: str, network: Network) -> None:
    always = ("192.0.2.2/31", "192.0.2.2", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::2")
    networks = tuple(map(ip_network, always))
    firewall = make(kind, SETTINGS._replace(always_allow=networks))
    firewall.prepare()
    assert network.is_open(*CLIENTS, STRANGER[4])
    assert all(network.udp_arrives(source, DNS.number) for source in CLIENTS)
    assert network.is_silent(STRANGER[6])
    assert network.udp_is_lost(STRANGER[6], DNS.number)
    assert firewall.repair() is False
    assert firewall.grants() == []
    make(kind).prepare()
    assert network.is_silent(*EVERYBODY)


def test_everybody_may_be_without_need_of_a_grant(kind: str, network: Network) -> None:
    everybody = (ip_network("0.0.0.0/0"), ip_network("::/0"), ip_network("::/64"))
    firewall = make(kind, SETTINGS._replace(always_allow=everybody))
    firewall.prepare()
    assert network.is_open(*EVERYBODY)


def test_an_honest_host_is_warned_of_nothing(
    firewall: Firewall, network: Network
) -> None:
    assert firewall.warnings() == []
    firewall.prepare()
    assert firewall.warnings() == []


def test_nothing_answers_on_the_knock_port(
    firewall: Firewall, network: Network
) -> None:
    # One question each: the kernel limits how often it answers with ICMP.
    for source in CLIENTS:
        assert network.udp_is_refused(source, KNOCK_PORT)
    firewall.prepare()
    for source in EVERYBODY:
        assert network.udp_is_unanswered(source, KNOCK_PORT)
    firewall.remove()
    for source in STRANGERS:
        assert network.udp_is_refused(source, KNOCK_PORT)


def test_removing_leaves_nothing_behind(firewall: Firewall, network: Network) -> None:
    firewall.remove()
    firewall.prepare()
    firewall.remove()  # iptables keeps the tables that it made for us
    before = everything()
    firewall.prepare()
    for source in EVERYBODY:
        firewall.grant(to(source), 60)
    firewall.repair()
    for _ in range(2):
        firewall.remove()
        assert everything() == before
    assert "spassh" not in before.lower()
    assert firewall.grants() == []
    assert network.is_open(*EVERYBODY)


def test_a_grant_before_prepare_is_an_error(firewall: Firewall) -> None:
    with pytest.raises(FirewallError):
        firewall.grant(to(CLIENT[4]), 60)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_wrapping_carries_a_packet_past_the_drop(
    firewall: Firewall, network: Network, version: int
) -> None:
    firewall.prepare()
    ports = count(20000)
    for name in wrappings(version, CLIENT[version], 1, 22):
        for granted in (False, True):
            if granted:
                firewall.grant(to(CLIENT[version]), 60)
            port = next(ports)
            packets = wrappings(version, CLIENT[version], port, 22)[name]
            patience = PATIENCE if granted else 0.05
            answered = is_answered(network, version, packets, port, patience)
            assert (name, answered) == (name, granted)
        firewall.revoke(to(CLIENT[version]))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_lets_no_other_begin_on_its_addresses_and_ports(
    firewall: Firewall, network: Network, version: int
) -> None:
    """Conntrack takes a bare SYN for a part of it, and the server's socket may be gone.

    Who was let in once would come in again and again, without a grant. A socket answers
    to such a SYN twice a second, so there is one for each question.
    """
    firewall.prepare()
    firewall.grant(to(CLIENT[version]), 60)
    first, second = (network.session(CLIENT[version]) for _ in range(2))
    syn = wrappings(version, CLIENT[version], first.port, 22)["plain"]
    assert is_answered(network, version, syn, first.port, PATIENCE)
    firewall.revoke(to(CLIENT[version]))
    syn = wrappings(version, CLIENT[version], second.port, 22)["plain"]
    assert not is_answered(network, version, syn, second.port, 0.2)
    assert first.lives()
    assert second.lives()


def test_a_connection_that_a_helper_expects_is_not_let_in(
    firewall: Firewall, network: Network
) -> None:
    """An FTP server here says what a stranger makes it say, and it names port 22."""
    network.listen(21)
    sh("nft", "-f", "-", text=_FTP_HELPER)
    firewall.prepare()
    session = network.session(STRANGER[4], 21)
    session.say(b"220 what may I do for you?\r\n")
    session.say(b"227 Entering Passive Mode (192,0,2,1,0,22).\r\n")
    assert network.is_silent(STRANGER[4])
    counted = sh("nft", "list", "counter", "inet", "helper", "related")
    assert "packets 0 " not in counted, "the kernel did not take it for related"


_FTP_HELPER = """
table inet helper {
    ct helper ftp { type "ftp" protocol tcp; l3proto ip; }
    counter related { }
    chain prerouting {
        type filter hook prerouting priority filter;
        tcp dport 21 ct helper set "ftp"
        tcp dport 22 ct state related counter name related
    }
}
"""


def test_the_privileges_of_the_granter_are_enough(kind: str, network: Network) -> None:
    sessions = [network.session(source) for source in EVERYBODY]
    sh("iptables-legacy", "-P", "INPUT", "ACCEPT")
    sh("ip6tables-legacy", "-P", "INPUT", "ACCEPT")
    script = f"""
from spassh_server.privsep.sandbox import CAP_NET_ADMIN, CAP_NET_RAW, keep_capabilities
from firewall.backends import make, to
keep_capabilities(frozenset({{CAP_NET_ADMIN, CAP_NET_RAW}}))
firewall = make({kind!r})
print(firewall.unavailable())
firewall.prepare()
for address in {CLIENTS!r}:
    firewall.grant(to(address), 60)
print(len(firewall.grants()), firewall.repair())
firewall.sweep()
"""
    with python(script) as process:
        output, _ = process.communicate(timeout=30)
    assert output == "None\n2 False\n"
    assert network.is_open(*CLIENTS)
    assert network.is_silent(*STRANGERS)
    assert all(session.lives() for session in sessions)
