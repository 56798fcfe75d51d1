"""What the pf back end promises, against a stand-in for pfctl. No BSD is here."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from firewall.backends import DNS, KNOCK_PORT, MARK, SSH, to
from firewall.fakes.direct import Direct
from firewall.fakes.install import install, write
from firewall.fakes.ipfw import Packet
from firewall.fakes.pfctl import LETS_ALL_IN, state_of
from firewall.fakes.pfctl import Pf as Kernel
from firewall.fakes.sockets import install_tcpdrop
from firewall.network import CLIENT, LOOPBACK, SERVER, STRANGER, VERSIONS

from spassh_server.addresses import place
from spassh_server.firewall import (
    ActiveGrant,
    FirewallError,
    Forward,
    Grant,
    Settings,
    Width,
    pf,
    run,
)
from spassh_server.firewall.pf import Pf
from spassh_server.ports import Port

NOW = 1_800_000_000.5
CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS
HTTPS = Port(6, 443)

SETTINGS = Settings(
    "spassh-t", (SSH, DNS), KNOCK_PORT, MARK, grant_ports=(SSH, DNS, HTTPS)
)


class Host:
    """A host with a program pfctl, a clock to set, and packets that come to it."""

    def __init__(self, program: str) -> None:
        self.now = NOW
        self.program = program
        self.run: Callable[..., bytes] = run.run
        self._ports = iter(range(20000, 60000))

    def make(self, settings: Settings = SETTINGS) -> Pf:
        settings = settings._replace(programs=("/nonexistent", self.program))
        return Pf(settings, lambda: self.now)

    def tell(self, line: str) -> str:
        """Do what somebody else does."""
        return self.run(self.program, *line.split()).decode()

    @property
    def kernel(self) -> Kernel:
        return Kernel(state_of(self.program))

    def change(self, **parts: object) -> None:
        kernel = self.kernel
        kernel.data.update(parts)
        kernel.save()

    def judge(self, packet: Packet) -> bool:
        return self.kernel.judge(packet)

    def packet(self, source: str, port: Port = SSH) -> Packet:
        """Return the first packet of a connection, or the only one."""
        destination = SERVER[6 if ":" in source else 4]
        if source in LOOPBACK:
            destination = source
        number = next(self._ports)
        return Packet(source, number, destination, port.number, port.protocol_name)

    def is_open(self, *sources: str, port: Port = SSH) -> bool:
        """Tell whether all of `sources` can connect; they must agree."""
        answers = {self.judge(self.packet(source, port)) for source in sources}
        assert len(answers) == 1
        return answers == {True}

    def session(self, source: str, port: Port = SSH) -> Packet:
        """Open a connection; return a packet of it."""
        packet = self.packet(source, port)
        assert self.judge(packet)
        assert self.judge(packet.answer("SA"))
        return packet._replace(flags="A")

    def lives(self, session: Packet) -> bool:
        return self.judge(session) and self.judge(session.answer("A"))


@pytest.fixture
def process(tmp_path: Path) -> Host:
    """The stand-in as a process."""
    return Host(install("pfctl", tmp_path))


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> Direct:
    found = Direct()
    monkeypatch.setattr(pf, "run", found.run)
    return found


@pytest.fixture
def host(tmp_path: Path, direct: Direct) -> Host:
    """The stand-in without a process, for there are many runs."""
    host = Host(install("pfctl", tmp_path))
    host.run = direct.run
    return host


def test_the_life_of_a_grant_with_real_processes(process: Host) -> None:
    firewall = process.make()
    assert firewall.unavailable() is None
    assert firewall.grants() == []
    assert not firewall.in_place()
    with pytest.raises(FirewallError, match="Table does not exist"):
        firewall.grant(to(CLIENT[4]), 60)
    firewall.prepare()
    assert firewall.in_place()
    firewall.grant(to(CLIENT[6]), 60, "alice")
    assert firewall.grants() == [ActiveGrant(to(CLIENT[6]), 60, "alice")]
    assert process.is_open(CLIENT[6])
    firewall.revoke(to(CLIENT[6]))
    assert not process.is_open(*EVERYBODY)
    firewall.remove()
    assert process.kernel.data["anchors"] == {}


def test_protected_ports_are_silent_and_all_others_stay_open(host: Host) -> None:
    assert host.is_open(*EVERYBODY, *LOOPBACK)
    host.make().prepare()
    assert not host.is_open(*EVERYBODY, *LOOPBACK)
    assert not host.is_open(*EVERYBODY, port=DNS)
    assert not host.is_open(*EVERYBODY, port=Port(17, KNOCK_PORT))
    for port in (Port(6, 80), HTTPS, Port(6, 53), Port(17, 22), Port(17, 54)):
        assert host.is_open(*EVERYBODY, port=port)
    for flags in ("A", "SA", "R", "F", ""):
        for source in EVERYBODY:
            assert not host.judge(host.packet(source)._replace(flags=flags))


def test_a_grant_opens_one_port_to_one_address(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    for version in VERSIONS:
        for port, other in ((SSH, DNS), (DNS, SSH)):
            firewall.grant(to(CLIENT[version], port), 60)
            assert host.is_open(CLIENT[version], port=port)
            assert not host.is_open(STRANGER[version], port=port)
            assert not host.is_open(CLIENT[version], port=other)
            for _ in range(2):
                firewall.revoke(to(CLIENT[version], port))
                assert not host.is_open(CLIENT[version], port=port)


def test_grants_are_told_as_they_were_given(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    wanted = [
        ActiveGrant(to("192.0.2.2", SSH), 15, "alice"),
        ActiveGrant(to("2001:db8::2", HTTPS), 60, "a" * 32),
        ActiveGrant(to("255.255.255.254", DNS), 86400, ""),
        ActiveGrant(to("::1", SSH), 1_000_000, "b.o_b-1"),
    ]
    for active in wanted:
        firewall.grant(*active)
    assert sorted(host.make().grants()) == sorted(wanted)


def test_granting_again_extends_and_neither_shortens_nor_duplicates(
    host: Host,
) -> None:
    firewall = host.make()
    firewall.prepare()
    for seconds, left in ((100, 100), (200, 200), (50, 200), (200, 200), (1, 200)):
        firewall.grant(to(CLIENT[4]), seconds, f"user{seconds}")
        told = ActiveGrant(to(CLIENT[4]), left, f"user{seconds}")
        assert firewall.grants() == [told]


def test_what_has_expired_is_swept(host: Host) -> None:
    firewall = host.make()
    assert firewall.sweep() is None
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 10)
    firewall.grant(to(CLIENT[6]), 20)
    assert firewall.sweep() == NOW + 10.5
    host.now += 11
    assert [one.grant for one in firewall.grants()] == [to(CLIENT[6])]
    assert host.make().sweep() == NOW + 20.5  # another process, after a crash
    assert not host.is_open(CLIENT[4])
    assert host.is_open(CLIENT[6])
    host.now += 10
    assert firewall.sweep() is None
    assert not host.is_open(*EVERYBODY)


def test_a_clock_that_was_set_back_shows_in_what_is_left(host: Host) -> None:
    """Which the granter cannot believe then: it takes such a grant back."""
    host.make().prepare()
    host.make().grant(to(CLIENT[4]), 10, "alice")
    host.now -= 3600
    firewall = host.make()  # as after a crash
    firewall.prepare()
    ((grant, seconds, _),) = firewall.grants()
    assert 3600 < seconds <= 3611
    firewall.revoke(grant)
    assert firewall.grants() == []
    assert not host.is_open(*EVERYBODY)
    firewall.grant(grant, 10, "alice")
    assert [one.seconds_left for one in firewall.grants()] == [10]


def test_nobody_is_let_in_without_an_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = host.make()
    firewall.prepare()
    monkeypatch.setattr(f"{pf.__name__}.render_ends", lambda _: "no rule")
    with pytest.raises(run.ProgramError, match="syntax error"):
        firewall.grant(to(CLIENT[4]), 60)
    assert not host.is_open(CLIENT[4])


def test_what_has_no_end_does_not_outlive_the_next_start(host: Host) -> None:
    host.make().prepare()
    host.make().grant(to(CLIENT[4]), 60)
    host.tell("-q -a spassh-t -t granted_tcp_22 -T add 192.0.2.3")
    assert [one.grant for one in host.make().grants()] == [to(CLIENT[4])]
    host.make().prepare()
    assert host.is_open(CLIENT[4])
    assert not host.is_open(*STRANGERS)


@pytest.mark.parametrize(
    ("grant", "message"),
    [
        (Grant(b"\1\2\3\4", SSH, Width.FLOW, 9), "pf cannot grant flow"),
        (Grant(b"\1\2\3\4", SSH, Width.ONCE), "pf cannot grant once"),
        (Grant(b"\1\2\3\4", Port(6, 25)), "pf has no table for tcp/25"),
    ],
)
def test_what_pf_cannot_enforce_is_an_error(
    host: Host, grant: Grant, message: str
) -> None:
    firewall = host.make()
    assert firewall.widths == {Width.ADDRESS}
    firewall.prepare()
    with pytest.raises(FirewallError, match=message):
        firewall.grant(grant, 60)


@pytest.mark.parametrize("user", ['a"', "a b", "a\nblock", "$if", "a" * 33, "é"])
def test_no_user_is_a_rule(host: Host, user: str) -> None:
    host.make().prepare()
    with pytest.raises(FirewallError, match="not the name of a user"):
        host.make().grant(to(CLIENT[4]), 60, user)
    assert host.make().grants() == []


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_grant_is_without_end(host: Host, seconds: int) -> None:
    host.make().prepare()
    with pytest.raises(FirewallError, match="cannot last"):
        host.make().grant(to(CLIENT[4]), seconds)


def test_a_session_outlives_the_grant_that_let_it_in(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    for source in CLIENTS:
        firewall.grant(to(source), 10)
    sessions = [host.session(source) for source in CLIENTS]
    host.now += 11
    firewall.sweep()
    host.make().prepare()
    assert not host.is_open(*EVERYBODY)
    assert all(map(host.lives, sessions))
    for session in sessions:
        assert not host.judge(session._replace(flags="S"))


def test_a_session_that_is_older_than_our_rules_lives_on_if_pf_knows_it(
    host: Host,
) -> None:
    """It does where `pass` has let it in. Older than pf itself, it is cut off."""
    host.change(main=[LETS_ALL_IN, 'anchor "spassh-t" all'])
    known = [host.session(source) for source in EVERYBODY]
    host.change(main=['anchor "spassh-t" all'])
    unknown = [host.session(source) for source in EVERYBODY]
    host.make().prepare()
    assert all(map(host.lives, known))
    assert not any(map(host.judge, unknown))
    assert not host.is_open(*EVERYBODY)
    for session in known:
        assert not host.judge(session._replace(flags="S"))


def test_the_connections_of_one_address_are_ended(host: Host, tools: Path) -> None:
    firewall = host.make()
    firewall.prepare()
    theirs = frozenset({to(STRANGER[4]).address})
    with pytest.raises(FirewallError, match="tcpdrop not found") as caught:
        firewall.end_sessions(theirs)
    assert caught.value.hint
    log = install_tcpdrop(tools)
    assert firewall.end_sessions(frozenset({to(CLIENT[4]).address})) == 0
    assert not log.exists()
    assert firewall.end_sessions(theirs) == 1
    assert log.read_text() == "192.0.2.1 22 192.0.2.3 4000\n"
    whole = frozenset({place(to(STRANGER[6]).address)})
    assert firewall.end_sessions(whole) == 1
    assert log.read_text().endswith("2001:db8::1 22 2001:db8::3 4000\n")


def test_preparing_again_changes_nothing(host: Host, direct: Direct) -> None:
    host.make().prepare()
    host.make().grant(to(CLIENT[4]), 60)
    changes = direct.changes
    host.make().prepare()
    assert host.make().repair() is False
    assert direct.changes == changes


def test_a_change_of_the_configuration_leaves_no_gap(
    host: Host, direct: Direct
) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 600)

    def look() -> None:
        assert host.is_open(CLIENT[4])
        assert not host.is_open(*STRANGERS)

    direct.look = look
    nets = (ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48"))
    for settings in (
        SETTINGS._replace(protect=(SSH, Port(6, 80))),
        SETTINGS._replace(always_allow=nets[:1]),
        SETTINGS._replace(always_allow=nets),
        SETTINGS._replace(grant_ports=(SSH, Port(6, 80))),
    ):
        changed = host.make(settings)
        assert not changed.in_place()
        changed.prepare()
        assert changed.in_place()
    assert [one.grant for one in host.make().grants()] == [to(CLIENT[4])]


def test_after_a_crash_at_any_step_the_next_start_makes_it_whole(
    host: Host, direct: Direct
) -> None:
    changed = SETTINGS._replace(protect=(SSH, Port(6, 80)))
    for step in range(40):
        host.make().remove()
        direct.changes, direct.fail_at = 0, step
        crashed = False
        try:
            host.make().prepare()
            host.make().grant(to(CLIENT[4]), 60)
            host.make().grant(to(STRANGER[4]), 60)
            host.make().revoke(to(STRANGER[4]))
            host.make(changed).prepare()
        except KeyboardInterrupt:
            crashed = True
        direct.fail_at = -1
        firewall = host.make(changed)
        firewall.prepare()
        assert firewall.in_place()
        told = {one.grant.address for one in firewall.grants()}
        for source in EVERYBODY:
            assert host.is_open(source) is (to(source).address in told)
        host.now += 61
        firewall.sweep()
        assert not host.is_open(*EVERYBODY)
        if not crashed:
            return
    raise AssertionError("more steps than were tried")


def test_a_flush_by_others_is_mended(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    host.tell("-q -a spassh-t -F rules")
    assert not firewall.in_place()
    assert firewall.repair() is True
    assert firewall.in_place()
    host.tell("-q -a spassh-t -F Tables")
    firewall.prepare()
    assert host.is_open(CLIENT[4])
    assert not host.is_open(*STRANGERS)


def test_pf_must_lead_to_our_anchor(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    host.change(main=["pass all flags S/SA keep state", 'anchor "spassh-t/*" all'])
    assert not firewall.in_place()
    for step in (firewall.prepare, firewall.repair):
        with pytest.raises(FirewallError, match="leads to the anchor") as caught:
            step()
        assert 'add the line: anchor "spassh-t" to /etc/pf.conf' in caught.value.hint
    assert 'anchor "spassh-t"' in str(firewall.unavailable())
    host.change(main=['anchor "spassh-t" all'], enabled=False)
    assert firewall.unavailable() == f"pf is disabled ({host.program} -e)"
    assert not firewall.in_place()


def test_what_may_keep_granted_packets_out_is_told(host: Host) -> None:
    rule = "block drop quick from <bad> to any"
    host.change(main=["block drop all", rule, 'anchor "spassh-t" all', rule])
    assert host.make().warnings() == [f"pf: a rule comes before our anchor: {rule}"]


def test_why_it_cannot_work_is_told(host: Host, tmp_path: Path) -> None:
    missing = SETTINGS._replace(programs=("", str(tmp_path / "no")))
    assert Pf(missing, lambda: NOW).unavailable() == f"{tmp_path}/no not found"
    forward = Forward(SSH, b"\x0a\0\0\1", 22)
    firewall = host.make(SETTINGS._replace(forwards=(forward,)))
    assert firewall.unavailable() == "it cannot forward ports"
    with pytest.raises(FirewallError, match="cannot forward") as caught:
        firewall.prepare()
    assert caught.value.hint


def test_a_pfctl_that_fails_is_no_empty_ruleset(tmp_path: Path) -> None:
    text = "import sys\nprint('pfctl: /dev/pf: Permission denied', file=sys.stderr)\n"
    host = Host(write("pfctl", text + "sys.exit(1)", tmp_path))
    assert str(host.make().unavailable()).endswith("/dev/pf: Permission denied")
    for step in (host.make().grants, host.make().sweep, host.make().in_place):
        with pytest.raises(run.ProgramError):
            step()


def test_with_the_drop_of_others_a_grant_really_lets_in(host: Host) -> None:
    host.change(main=['anchor "spassh-t" all', "block drop quick all"])
    net = ip_network("192.0.2.3/32")
    firewall = host.make(SETTINGS._replace(own_drop=False, always_allow=(net,)))
    firewall.prepare()
    assert "block" not in host.tell("-a spassh-t -s rules")
    firewall.grant(to(CLIENT[4]), 60)
    assert host.lives(host.session(CLIENT[4]))
    assert host.lives(host.session(STRANGER[4]))
    assert not host.is_open(CLIENT[6], STRANGER[6])


def test_removing_leaves_nothing_behind(host: Host) -> None:
    firewall = host.make()
    firewall.remove()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    assert set(host.kernel.data["anchors"]) == {"spassh-t", "spassh-t/ends"}
    for _ in range(2):
        firewall.remove()
        assert host.kernel.data["anchors"] == {}
    assert firewall.grants() == []
    assert host.is_open(*EVERYBODY)


def test_the_stand_in_refuses_what_is_not_its_language(process: Host) -> None:
    for line, complaint in (
        ("rdr pass from any to any -> 127.0.0.1", "stdin:1: syntax error"),
        ("pass in from any to (self) port 22;x", "stdin:1: syntax error"),
        (f'block in from any label "{"x" * 64}"', "stdin:1: rule label too long"),
    ):
        with pytest.raises(run.ProgramError, match=complaint) as caught:
            run.run(process.program, "-a", "x", "-f", "-", stdin=line.encode())
        assert caught.value.status == 1
    assert process.kernel.data["anchors"] == {}
    rule = b"pass in quick proto tcp from 192.0.2.1 to any port 22"
    run.run(process.program, "-a", "x", "-f", "-", stdin=rule)
    assert process.tell("-a x -s rules") == (
        "pass in quick inet proto tcp from 192.0.2.1 to any port = ssh"
        " flags S/SA keep state\n"
    )
