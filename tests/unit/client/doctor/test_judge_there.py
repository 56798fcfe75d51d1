"""What is made of the way in, and of the server."""

import errno
from typing import Any

import pytest
from unit.client.doctor.test_judge_here import V4, V6, told

from spassh.protocol.finding import Finding, Result
from spassh.protocol.limits import WINDOW_MS
from spassh.resolve import Address
from spassh.verbs.doctor.judge_here import Way
from spassh.verbs.doctor.judge_there import (
    Knocked,
    Login,
    judge_access,
    judge_clock,
    judge_families,
    judge_login,
    judge_port,
    judge_server,
    judge_udp,
)
from spassh.verbs.doctor.port import Opening, State
from spassh.verbs.doctor.there import Offset, parse_time
from spassh.verbs.doctor.ways import Complaint
from spassh.verbs.proof import Seen
from spassh.verbs.remote import Grant

HELLO = "SSH-2.0-x"
WAY4, WAY6 = Way(V4, "192.0.2.9"), Way(V6, "2001:db8::9")


def opening(state: State, address: Address = V4, **more: Any) -> Opening:
    return Opening(address, state)._replace(**more)


OPENS = opening(State.OPENS, seconds=0.0123, greeting=HELLO)
OPEN = opening(State.OPEN, greeting=HELLO)
SHUT = opening(State.SHUT, reason="port 22 of server stays shut")


@pytest.mark.parametrize(
    ("ways", "openings", "expected"),
    [
        (
            [WAY6, WAY4],
            [OPENS._replace(address=V6), OPEN],
            ("ok", "IPv6 and IPv4 get in", ""),
        ),
        ([WAY4, WAY4], [OPENS], ("ok", "IPv4 gets in", "")),
        (
            [WAY6, WAY4],
            [SHUT._replace(address=V6), OPENS],
            (
                "warning",
                "IPv6 is tried first and does not get in; IPv4 does",
                'write name = "192.0.2.1" in /p.toml',
            ),
        ),
        (
            [Way(V6, "", "no"), WAY4],
            [OPENS],
            (
                "warning",
                "IPv6 is tried first and does not get in; IPv4 does",
                'write name = "192.0.2.1" in /p.toml',
            ),
        ),
        (
            [WAY4, WAY6],
            [OPENS, SHUT._replace(address=V6)],
            ("ok", "IPv4 is tried first and gets in; IPv6 does not", ""),
        ),
        (
            [WAY4, WAY6],
            [SHUT, SHUT._replace(address=V6)],
            (
                "unknown",
                "IPv4 and IPv6: nothing gets in",
                "see 'route', 'udp' and 'port'",
            ),
        ),
    ],
)
def test_which_family_gets_in_is_told(
    ways: list[Way], openings: list[Opening], expected: tuple[str, str, str]
) -> None:
    assert told(judge_families(ways, openings, "/p.toml")) == [expected]


@pytest.mark.parametrize(
    ("one", "result", "seen", "remedy"),
    [
        (
            OPENS,
            "ok",
            "port 22 of 192.0.2.1 opens 12.3 ms after a knock (SSH-2.0-x)",
            "",
        ),
        (
            OPEN,
            "warning",
            (
                "port 22 of 192.0.2.1 is open without a knock: nothing guards it, or an"
                " earlier knock keeps it open (SSH-2.0-x)"
            ),
            "if nothing guards it: spassh lock root@server",
        ),
        (
            SHUT,
            "problem",
            "192.0.2.1: port 22 of server stays shut",
            "on server: spasshd doctor, and the log of spasshd",
        ),
        (
            opening(State.REFUSED, reason="server refuses connections to port 22"),
            "problem",
            "192.0.2.1: server refuses connections to port 22",
            "see that sshd runs on server, and listens to this port",
        ),
        (
            opening(State.UNREACHABLE, reason="cannot reach server: no route to host"),
            "problem",
            "192.0.2.1: cannot reach server: no route to host",
            "ip route get 192.0.2.1",
        ),
        (
            OPENS._replace(greeting=None),
            "warning",
            "port 22 of 192.0.2.1 is open, and says nothing within 5 s",
            "on server: spasshd doctor; is it too busy, or another program?",
        ),
        (
            OPEN._replace(greeting=""),
            "warning",
            "port 22 of 192.0.2.1 is open, and does not speak SSH within 5 s",
            "on server: spasshd doctor; is it too busy, or another program?",
        ),
    ],
)
def test_what_a_port_is_like_is_told(
    one: Opening, result: str, seen: str, remedy: str
) -> None:
    (finding,) = judge_port(22, [one], "server", "root@server", has_other_way=False)
    assert told(finding) == [(result, seen, remedy)]
    assert finding.data["state"] == one.state.value
    fast = finding.data["milliseconds"]
    assert fast == (12.3 if one.state is State.OPENS else None)


