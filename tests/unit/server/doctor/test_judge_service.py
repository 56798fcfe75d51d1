"""What is made of the files, the users, the daemon, the unit and the store."""

from typing import Any

import pytest
from unit.server.parties import CLIENT, CLIENT_PSK, NOW, SSH, user

from spassh.protocol.finding import Finding, Result
from spassh_server import config
from spassh_server.doctor.commands import Commands
from spassh_server.doctor.disk import Disk
from spassh_server.doctor.judge_service import (
    MOST_NAMED,
    judge_configuration,
    judge_daemon,
    judge_invites,
    judge_service,
    judge_store,
    judge_trial,
    judge_users,
)
from spassh_server.doctor.service import Service
from spassh_server.store import MAX_BYTES
from spassh_server.toml import ConfigError
from spassh_server.users import User, UserKey

PATH = "/etc/spassh/spasshd.toml"
SERVICE = Commands(PATH, has_systemd=True)
BY_HAND = Commands("/x/y z.toml", has_systemd=True)
GUARD = config.parse('protect = ["tcp/22"]', PATH)

START = "systemctl start spasshd.service"
RESTART = "systemctl restart spasshd.service"

Told = tuple[str, str, str]
"""The result, the beginning of what was seen, and the remedy."""


def told(findings: list[Finding], check: str) -> list[tuple[str, str, str]]:
    assert {finding.check for finding in findings} <= {check}
    return [(str(one.result), one.seen, one.remedy) for one in findings]


def test_what_remedies_consist_of_goes_by_whose_configuration_it_is() -> None:
    assert (SERVICE.start, SERVICE.restart) == (START, RESTART)
    assert SERVICE.spasshd("check") == "spasshd check"
    assert BY_HAND.start == "spasshd run --config '/x/y z.toml'"
    assert BY_HAND.restart == (
        "spasshd stop --config '/x/y z.toml'; spasshd run --config '/x/y z.toml'"
    )
    assert Commands(PATH, has_systemd=False).start == "spasshd run"


@pytest.mark.parametrize(
    ("text", "result", "seen", "remedy"),
    [
        ('protect = ["tcp/22"]', "ok", "protects tcp/22, and knocks come to", ""),
        (
            "",
            "warning",
            "no port is protected",
            "spasshd protect tcp/22; or with proof, from a client: spassh lock",
        ),
        (
            'manage = "accept"',
            "unknown",
            "the drop is left to another firewall",
            "without a grant, from another host: nc -vz -w 5 ADDRESS 22",
        ),
        (
            '[[forward]]\nport = "tcp/2222"\nto = "10.0.0.2"',
            "ok",
            "protects tcp/2222, and",
            "",
        ),
    ],
)
def test_the_configuration_is_told(
    text: str, result: str, seen: str, remedy: str
) -> None:
    (finding,) = judge_configuration(config.parse(text, PATH), [], SERVICE)
    assert (str(finding.result), finding.remedy) == (result, remedy)
    assert finding.seen.startswith(f"{PATH}: {seen}")
    assert finding.data["port"] == 62201


def test_what_is_wrong_with_the_configuration_is_told_alone() -> None:
    errors = [ConfigError(PATH, 3, "user", "no account 'x'", "make it")] * 2
    found = told(judge_configuration(GUARD, errors, SERVICE), "configuration")
    assert found == [("problem", f"{PATH}:3: user: no account 'x'", "make it")] * 2


def test_ports_on_trial_are_told_with_what_makes_them_last() -> None:
    finding = judge_trial([SSH], 87, SERVICE)
    assert told([finding], "configuration") == [
        (
            "warning",
            "tcp/22 on trial: open again in 87 s, if nobody confirms it",
            "in a login that was made since: spasshd confirm",
        )
    ]


EXPIRED = UserKey(CLIENT, CLIENT_PSK, NOW)


