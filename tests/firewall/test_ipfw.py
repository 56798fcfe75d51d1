"""What the ipfw back ends promise, against a stand-in that was made after real ones.

No BSD is here. On a FreeBSD host whose ipfw may be played with, as root,
SPASSH_TEST_IPFW=/sbin/ipfw runs the tests of this file that ask for `process` or for
`program` against the real one: those that look at tables and rules. What happens to
packets is asked of the stand-in, always, and of both designs: the one with tables, and
that for an ipfw without.
"""

import os
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from firewall.backends import DNS, KNOCK_PORT, SSH, to
from firewall.fakes.direct import Direct
from firewall.fakes.install import install, write
from firewall.fakes.ipfw import OLD
from firewall.fakes.sockets import install_tcpdrop
from firewall.ipfw_hosts import (
    CLIENTS,
    EVERYBODY,
    NOW,
    RULE,
    SETTINGS,
    STRANGERS,
    Host,
    flow,
)
from firewall.network import CLIENT, LOOPBACK, STRANGER, VERSIONS

from spassh_server.firewall import FirewallError, Forward, Width, ipfw, ipfw_sets, run
from spassh_server.firewall.ipfw import Ipfw
from spassh_server.firewall.ipfw_render import render_policy
from spassh_server.firewall.ipfw_sets import IpfwSets
from spassh_server.ports import Port

REAL = os.environ.get("SPASSH_TEST_IPFW", "")

with_tables = pytest.mark.parametrize("host", [Ipfw], indirect=True)
"""For tests of what only the design with tables does, or does so."""


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> Direct:
    found = Direct()
    for module in (ipfw, ipfw_sets):
        monkeypatch.setattr(module, "run", found.run)
    return found


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Host]:
    """The program as a process: the real one if somebody names it."""
    host = Host(REAL or install("ipfw", tmp_path))
    yield host
    host.make().remove()


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Host:
    """The same, but the stand-in without a process, for there are many runs."""
    if REAL:
        real: Host = request.getfixturevalue("process")
        return real
    stand_in: Host = request.getfixturevalue("stand_in")
    return stand_in


@pytest.fixture
def stand_in(tmp_path: Path, direct: Direct) -> Host:
    """The stand-in: packets can be asked of it, and no process is started."""
    host = Host(install("ipfw", tmp_path))
    host.run = direct.run
    return host


@pytest.fixture(params=[Ipfw, IpfwSets])
def host(request: pytest.FixtureRequest, stand_in: Host) -> Host:
    """The stand-in for either design, and as old as that one is for."""
    stand_in.design = request.param
    if stand_in.design is IpfwSets:
        stand_in.engine.become(OLD)
    return stand_in


# What can be asked of a real ipfw.


def test_it_works_where_ipfw_is(process: Host) -> None:
    assert process.make().unavailable() is None


def test_grants_are_told_as_they_were_given(process: Host) -> None:
    firewall = process.make()
    assert firewall.grants() == []
    firewall.prepare()
    assert firewall.grants() == []
    wanted = {
        to("192.0.2.2", SSH): 15,
        to("2001:db8::2", Port(17, 65535)): 60,
        to("255.255.255.254", Port(6, 1)): 86400,
        flow("::1", 65535, DNS): 1_000_000,
        flow("192.0.2.2", 1): 7,
    }
    for grant, seconds in wanted.items():
        firewall.grant(grant, seconds, "alice")
    told = process.make().grants()
    assert {one.grant: one.seconds_left for one in told} == wanted


def test_granting_again_extends_and_neither_shortens_nor_duplicates(
    program: Host,
) -> None:
    firewall = program.make()
    firewall.prepare()
    for seconds, left in ((100, 100), (200, 200), (50, 200), (200, 200), (1, 200)):
        firewall.grant(to(CLIENT[4]), seconds)
        assert [one.seconds_left for one in firewall.grants()] == [left]