def test_a_way_that_is_shut_matters_less_if_another_is_open() -> None:
    both = [SHUT, OPENS._replace(address=V6)]
    shut, opens = judge_port(22, both, "server", "server", has_other_way=False)
    assert (shut.result, opens.result) == (Result.WARNING, Result.OK)
    (shut,) = judge_port(22, [SHUT], "server", "server", has_other_way=True)
    assert shut.result is Result.WARNING


REFUSED = Complaint("192.0.2.1", errno.ECONNREFUSED, "connection refused", "192.0.2.1")
ROUTER = Complaint("192.0.2.1", errno.EHOSTUNREACH, "no route to host", "192.0.2.254")
LOCAL = Complaint("192.0.2.1", errno.EPERM, "operation not permitted")
GRANT = Grant("alice", "192.0.2.9", "tcp/22", 14)
GRANTED = Seen([GRANT], {"granted": 1})
NOTHING = Seen([], {})
UNKNOWN = (
    "on server: tcpdump -n -i any udp port 62201; meanwhile here: spassh knock server"
)


@pytest.mark.parametrize(
    ("knocked", "expected"),
    [
        (
            Knocked(62201, [OPENS], [], GRANTED),
            ("ok", "a knock arrives: server has seen it", ""),
        ),
        (
            Knocked(62201, [SHUT], [ROUTER], Seen([], {"stale": 4})),
            ("ok", "a knock arrives: server has seen it", ""),
        ),
        (
            Knocked(62201, [SHUT._replace(address=V6), OPENS]),
            ("ok", "a knock arrives: the port of 192.0.2.1 opened", ""),
        ),
        # That the port is open says nothing, if it is anyway.
        (
            Knocked(62201, [OPEN]),
            (
                "unknown",
                "whether udp/62201 gets to server cannot be told from here",
                UNKNOWN,
            ),
        ),
        (
            Knocked(62201, [SHUT]),
            (
                "unknown",
                "whether udp/62201 gets to server cannot be told from here",
                UNKNOWN,
            ),
        ),
        (
            Knocked(62201, [SHUT], [REFUSED, ROUTER]),
            (
                "problem",
                "192.0.2.254 says of udp/62201 to 192.0.2.1: no route to host",
                "have 192.0.2.254 let udp/62201 through",
            ),
        ),
        (
            Knocked(62201, [SHUT], [LOCAL]),
            (
                "problem",
                "this computer says of udp/62201 to 192.0.2.1: operation not permitted",
                "see the firewall of this computer, and: ip route get 192.0.2.1",
            ),
        ),
        (
            Knocked(62201, [OPEN], [REFUSED]),
            (
                "warning",
                (
                    "udp/62201 gets to 192.0.2.1, which refuses it: spasshd does not"
                    " run there, has another port, or protects nothing"
                ),
                "on server: spasshd doctor",
            ),
        ),
        (
            Knocked(62201, [OPEN], [REFUSED], is_of_fwknop=True),
            (
                "unknown",
                (
                    "udp/62201 gets to 192.0.2.1, which refuses it: an fwknopd that"
                    " captures at this port hears it all the same"
                ),
                "on server: see the log of fwknopd, and its PCAP_FILTER",
            ),
        ),
        (
            Knocked(62201, [OPEN], [], NOTHING),
            (
                "problem",
                "no knock arrives: server has seen none",
                (
                    "have udp/62201 let through on the way, and in the firewall of the"
                    " cloud"
                ),
            ),
        ),
        # The server knows better than what it looks like from here.
        (
            Knocked(62201, [OPENS], [], NOTHING),
            (
                "problem",
                "no knock arrives: server has seen none",
                (
                    "have udp/62201 let through on the way, and in the firewall of the"
                    " cloud"
                ),
            ),
        ),
    ],
)
def test_whether_knocks_arrive_is_told_by_the_best_witness(
    knocked: Knocked, expected: tuple[str, str, str]
) -> None:
    assert told(judge_udp(knocked, "server")) == [expected]


@pytest.mark.parametrize(
    ("grew", "remedy"),
    [
        ({"stale": 4}, "set the clocks right: timedatectl set-ntp true"),
        ({"unauthentic": 4}, "spassh enroll root@server"),
        ({"not-ours": 4}, "spassh enroll root@server"),
        (
            {"refused": 4},
            "on server: spasshd user list; the log of spasshd says why",
        ),
        ({"busy": 1}, "on server: spasshd status"),
        ({"failed": 1}, "on server: spasshd doctor"),
        ({"replayed": 1}, "on server: see the log of spasshd"),
        ({"malformed": 1}, "update spassh on both sides: they are of different ages"),
        ({"duplicate": 1}, "on server: see the log of spasshd"),
    ],
)
def test_why_a_knock_is_not_let_in_is_told(grew: dict[str, int], remedy: str) -> None:
    (finding,) = judge_access(Seen([], grew), "server", "root@server")
    assert (str(finding.result), finding.remedy) == ("problem", remedy)
    name = next(iter(grew))
    assert finding.seen.startswith(f"server does not let the knock in: {name} ")


