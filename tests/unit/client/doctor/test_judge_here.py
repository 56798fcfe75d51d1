"""What is made of what there is here: ssh, the profile, its files, the ways."""

import socket

import pytest
from unit.client.parties import PROFILE

from spassh.profile import parse_profile
from spassh.protocol.finding import Finding, Result
from spassh.resolve import Address
from spassh.verbs.doctor.files import Place
from spassh.verbs.doctor.judge_here import (
    MOST,
    PROXY_LINES,
    Reached,
    Way,
    judge_files,
    judge_name,
    judge_no_profile,
    judge_profile,
    judge_ssh,
    judge_ways,
)
from spassh.verbs.ssh import Settings

LINE = "/home/ann/.ssh/config line 7"
OURS = "spassh proxy --fdpass -- %h %p"
V4 = Address(socket.AF_INET, ("192.0.2.1", 22))
V6 = Address(socket.AF_INET6, ("2001:db8::1", 22, 0, 0))


def told(*findings: Finding) -> list[tuple[str, str, str]]:
    return [(str(one.result), one.seen, one.remedy) for one in findings]


def reached(
    proxy: str, *, passes: bool = False, line: str = "", missing: str = ""
) -> Reached:
    settings = Settings("192.0.2.1", "ann", 2222, proxy)
    return Reached(settings, passes, line, missing)


WHERE = "ann@192.0.2.1 port 2222"


@pytest.mark.parametrize(
    ("how", "has_profile", "expected"),
    [
        (
            reached(OURS, passes=True, line=LINE),
            True,
            ("ok", f"{WHERE} goes through spassh, by {LINE}", ""),
        ),
        (
            reached("spassh proxy -- %h %p"),
            True,
            ("ok", f"{WHERE} goes through spassh", ""),
        ),
        (
            reached("spassh proxy -- %h %p", passes=True, line=LINE),
            True,
            (
                "problem",
                (
                    f"{WHERE} goes through spassh, without the --fdpass that ssh waits"
                    f" for, by {LINE}"
                ),
                f"write --fdpass after 'proxy' in {LINE}",
            ),
        ),
        (
            reached(OURS),
            True,
            (
                "warning",
                f"{WHERE} goes through spassh, and ssh takes no socket from it",
                "add 'ProxyUseFdpass yes' after ssh_config(5)",
            ),
        ),
        (
            reached("/x/spassh proxy", missing="/x/spassh", line=LINE),
            False,
            (
                "problem",
                (
                    f"{WHERE} goes through spassh, which is not there: /x/spassh, by"
                    f" {LINE}"
                ),
                f"write the path of spassh in {LINE}",
            ),
        ),
        (
            reached(""),
            True,
            (
                "problem",
                f"{WHERE} is reached by ssh itself, which does not knock",
                f"write in ~/.ssh/config, for server: {PROXY_LINES}",
            ),
        ),
        (
            reached("", line=LINE),
            True,
            (
                "problem",
                f"{WHERE} is reached by ssh itself, which does not knock, by {LINE}",
                f"take 'none' out of {LINE}, or have server come before it",
            ),
        ),
        (reached(""), False, ("ok", f"{WHERE} is reached by ssh itself", "")),
        (
            reached("sshpass -p hunter2 ssh bastion", line=LINE),
            True,
            (
                "warning",
                f"{WHERE} has a way of its own, 'sshpass', by {LINE}",
                "spassh has to be in it, or to stand before it: see spassh(1)",
            ),
        ),
        (
            reached("bastion.example", line=LINE),
            False,
            ("ok", f"{WHERE} has a way of its own, 'bastion.example', by {LINE}", ""),
        ),
    ],
)
def test_how_ssh_gets_there_is_told(
    how: Reached, has_profile: bool, expected: tuple[str, str, str]
) -> None:
    finding = judge_ssh("server", how, has_profile=has_profile)
    assert told(finding) == [expected]
    assert "hunter2" not in repr(finding)
    assert finding.data["through_spassh"] is how.settings.goes_through_spassh