def test_revoking_may_be_repeated(program: Host) -> None:
    firewall = program.make()
    firewall.revoke(to(CLIENT[4]))
    firewall.prepare()
    for grant in (to(CLIENT[4]), to(CLIENT[6]), flow(CLIENT[4], 4000)):
        firewall.grant(grant, 60)
        for _ in range(2):
            firewall.revoke(grant)
        assert firewall.grants() == []
    firewall.revoke(to(CLIENT[4])._replace(width=Width.ONCE))


def test_what_has_expired_is_swept(program: Host) -> None:
    firewall = program.make()
    assert firewall.sweep() is None
    firewall.prepare()
    assert firewall.sweep() is None
    firewall.grant(to(CLIENT[4]), 10)
    firewall.grant(flow(CLIENT[6], 4000), 20)
    assert firewall.sweep() == NOW + 10.5
    program.now += 11
    assert [one.grant for one in firewall.grants()] == [flow(CLIENT[6], 4000)]
    assert program.make().sweep() == NOW + 20.5  # another process, after a crash
    assert CLIENT[4] not in program.tables()[0]
    program.now += 10
    assert firewall.sweep() is None
    firewall.grant(to(CLIENT[4]), 10)
    assert len(firewall.grants()) == 1


def test_an_entry_without_an_end_does_not_stay(program: Host) -> None:
    program.make().prepare()
    program.tell("-q table spassh-t-address add 192.0.2.7,6,22")
    program.make().prepare()
    assert "192.0.2.7" not in program.tables()[0]


@pytest.mark.parametrize("seconds", [0, -1, 2**32])
def test_no_grant_is_without_end(program: Host, seconds: int) -> None:
    """ipfw takes the end modulo 2**32, and says nothing."""
    firewall = program.make()
    firewall.prepare()
    with pytest.raises(FirewallError, match="cannot"):
        firewall.grant(to(CLIENT[4]), seconds)
    assert firewall.grants() == []


def test_a_grant_before_prepare_is_an_error_and_makes_no_table(program: Host) -> None:
    """For an IPv6 address, ipfw would make a table of interfaces."""
    for source in CLIENTS:
        with pytest.raises(FirewallError, match="No such process"):
            program.make().grant(to(source), 60)
    assert program.tables() == []
    assert not program.make().in_place()


def test_preparing_again_changes_nothing(program: Host) -> None:
    firewall = program.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    before = program.everything()
    second = program.make()
    assert second.in_place()
    second.prepare()
    assert second.repair() is False
    assert program.everything() == before


def test_removing_leaves_nothing_behind(process: Host) -> None:
    before = process.everything()
    assert "spassh" not in before
    firewall = process.make()
    firewall.remove()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert process.everything() != before
    for _ in range(2):
        firewall.remove()
        assert process.everything() == before
    assert firewall.grants() == []


# What is asked of the stand-in.


def test_protected_ports_are_silent_and_all_others_stay_open(host: Host) -> None:
    assert host.is_open(*EVERYBODY, *LOOPBACK)
    host.make().prepare()
    assert not host.is_open(*EVERYBODY, *LOOPBACK)
    assert not host.is_open(*EVERYBODY, port=DNS)
    assert not host.is_open(*EVERYBODY, port=Port(17, KNOCK_PORT))
    for port in (Port(6, 80), Port(6, 53), Port(17, 22), Port(17, 54)):
        assert host.is_open(*EVERYBODY, port=port)


@pytest.mark.parametrize("flags", ["A", "SA", "R", "F", "FA", ""])
def test_no_packet_reaches_a_protected_port(host: Host, flags: str) -> None:
    host.make().prepare()
    for source in EVERYBODY:
        assert not host.judge(host.packet(source)._replace(flags=flags))


def test_a_grant_opens_one_port_to_one_address(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 60)
        assert host.is_open(CLIENT[version])
        assert not host.is_open(STRANGER[version])
        assert not host.is_open(CLIENT[version], port=DNS)
        firewall.grant(to(CLIENT[version], DNS), 60)
        assert host.is_open(CLIENT[version], port=DNS)
        for port in (SSH, DNS):
            firewall.revoke(to(CLIENT[version], port))
            assert not host.is_open(CLIENT[version], port=port)


