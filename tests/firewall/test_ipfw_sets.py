"""What is of its own kind in the ipfw back end where each grant is a rule.

What both designs promise is in test_ipfw.py. Here as there, a stand-in is asked.
"""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from firewall.backends import DNS, SSH, to
from firewall.fakes.direct import Direct
from firewall.fakes.install import install
from firewall.fakes.ipfw import APPLE, OLD
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
from firewall.network import CLIENT, STRANGER

from spassh_server.firewall import FirewallError, ipfw, ipfw_sets, run
from spassh_server.firewall.ipfw import Ipfw
from spassh_server.firewall.ipfw_design import make_ipfw
from spassh_server.firewall.ipfw_sets import IpfwSets
from spassh_server.firewall.ipfw_sets_render import (
    MAX_GRANTS,
    layout,
    render_older,
    render_policy,
)
from spassh_server.firewall.sessions import Session
from spassh_server.ports import Port

PLACES = layout(SETTINGS)
CHANGED = SETTINGS._replace(protect=(SSH, Port(6, 80)))


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> Direct:
    found = Direct()
    for module in (ipfw, ipfw_sets):
        monkeypatch.setattr(module, "run", found.run)
    return found


@pytest.fixture
def host(tmp_path: Path, direct: Direct) -> Host:
    host = Host(install("ipfw", tmp_path), IpfwSets)
    host.engine.become(OLD)
    host.run = direct.run
    return host


@pytest.fixture
def apple(host: Host) -> Host:
    host.engine.become(APPLE)
    return host


def numbers(host: Host) -> list[int]:
    return [rule["number"] for rule in host.engine.rules]


def granted(host: Host) -> list[int]:
    return [number for number in numbers(host) if number in PLACES.grants]


# Grants as rules.