@pytest.mark.parametrize(
    ("users", "result", "seen", "remedy"),
    [
        ([], "problem", "nobody is let in: there are none", "spasshd user add NAME"),
        ([user()], "ok", "1 can be let in: ada", ""),
        (
            [user(f"u{number}") for number in range(MOST_NAMED + 2)],
            "ok",
            "7 can be let in: u0, u1, u2, u3, u4 and 2 more",
            "",
        ),
        *(
            (
                [user(**why)],
                "problem",
                "nobody is let in: none of them is allowed in now",
                "spasshd user list",
            )
            for why in (
                {"expires": NOW},
                {"not_before": NOW + 1},
                {"keys": (EXPIRED,)},
            )
        ),
        (
            [user(), user("bob", expires=NOW)],
            "warning",
            "not allowed in now: bob",
            "see 'not_before' and 'expires' of the user and the keys",
        ),
        ([user(expires=NOW + 1, not_before=NOW)], "ok", "1 can be let in: ada", ""),
        (
            [user(keys=(EXPIRED, EXPIRED._replace(expires=NOW + 1)))],
            "ok",
            "1 can be let in: ada",
            "",
        ),
    ],
)
def test_who_can_be_let_in_is_told(
    users: list[User], result: str, seen: str, remedy: str
) -> None:
    found = judge_users(GUARD, users, [], NOW, SERVICE)
    assert told(found, "users") == [(result, seen, remedy)]


def test_without_a_protected_port_nobody_misses_users() -> None:
    (finding,) = judge_users(config.parse("", PATH), [], [], NOW, BY_HAND)
    assert finding.result is Result.WARNING
    assert finding.remedy == "spasshd user add NAME --config '/x/y z.toml'"


def test_broken_files_of_users_are_told_up_to_a_number() -> None:
    broken = [ConfigError("/u/a.toml", 0, "", "not UTF-8", "save it")] * 7
    found = told(judge_users(GUARD, [user()], broken, NOW, SERVICE), "users")
    assert found == [
        *[("problem", "/u/a.toml: not UTF-8", "save it")] * MOST_NAMED,
        ("problem", "2 more users' files are broken", "spasshd check"),
        ("ok", "1 can be let in: ada", ""),
    ]


def test_keys_that_have_travelled_are_told() -> None:
    assert judge_invites([]) == []
    assert told(judge_invites(["ada", "bob"]), "users") == [
        (
            "warning",
            "with the key of an invite, which others may have seen: ada, bob",
            "on the user's computer: spassh enroll",
        )
    ]


STATE: dict[str, Any] = {"ready": True, "pid": 7, "users": 1, "capture_drops": 0}


@pytest.mark.parametrize(
    ("state", "strange", "expected"),
    [
        (STATE, "", [("ok", "it runs, pid 7, and is ready", "")]),
        (
            None,
            "",
            [("problem", "spasshd is not running, so nobody is let in", START)],
        ),
        (
            None,
            "the answer makes no sense",
            [
                (
                    "problem",
                    (
                        "a daemon runs, and does not answer as one: the answer makes no"
                        " sense"
                    ),
                    RESTART,
                )
            ],
        ),
        (
            STATE | {"ready": False},
            "",
            [
                (
                    "warning",
                    "it is starting: the granter has not answered yet",
                    f"if it goes on, see why in the log, and then: {RESTART}",
                )
            ],
        ),
        (
            STATE | {"users": 2, "capture_drops": 9},
            "",
            [
                (
                    "warning",
                    "the daemon knows 2 users, and the files have 1",
                    "spasshd reload",
                ),
                (
                    "warning",
                    (
                        "9 packets came too fast for it: among so many to udp/62201, a"
                        " knock may be lost"
                    ),
                    "see who floods: tcpdump -n -c 20 udp port 62201",
                ),
            ],
        ),
    ],
)
def test_the_daemon_is_told(
    state: dict[str, Any] | None, strange: str, expected: list[Told]
) -> None:
    found = judge_daemon(state, strange, 1, 62201, SERVICE)
    assert told(found, "daemon") == expected