def test_a_grant_of_a_flow_is_for_one_source_port(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(flow(source, 4000), 60)
        assert not host.is_open(source, source_port=4001)
        assert host.is_open(source, source_port=4000)


def test_a_grant_of_one_connection_is_refused(host: Host) -> None:
    firewall = host.make()
    assert firewall.widths == {Width.FLOW, Width.ADDRESS}
    firewall.prepare()
    with pytest.raises(FirewallError, match="ipfw cannot grant once"):
        firewall.grant(to(CLIENT[4])._replace(width=Width.ONCE), 60)


def test_a_session_outlives_the_grant_that_let_it_in(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 10)
    firewall.grant(flow(CLIENT[6], 4000), 10)
    sessions = [host.session(CLIENT[4]), host.session(CLIENT[6], source_port=4000)]
    host.now += 11
    firewall.sweep()
    assert not host.is_open(*EVERYBODY)
    firewall.prepare()
    host.make().prepare()
    assert all(map(host.lives, sessions))


def test_a_clock_that_was_set_back_shows_in_what_is_left(host: Host) -> None:
    """Which the granter cannot believe then: it takes such a grant back."""
    host.make().prepare()
    host.make().grant(to(CLIENT[4]), 10)
    host.now -= 3600
    firewall = host.make()  # as after a crash
    firewall.prepare()
    ((grant, seconds, _),) = firewall.grants()
    assert 3600 < seconds <= 3611
    firewall.revoke(grant)
    assert firewall.grants() == []
    assert not host.is_open(*EVERYBODY)
    firewall.grant(grant, 10)
    assert [one.seconds_left for one in firewall.grants()] == [10]


def test_a_connection_lets_no_other_begin_on_its_addresses_and_ports(
    host: Host,
) -> None:
    """A state takes a bare SYN for a part of it, and the server's socket may be gone.

    Who was let in once would come in again and again, without a grant.
    """
    firewall = host.make()
    firewall.prepare()
    for source in CLIENTS:
        for port in (SSH, Port(6, 443)):  # protected, and open but for us
            firewall.grant(to(source, port), 60)
            session = host.session(source, port)
            firewall.revoke(to(source, port))
            host.tell("-q add 65000 deny tcp from any to me 443 setup")
            assert not host.judge(session._replace(flags="S"))
            assert host.lives(session)


def test_a_change_of_the_configuration_leaves_no_gap(
    host: Host, direct: Direct
) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 600)
    firewall.grant(flow(CLIENT[6], 4000), 600)
    session = host.session(CLIENT[4])

    def look() -> None:
        assert host.is_open(CLIENT[4])
        assert host.is_open(CLIENT[6], source_port=4000)
        assert not host.is_open(*STRANGERS)
        assert host.lives(session)

    direct.look = look
    net = ip_network("198.51.100.0/24")
    for settings in (
        SETTINGS._replace(protect=(SSH, Port(6, 80))),
        SETTINGS._replace(protect=(SSH,), always_allow=(net,)),
        SETTINGS._replace(knock_port=1234),
    ):
        changed = host.make(settings)
        before = direct.changes
        changed.prepare()
        assert direct.changes > before
        assert changed.in_place()
        assert not firewall.in_place()
    assert len(host.make().grants()) == 2


@with_tables
def test_our_rules_may_move_to_other_numbers(host: Host, direct: Direct) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 600)
    before = host.everything()
    for step in (-3, -1, 1, 3):
        near = host.make(SETTINGS._replace(ipfw_rule=RULE + step))
        with pytest.raises(FirewallError, match="overlap") as caught:
            near.prepare()
        assert "ipfw_rule" in caught.value.hint
        assert host.everything() == before
    direct.look = lambda: _closed(host)
    moved = host.make(SETTINGS._replace(ipfw_rule=RULE + 4))
    moved.prepare()
    assert moved.in_place()
    assert host.is_open(CLIENT[4])
    assert min(rule["number"] for rule in host.engine.rules) == RULE + 4