def test_who_is_let_in_is_told_once_each() -> None:
    older, other = GRANT._replace(seconds_left=3), GRANT._replace(port="tcp/443")
    seen = Seen([GRANT, older, other], {"granted": 1})
    (finding,) = judge_access(seen, "server", "server")
    assert sorted(finding.seen.removeprefix("server lets ").split(", ")) == [
        "192.0.2.9 reach tcp/22 for 14 s",
        "192.0.2.9 reach tcp/443 for 14 s",
    ]
    assert judge_access(NOTHING, "server", "server") == []


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        (
            Login("ann", seconds=0.25),
            ("ok", "ssh gets in as ann (250.0 ms)", ""),
        ),
        (
            Login("ann", is_shared=True),
            ("ok", "a connection as ann is there, which ssh lets others use", ""),
        ),
        (
            Login("ann"),
            (
                "unknown",
                "not tried: the port is shut",
                "see what it says: ssh -v server",
            ),
        ),
        (
            Login("ann", why="ssh to x failed: Permission denied (publickey)."),
            (
                "unknown",
                "ssh to x failed: Permission denied (publickey).",
                "see what it says: ssh -v server",
            ),
        ),
        (
            Login("ann", why="ssh to x failed: not done after 20 s"),
            (
                "warning",
                "ssh to x failed: not done after 20 s",
                "see what it says: ssh -v server",
            ),
        ),
    ],
)
def test_whether_ssh_gets_in_is_told(
    tried: Login, expected: tuple[str, str, str]
) -> None:
    assert told(judge_login("server", tried)) == [expected]


HALF = WINDOW_MS // 2


@pytest.mark.parametrize(
    ("offset", "result", "seen"),
    [
        (Offset(-400, 600), "ok", "ours is 0.1 s behind that of server, give or take"),
        (Offset(-600, 400), "ok", "ours is 0.1 s ahead of that of server, give or ta"),
        (Offset(HALF - 1000, HALF), "ok", "ours is 29.5 s behind that of server"),
        (Offset(HALF, HALF + 1), "warning", "ours is 30.0 s behind that of server"),
        (Offset(-HALF - 1, 0), "warning", "ours is 15.0 s ahead of that of server"),
        # It may be within the window, so it is not said that it is not.
        (Offset(WINDOW_MS, WINDOW_MS + 1000), "warning", "ours is 60.5 s behind that"),
        (Offset(WINDOW_MS + 1, 70_000), "problem", "ours is 65.0 s behind that of"),
        (Offset(-70_000, -WINDOW_MS - 1), "problem", "ours is 65.0 s ahead of that of"),
    ],
)
def test_how_far_the_clocks_are_apart_is_told(
    offset: Offset, result: str, seen: str
) -> None:
    finding = judge_clock(offset, "server")
    assert str(finding.result) == result
    assert finding.seen.startswith(seen)
    assert finding.seen.endswith("a knock may be 60 s off")
    assert bool(finding.remedy) is (result != "ok")


def test_a_clock_that_nobody_has_seen_is_not_known() -> None:
    finding = judge_clock(None, "server")
    assert finding.result is Result.UNKNOWN
    assert finding.remedy == "compare, here and on server: date -u"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        # It said 1000 s some time between 999.9 s and 1000.3 s by our clock.
        ("1000\n", Offset(-300, 1099)),
        ("Welcome!\n\n 1000 \r\n", Offset(-300, 1099)),
        ("1\n1000\n", Offset(-300, 1099)),
        ("", None),
        ("%s\n", None),
        ("-1000\n", None),
        ("1000.5\n", None),
        ("9" * 13, None),
        ("²\n", None),
    ],
)
def test_the_time_there_is_within_what_the_question_took(
    output: str, expected: Offset | None
) -> None:
    assert parse_time(output, 999_900, 1_000_300) == expected


def test_what_the_server_has_to_say_is_known_or_not() -> None:
    found = [Finding("clock", Result.OK, "")]
    assert told(judge_server(found, "", "server")) == [
        ("ok", "spasshd doctor has looked at server", "")
    ]
    remedy = "on server, as root: spasshd doctor"
    lead = "what spasshd there has to say is not known: "
    for why, said in (("", "it was not asked"), ("no sudo", "no sudo")):
        assert told(judge_server(None, why, "server")) == [
            ("unknown", lead + said, remedy)
        ]
    install = "if it is to be guarded, install spasshd on server"
    assert told(judge_server(None, "it has none", "server", is_missing=True)) == [
        ("unknown", lead + "it has none", install)
    ]


def test_a_server_whose_key_nobody_has_accepted_is_one_to_log_in_to_once() -> None:
    why = "ssh to server failed: Host key verification failed."
    (finding,) = told(judge_login("server", Login("root", why=why)))
    assert finding[2].endswith("accept its key: ssh server")