def test_the_profile_is_told_without_its_secrets() -> None:
    finding = judge_profile(PROFILE)
    assert told(finding) == [
        ("ok", "/nowhere/server.toml: as user alice, knocks go to udp/62201", "")
    ]
    assert not any(
        key in repr(finding) for key in (PROFILE.server, PROFILE.psk, PROFILE.secret)
    )


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ("port = 7", "udp/7"),
        ("rand_port = true", "udp/any"),
        ('transport = "http"\nport = 80', "tcp/80 by http"),
        ('transport = "tcp-raw"\nrand_port = true', "tcp/any by tcp-raw"),
        ('transport = "udp-raw"', "udp/62201 by udp-raw"),
        ('transport = "icmp"', "icmp"),
    ],
)
def test_how_knocks_travel_to_an_fwknopd_is_told(lines: str, where: str) -> None:
    text = f'hosts = ["a"]\nuser = "u"\nformat = "fwknop"\nkey = "k"\n{lines}\n'
    seen = judge_profile(parse_profile("/a.toml", text)).seen
    assert seen == f"/a.toml: as user u, knocks go to {where}"


def test_that_there_is_no_profile_is_told_and_perhaps_why() -> None:
    assert told(judge_no_profile("root@server", "192.0.2.1", "")) == [
        (
            "problem",
            "no profile names 192.0.2.1, so spassh does not knock",
            "spassh enroll root@server",
        )
    ]
    ((result, seen, remedy),) = told(judge_no_profile("server", "192.0.2.1", "/p.toml"))
    assert result == "problem"
    assert seen.startswith("/p.toml is for it by its Host or its login")
    assert remedy == "write '%n' '%r' after %p in the ProxyCommand"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place("/c", 1000, 0o755), []),
        (Place("/c", 0, 0o755), []),
        (Place("/tmp", 0, 0o1777), []),  # noqa: S108 - no file is made there
        (
            Place("/c d", 1000, 0o775),
            [
                (
                    "warning",
                    "others can put files into /c d, or take them away",
                    "chmod go-w '/c d'",
                )
            ],
        ),
        (
            Place("/c", 1001, 0o700),
            [
                (
                    "warning",
                    "/c belongs to uid 1001, who can take files away",
                    "chown 1000 /c",
                )
            ],
        ),
    ],
)
def test_who_else_could_replace_the_files_is_told(
    place: Place, expected: list[tuple[str, str, str]]
) -> None:
    paths = ["/c/profiles/a.toml", "/c/key"]
    well = "nobody else can read or replace /c/profiles/a.toml or /c/key"
    found = judge_files(paths, [place], 1000)
    assert told(*found) == (expected or [("ok", well, "")])
    assert len(judge_files(paths, [Place("/c", 9, 0)] * (MOST + 1), 1000)) == MOST


def test_the_addresses_of_a_name_are_told_up_to_a_number() -> None:
    finding = judge_name("server", [V6, V4], 0.0123)
    assert told(finding) == [
        ("ok", "server is at 2001:db8::1, 192.0.2.1 (12.3 ms)", "")
    ]
    assert finding.data["milliseconds"] == 12.3
    many = judge_name("server", [V4] * (MOST + 2), 0)
    assert many.seen.endswith(" and 2 more (0 ms)")


def test_addresses_without_a_way_are_a_problem_only_if_all_are() -> None:
    dead = Way(V6, "", "network is unreachable")
    seen = "no way to 2001:db8::1: network is unreachable"
    remedy = "ip route get 2001:db8::1"
    assert told(*judge_ways([dead])) == [("problem", seen, remedy)]
    assert told(*judge_ways([dead, Way(V4, "192.0.2.9")])) == [
        ("warning", seen, remedy),
        ("ok", "to 192.0.2.1 from 192.0.2.9", ""),
    ]
    assert judge_ways([]) == []
    assert len(judge_ways([dead] * (MOST + 1))) == MOST
    assert judge_ways([dead])[0].result is Result.PROBLEM