def test_the_new_configuration_is_what_counts(host: Host) -> None:
    host.make().prepare()
    net = ip_network("192.0.2.3/32")
    settings = SETTINGS._replace(protect=(Port(6, 80),), always_allow=(net,))
    host.make(settings).prepare()
    assert host.is_open(*EVERYBODY)
    assert host.is_open(*EVERYBODY, port=DNS)
    assert not host.is_open(*CLIENTS, port=Port(6, 80))
    assert host.is_open(STRANGER[4], port=Port(6, 80))


@with_tables
def test_after_a_crash_at_any_step_the_next_start_makes_it_whole(
    host: Host, direct: Direct
) -> None:
    changed = SETTINGS._replace(protect=(SSH, Port(6, 80)))
    for step in range(60):
        direct.look = None
        host.make(changed).remove()
        direct.changes, direct.fail_at = 0, step
        firewall = host.make()
        crashed = False
        try:
            firewall.prepare()
            firewall.grant(to(CLIENT[4]), 60)
            direct.look = lambda: _closed(host)
            host.make(changed).prepare()
        except KeyboardInterrupt:
            crashed = True
        direct.fail_at = -1
        host.make(changed).prepare()
        assert host.make(changed).in_place()
        numbers = {rule["number"] for rule in host.engine.rules}
        assert len(numbers) == 3
        assert not host.is_open(*STRANGERS)
        assert not host.is_open(*EVERYBODY, port=Port(6, 80))
        if not crashed:
            return
    raise AssertionError("more steps than were tried")


def _closed(host: Host) -> None:
    assert not host.is_open(*STRANGERS)