def test_grants_are_told_as_they_were_given(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    wanted = {
        to("192.0.2.2", SSH): (15, "alice"),
        to("2001:db8::2", Port(17, 65535)): (60, ""),
        flow("::1", 65535, DNS): (1_000_000, "bob"),
        flow("192.0.2.2", 1): (7, "a.long-name_of_thirty-two.letters"[:32]),
    }
    for grant, (seconds, user) in wanted.items():
        firewall.grant(grant, seconds, user)
    told = host.make().grants()  # another process: all of it is in the kernel
    assert {one.grant: (one.seconds_left, one.user) for one in told} == wanted
    assert host.make().in_place()


def test_granting_again_extends_and_neither_shortens_nor_duplicates(
    host: Host,
) -> None:
    firewall = host.make()
    firewall.prepare()
    for seconds, left in ((100, 100), (200, 200), (50, 200), (200, 200), (1, 200)):
        firewall.grant(to(CLIENT[4]), seconds)
        assert [one.seconds_left for one in firewall.grants()] == [left]
        assert len(granted(host)) == 1
    firewall.grant(to(CLIENT[4]), 1, "bob")
    assert [(one.seconds_left, one.user) for one in firewall.grants()] == [(200, "bob")]


def test_an_extension_leaves_no_gap(host: Host, direct: Direct) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    direct.look = lambda: _open(host)
    before = direct.changes
    firewall.grant(to(CLIENT[4]), 120)
    assert direct.changes == before + 2


def _open(host: Host) -> None:
    assert host.is_open(CLIENT[4])


def test_what_has_expired_is_swept_and_nothing_of_it_stays(host: Host) -> None:
    firewall = host.make()
    assert firewall.sweep() is None
    firewall.prepare()
    before = host.everything()
    firewall.grant(to(CLIENT[4]), 10)
    firewall.grant(flow(CLIENT[6], 4000), 20)
    sessions = [host.session(CLIENT[4]), host.session(CLIENT[6], source_port=4000)]
    assert firewall.sweep() == NOW + 10.5
    host.now += 11
    assert host.make().sweep() == NOW + 20.5  # another process, after a crash
    assert not host.is_open(CLIENT[4])
    assert host.is_open(CLIENT[6], source_port=4000)
    host.now += 10
    assert firewall.sweep() is None
    assert not host.is_open(*CLIENTS)
    # No rule is kept for the sake of what it let in, and that goes on.
    assert host.everything() == before
    assert all(map(host.lives, sessions))


def test_revoking_takes_every_rule_of_a_grant(host: Host) -> None:
    firewall = host.make()
    firewall.revoke(to(CLIENT[4]))
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    firewall.grant(to(CLIENT[4], DNS), 60)
    # What an extension that died half-way leaves.
    rule = host.tell(f"list {PLACES.grants[0]}").split(" ", 1)[1].strip()
    host.tell(f"-q add {PLACES.grants[5]} set 30 {rule}")
    for _ in range(2):
        firewall.revoke(to(CLIENT[4]))
        assert [one.grant for one in firewall.grants()] == [to(CLIENT[4], DNS)]
        assert not host.is_open(CLIENT[4])


def test_there_is_a_bound_on_grants(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    grants = [to(f"198.51.100.{one}") for one in range(MAX_GRANTS + 1)]
    for one, grant in enumerate(grants[:-1]):
        firewall.grant(grant, 60 + one)
    before = host.everything()
    with pytest.raises(FirewallError, match=f"{MAX_GRANTS} grants") as caught:
        firewall.grant(grants[-1], 60)
    assert caught.value.hint
    assert host.everything() == before
    firewall.grant(grants[3], 600)  # one that is there can go on
    assert len(firewall.grants()) == MAX_GRANTS
    host.now += 61
    firewall.sweep()
    firewall.grant(grants[-1], 60)
    assert host.is_open("198.51.100.89", "198.51.100.3")


@pytest.mark.parametrize("seconds", [0, -1, 2**32])
def test_no_grant_is_without_end(host: Host, seconds: int) -> None:
    firewall = host.make()
    firewall.prepare()
    with pytest.raises(FirewallError, match="cannot"):
        firewall.grant(to(CLIENT[4]), seconds)
    assert firewall.grants() == []


def test_a_grant_before_prepare_is_an_error_and_makes_no_rule(host: Host) -> None:
    with pytest.raises(FirewallError, match="not in place"):
        host.make().grant(to(CLIENT[4]), 60)
    assert numbers(host) == []


# Crashes, and others.


def _story(host: Host) -> Callable[[], None]:
    """Return what uses every kind of change, once each."""

    def tell() -> None:
        host.make().prepare()
        host.make().grant(to(CLIENT[4]), 10)
        host.make().grant(to(CLIENT[4]), 20)
        host.make().grant(flow(CLIENT[6], 4000), 30)
        host.make().revoke(flow(CLIENT[6], 4000))
        host.make(CHANGED).prepare()
        host.now += 21
        host.make(CHANGED).sweep()

    return tell


def test_a_crash_at_any_change_leaves_no_hole_and_ends_no_session(
    host: Host, direct: Direct
) -> None:
    host.make().prepare()
    ports = (SSH, Port(6, 443))  # dropped by us, and by others alone
    for port in ports:
        host.make().grant(to(CLIENT[4], port), 5)
    sessions = [host.session(CLIENT[4], port) for port in ports]
    # A default that denies: only our rules let a session go on.
    host.tell("-q add 65000 deny ip from any to any")
    start = host.engine

    def look() -> None:
        assert not host.is_open(*STRANGERS)
        assert not host.is_open(*EVERYBODY, port=Port(6, 5000))
        assert all(map(host.lives, sessions))

    for step in range(200):
        start.save()
        host.now = NOW
        direct.changes, direct.fail_at, direct.look = 0, step, look
        crashed = False
        try:
            _story(host)()
        except KeyboardInterrupt:
            crashed = True
        direct.fail_at = -1
        host.now = NOW + 31
        host.make(CHANGED).prepare()
        assert host.make(CHANGED).in_place()
        assert granted(host) == []
        assert not host.is_open(*EVERYBODY)
        assert not host.is_open(*EVERYBODY, port=Port(6, 443))
        assert all(map(host.lives, sessions))
        if not crashed:
            assert step == 16
            return
    raise AssertionError("more steps than were tried")


def test_a_first_start_that_crashes_opens_nothing_that_was_closed(
    host: Host, direct: Direct
) -> None:
    host.tell("-q add 65000 deny ip from any to any")

    def look() -> None:
        assert not host.is_open(*EVERYBODY)
        assert not host.is_open(*EVERYBODY, port=Port(6, 5000))

    direct.look = look
    before = direct.changes
    host.make().prepare()
    host.make().remove()
    assert direct.changes > before + 10


def test_a_flush_by_others_is_mended(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    first, _ = PLACES.policies
    for harm in (
        f"-q delete {first}",
        f"-q delete {PLACES.guard}",
        f"-q delete {PLACES.accept}",
        "set disable 30",
    ):
        host.tell(harm)
        assert not firewall.in_place()
        assert firewall.repair() is True
        assert firewall.in_place()
        assert host.is_open(CLIENT[4])
        assert not host.is_open(*STRANGERS)
        assert firewall.repair() is False
    host.tell("-q delete set 30")  # and the grants with the rest
    assert firewall.repair() is True
    assert not host.is_open(*EVERYBODY)


def test_what_has_expired_is_not_enabled_again(host: Host, direct: Direct) -> None:
    host.make().prepare()
    host.make().grant(to(CLIENT[4]), 10)
    host.tell("set disable 30")
    host.now += 11
    enabled = []

    def look() -> None:
        if not host.engine.is_disabled({"set": 30}):
            enabled.append(granted(host))

    direct.look = look
    host.make().prepare()
    assert enabled == [[]]


def test_without_the_policy_nothing_is_let_in_that_others_drop(host: Host) -> None:
    host.tell("-q add 65000 deny ip from any to any")
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    for number in PLACES.policies:
        if number in numbers(host):
            host.tell(f"-q delete {number}")
    assert not host.is_open(*STRANGERS)
    assert not host.is_open(*EVERYBODY, port=Port(6, 5000))


def test_a_policy_that_looks_up_no_state_is_not_whole(host: Host) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 60)
    number = PLACES.policies[0]
    host.tell(f"-q delete {number}")
    for rule in render_policy(SETTINGS, ipv6=True):
        if rule != "check-state":
            host.tell(f"-q add {number} set 30 {rule}")
    assert not firewall.in_place()
    assert firewall.repair() is True
    assert host.lives(host.session(CLIENT[4]))


def test_rules_that_ipfw_refuses_change_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = host.make()
    firewall.prepare()
    before = host.tell("-S list")
    good = render_policy(CHANGED, ipv6=True)
    bad = [*good[:3], "open everything", *good[3:]]
    monkeypatch.setattr(ipfw_sets, "render_policy", lambda *_, **__: bad)
    with pytest.raises(run.ProgramError, match="invalid action open"):
        host.make(CHANGED).prepare()
    assert host.tell("-S list") == before


def test_our_rules_may_move_to_other_numbers(host: Host, direct: Direct) -> None:
    firewall = host.make()
    firewall.prepare()
    firewall.grant(to(CLIENT[4]), 600, "alice")
    before = host.everything()
    for step in (-90, -1, 1, 90):
        near = host.make(SETTINGS._replace(ipfw_rule=RULE + step))
        with pytest.raises(FirewallError, match="overlap") as caught:
            near.prepare()
        assert "ipfw_rule" in caught.value.hint
        assert host.everything() == before

    def look() -> None:
        assert not host.is_open(*STRANGERS)
        assert host.is_open(CLIENT[4])

    direct.look = look
    moved = host.make(SETTINGS._replace(ipfw_rule=RULE + 95))
    moved.prepare()
    assert moved.in_place()
    assert [(one.seconds_left, one.user) for one in moved.grants()] == [(600, "alice")]
    assert min(numbers(host)) == RULE + 95


def test_a_move_that_crashed_is_ended(host: Host, direct: Direct) -> None:
    host.make().prepare()
    for one in range(3):
        host.make().grant(to(f"198.51.100.{one}"), 600)
    moved = host.make(SETTINGS._replace(ipfw_rule=RULE + 95))
    direct.fail_at = direct.changes + 6  # guard, two of accept, and two of the grants
    with pytest.raises(KeyboardInterrupt):
        moved.prepare()
    direct.fail_at = -1
    moved.prepare()
    assert moved.in_place()
    places = layout(SETTINGS._replace(ipfw_rule=RULE + 95))
    assert sum(number in places.grants for number in numbers(host)) == 3
    assert len(moved.grants()) == 3


def test_rules_of_others_are_not_touched(host: Host) -> None:
    for line in (
        f"-q add {RULE - 1} set 30 count ip from any to any",
        f"-q add {PLACES.after} count tcp from any to any",
        "-q add 9 set 30 check-state",
        "-q add 9 set 30 count udp from any to any // spassh-t-2 x 1",
    ):
        host.tell(line)
    before = host.everything()
    other = host.make(SETTINGS._replace(name="other", ipfw_rule=RULE + 100))
    for firewall in (host.make(), other):
        firewall.prepare()
        firewall.grant(to(CLIENT[4]), 60)
        firewall.repair()
    host.make().remove()
    assert other.in_place()
    assert len(other.grants()) == 1
    other.remove()
    assert host.everything() == before


@pytest.mark.parametrize("number", [RULE, RULE + 40, *PLACES[2], PLACES.accept])
@pytest.mark.parametrize("one_set", [4, 30])
def test_a_number_that_is_taken_is_an_error(
    host: Host, number: int, one_set: int
) -> None:
    """A rule is deleted by its number, in all sets at once."""
    host.tell(f"-q add {number} set {one_set} count ip from any to any // theirs")
    before = host.everything()
    with pytest.raises(FirewallError, match=f"rule {number} that is") as caught:
        host.make().prepare()
    assert "ipfw_rule" in caught.value.hint
    assert host.everything() == before


def test_what_may_keep_granted_packets_out_is_told(
    host: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.make().prepare()
    monkeypatch.setattr(ipfw_sets, "run", _with({"sysctl": b"0\n"}, direct))
    host.tell("-q add 100 allow ip from any to any")
    host.tell(f"-q add {PLACES.after} deny ip from any to any")
    told = host.make().warnings()
    assert "89 grants" in told[0]
    assert [line.split(" is 0")[0] for line in told[1:]] == [
        "net.inet.ip.fw.enable",
        "net.inet6.ip6.fw.enable",
    ]
    host.tell("-q add 200 deny tcp from any to me 22")
    host.tell("-q add 300 allow udp from me to any keep-state")
    assert host.make().warnings()[3:] == [
        "ipfw: rule 200 comes before ours: deny tcp from any to me dst-port 22",
        "ipfw: rule 300 comes before ours: allow udp from me to any keep-state",
    ]


def test_sessions_that_are_older_are_entered_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [
        Session((b"\xc0\0\2\1", 22), (to(source).address, 4000 + one))
        for one, source in enumerate((STRANGER[4], STRANGER[6]))
    ]
    monkeypatch.setattr(ipfw_sets, "established", lambda _: sessions)
    host.make().prepare()
    host.make(CHANGED).prepare()
    assert numbers(host).count(PLACES.older) == len(render_older("x", sessions)) == 2
    packet = host.packet(STRANGER[4], source_port=4000)
    assert not host.judge(packet)
    assert host.judge(packet._replace(flags="A"))
    assert not host.judge(packet._replace(flags="A", source_port=4001))


# Apple's.

LINK_LOCAL = b"""\
lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384
\tinet6 ::1 prefixlen 128
\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x1
\tinet 127.0.0.1 netmask 0xff000000
en0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\tinet6 fe80::21b:63ff:fe9f:1%en0 prefixlen 64 scopeid 0x4
\tinet 192.0.2.1 netmask 0xffffff00 broadcast 192.0.2.255
"""
GLOBAL = LINK_LOCAL + b"\tinet6 2001:db8::1 prefixlen 64 autoconf\n"


def _with(answers: dict[str, bytes], direct: Direct) -> Callable[..., bytes]:
    """Return what runs ipfw as `direct` does, and for other programs knows answers."""

    def run_one(program: str, *words: str, stdin: bytes = b"") -> bytes:
        if "/" in program:
            return direct.run(program, *words, stdin=stdin)
        if program not in answers:
            raise FirewallError(f"{program} not found")
        return answers[program]

    return run_one


def test_a_port_is_not_half_protected(
    apple: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(**answers: bytes) -> str | None:
        monkeypatch.setattr(ipfw_sets, "run", _with(answers, direct))
        return apple.make().unavailable()

    assert reason(ifconfig=LINK_LOCAL) is None
    assert "2001:db8::1" in str(reason(ifconfig=GLOBAL))
    assert "networksetup -setv6off" in str(reason(ifconfig=GLOBAL))
    assert "ifconfig does not tell" in str(reason())
    assert "ifconfig does not tell" in str(reason(ifconfig=b"\tinet6 nonsense\n"))
    apple.engine.become(OLD)
    assert reason() is None


def test_where_ipv6_is_not_looked_at_that_is_told(
    apple: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, match in ((LINK_LOCAL, "does not look at IPv6; n"), (GLOBAL, "2001:db8")):
        monkeypatch.setattr(ipfw_sets, "run", _with({"ifconfig": text}, direct))
        assert any(match in line for line in apple.make().warnings())


def test_grants_are_of_ipv4_where_ipfw_is(apple: Host) -> None:
    nets = (ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/48"))
    firewall = apple.make(SETTINGS._replace(always_allow=nets))
    firewall.prepare()
    assert firewall.in_place()
    with pytest.raises(FirewallError, match="does not look at IPv6"):
        firewall.grant(to(CLIENT[6]), 60)
    assert not apple.is_open(CLIENT[4], STRANGER[4])
    firewall.grant(flow(CLIENT[4], 4000), 60)
    session = apple.session(CLIENT[4], source_port=4000)
    assert not apple.is_open(CLIENT[4], STRANGER[4])
    assert apple.is_open("198.51.100.7")
    apple.now += 61
    firewall.sweep()
    assert not apple.judge(session._replace(flags="S"))
    assert apple.lives(session)


# Which design.


def test_the_design_is_the_one_that_this_ipfw_can_do(
    host: Host, direct: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS._replace(programs=(host.program, "/nonexistent"))
    old = make_ipfw(settings, lambda: NOW)
    assert isinstance(old, IpfwSets)
    assert old.unavailable() is None
    assert old.name == "ipfw"
    host.engine.become(APPLE)
    monkeypatch.setattr(ipfw_sets, "run", _with({"ifconfig": GLOBAL}, direct))
    assert "IPv6" in str(make_ipfw(settings, lambda: NOW).unavailable())
    host.engine.become("")
    assert isinstance(make_ipfw(settings, lambda: NOW), Ipfw)


def test_where_there_is_none_that_is_told(tmp_path: Path) -> None:
    settings = SETTINGS._replace(programs=(f"{tmp_path}/no", "/nonexistent"))
    reason = make_ipfw(settings, lambda: NOW).unavailable()
    assert reason == f"{tmp_path}/no not found"