ENABLE = "systemctl enable spasshd.service"


@pytest.mark.parametrize(
    ("service", "result", "seen", "remedy"),
    [
        (Service("loaded", "enabled", "active"), "ok", "spasshd.service is enab", ""),
        (Service("loaded", "disabled"), "problem", "spasshd.service is dis", ENABLE),
        (
            Service("masked", "masked"),
            "problem",
            "spasshd.service is masked: after the next boot",
            f"systemctl unmask spasshd.service, then: {ENABLE}",
        ),
        (
            Service("not-found"),
            "problem",
            "there is no spasshd.service: after the next boot nothing is shut",
            f"install the spasshd.service of spassh, then: {ENABLE}",
        ),
        (
            Service(problem="systemctl: exit status 1: no"),
            "unknown",
            "systemctl: exit status 1: no",
            "systemctl status spasshd.service",
        ),
    ],
)
def test_a_daemon_that_is_not_started_at_boot_is_a_problem(
    service: Service, result: str, seen: str, remedy: str
) -> None:
    finding = judge_service(GUARD, service, SERVICE)
    assert (str(finding.result), finding.remedy) == (result, remedy)
    assert finding.seen.startswith(seen)


def test_whose_service_it_is_may_not_be_known() -> None:
    loaded = Service("loaded", "enabled", "active")
    for commands, service, what in (
        (Commands(PATH, has_systemd=False), Service(), "systemd is not here"),
        (BY_HAND, loaded, "spasshd.service has another file"),
    ):
        finding = judge_service(GUARD, service, commands)
        assert finding.result is Result.UNKNOWN
        assert finding.seen.endswith(what)
        assert finding.remedy == f"see that this is run: {commands.start}"


DISK = Disk(uid=8, gid=9, mode=0o700, free=MAX_BYTES, files=1)


@pytest.mark.parametrize(
    ("changes", "result", "seen", "remedy"),
    [
        ({}, "ok", "the listener's own, and ", ""),
        ({"files": None}, "ok", "the listener's own, and ", ""),
        ({"is_missing": True}, "unknown", "not there yet", START),
        ({"problem": "Input/output error"}, "problem", "Input/output", "ls -ld '/s t'"),
        ({"is_directory": False}, "problem", "not a directory", "ls -ld '/s t'"),
        ({"uid": 7}, "problem", "belongs to 7:9, and not to", "chown -R 8:9 '/s t'"),
        ({"gid": 7}, "problem", "belongs to 8:7, and not to", "chown -R 8:9 '/s t'"),
        ({"mode": 0o755}, "problem", "has the mode 755", "chmod 700 '/s t'"),
        (
            {"read_only": True, "free": 0},
            "problem",
            "the disk is read-only",
            "mount -o remount,rw \"$(findmnt -no TARGET -T '/s t')\"",
        ),
        ({"files": 0}, "problem", "the disk can hold no more", "df -i '/s t'"),
        (
            {"free": MAX_BYTES - 1},
            "problem",
            f"{MAX_BYTES - 1} bytes are free",
            "make room: df -h '/s t'",
        ),
    ],
)
def test_the_store_is_told(
    changes: dict[str, Any], result: str, seen: str, remedy: str
) -> None:
    disk = DISK._replace(**changes)
    (finding,) = judge_store("/s t", disk, (8, 9), "", SERVICE)
    assert (str(finding.result), finding.remedy) == (result, remedy)
    assert finding.seen.startswith(f"/s t: {seen}")


def test_everything_that_is_wrong_with_the_store_is_told() -> None:
    disk = DISK._replace(uid=0, gid=0, mode=0o755)
    found = judge_store("/s", disk, (8, 9), "replay store: disk full", SERVICE)
    assert [one.remedy.split(" ")[0] for one in found[:2]] == ["chown", "chmod"]
    assert found[2].seen.startswith("replay store: disk full: ")
    assert {one.result for one in found} == {Result.PROBLEM}