@with_tables
def test_rules_that_ipfw_refuses_change_nothing(
    host: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = host.make()
    firewall.prepare()
    before = host.tell("-S list")
    changed = SETTINGS._replace(protect=(SSH, Port(6, 80)))
    good = render_policy(changed)
    bad = [*good[:3], "open everything", *good[3:]]
    monkeypatch.setattr(f"{ipfw.__name__}.render_policy", lambda _: bad)
    with pytest.raises(run.ProgramError, match="invalid action open"):
        host.make(changed).prepare()
    assert host.tell("-S list") == before


@with_tables
def test_a_flush_by_others_is_mended(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    for harm in (
        f"-q delete {RULE}",
        f"-q delete {RULE + 1}",
        f"-q delete {RULE + 3}",
        "-q delete set 30",
        "set disable 30",
        f"-q set 30 delete {RULE + 1}",
    ):
        host.tell(harm)
        assert not firewall.in_place()
        assert firewall.repair() is True
        assert firewall.in_place()
        assert host.is_open(CLIENT[4])
        assert not host.is_open(*STRANGERS)
        assert firewall.repair() is False


def test_a_session_outlives_that_others_disable_our_set(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    session = host.session(CLIENT[4])
    host.tell("set disable 30")
    assert firewall.repair() is True
    assert host.lives(session)


@with_tables
def test_rules_of_others_are_not_touched(host: Host) -> None:
    theirs = [
        f"-q add {RULE} set 4 count ip from any to any",
        f"-q add {RULE + 1} count tcp from any to any",
        "-q add 9 set 30 count udp from any to any",
    ]
    for line in theirs:
        host.tell(line)
    before = host.everything()
    other = host.make(SETTINGS._replace(name="other", ipfw_rule=RULE + 10))
    for firewall in (host.make(), other):
        firewall.prepare()
        firewall.repair()
    assert other.in_place()
    host.make().remove()
    assert other.in_place()
    other.remove()
    assert host.everything() == before


@with_tables
def test_a_number_that_is_taken_is_an_error(host: Host) -> None:
    host.tell(f"-q add {RULE + 2} set 30 count ip from any to any // theirs")
    before = host.everything()
    with pytest.raises(FirewallError, match=f"rule {RULE + 2} in set 30") as caught:
        host.make().prepare()
    assert "ipfw_rule" in caught.value.hint
    assert host.everything() == before


def test_with_the_drop_of_others_a_grant_really_lets_in(host: Host) -> None:
    host.tell("-q add 65000 deny ip from any to any")
    net = ip_network("192.0.2.3/32")
    firewall = host.make(SETTINGS._replace(own_drop=False, always_allow=(net,)))
    firewall.prepare()
    assert "deny" not in "".join(
        rule["text"] for rule in host.engine.rules if rule["set"] == 30
    )
    firewall.grant(to(CLIENT[4]), 60)
    assert host.lives(host.session(CLIENT[4]))
    assert host.lives(host.session(STRANGER[4]))
    assert not host.is_open(CLIENT[6], STRANGER[6])


@with_tables
def test_what_may_keep_granted_packets_out_is_told(
    host: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.make().prepare()

    def with_sysctl(program: str, *words: str, stdin: bytes = b"") -> bytes:
        if program == "sysctl":
            return b"0\n" if words[-1].startswith("net.inet6") else b"1\n"
        return direct.run(program, *words, stdin=stdin)

    monkeypatch.setattr(ipfw, "run", with_sysctl)
    host.tell("-q add 100 allow ip from any to any")
    host.tell(f"-q add {RULE + 4} deny ip from any to any")
    switch = "net.inet6.ip6.fw.enable is 0: no packet meets any rule of ipfw"
    assert host.make().warnings() == [switch]
    host.tell("-q add 200 deny tcp from any to me 22")
    assert host.make().warnings()[1:] == [
        "ipfw: rule 200 comes before ours: deny tcp from any to me dst-port 22"
    ]


def test_why_it_cannot_work_is_told(host: Host, tmp_path: Path) -> None:
    missing = SETTINGS._replace(programs=(str(tmp_path / "no"), ""))
    assert Ipfw(missing, lambda: NOW).unavailable() == f"{tmp_path}/no not found"
    forward = Forward(SSH, b"\x0a\0\0\1", 22)
    firewall = host.make(SETTINGS._replace(forwards=(forward,)))
    assert firewall.unavailable() == "it cannot forward ports"
    with pytest.raises(FirewallError, match="cannot forward") as caught:
        firewall.prepare()
    assert caught.value.hint


def test_an_ipfw_that_is_too_old_is_told_so(tmp_path: Path) -> None:
    text = "import sys\nsys.exit(64 if 'table' in sys.argv else 0)"
    firewall = Host(write("ipfw", text, tmp_path)).make()
    assert firewall.unavailable() == (
        "this ipfw has no tables of flows or no names of states"
    )
    write(
        "ipfw", "import sys\nprint('ipfw: no', file=sys.stderr)\nsys.exit(69)", tmp_path
    )
    assert str(firewall.unavailable()).endswith("exit status 69: ipfw: no")


# The connections that the host has: netstat and tcpdrop.


def test_a_session_that_is_older_than_our_rules_lives_on(
    host: Host, tools: Path
) -> None:
    sessions = [host.session(source, source_port=4000) for source in STRANGERS]
    host.make().prepare()
    assert all(map(host.lives, sessions))
    for session in sessions:
        assert not host.judge(session._replace(flags="S"))
        assert not host.judge(session._replace(source_port=4002))
    assert not host.is_open(*STRANGERS)


def test_the_connections_of_one_address_are_ended(host: Host, tools: Path) -> None:
    firewall = host.make()
    with pytest.raises(FirewallError, match="tcpdrop not found") as caught:
        firewall.end_sessions(frozenset({to(STRANGER[4]).address}))
    assert caught.value.hint
    log = install_tcpdrop(tools)
    assert firewall.end_sessions(frozenset({to(CLIENT[4]).address})) == 0
    assert not log.exists()
    assert firewall.end_sessions(frozenset({to(STRANGER[4]).address})) == 1
    assert log.read_text() == "192.0.2.1 22 192.0.2.3 4000\n"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"statistics": 1}', "tcp4 0 0"])
def test_a_netstat_of_another_system_is_an_error(
    host: Host, tools: Path, text: str
) -> None:
    write("netstat", f"print({text!r})", tools)
    write("tcpdrop", "", tools)
    with pytest.raises(FirewallError, match="netstat wrote"):
        host.make().end_sessions(frozenset({to(STRANGER[4]).address}))
    host.make().prepare()
    assert not host.is_open(*EVERYBODY)
