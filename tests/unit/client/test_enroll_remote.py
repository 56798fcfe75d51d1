"""spasshd over ssh: who runs it, what is taken from its answers, and what is said."""

import json
from collections.abc import Iterator

import pytest
from unit.client.fake_ssh import FakeSsh
from unit.client.parties import CLIENT, invite

from spassh.errors import SpasshError
from spassh.protocol.finding import Finding, Result
from spassh.protocol.invite import decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh.ui import silent
from spassh.verbs.remote import Grant, Spasshd, Status
from spassh.verbs.ssh import Ssh, Target

KEY = encode_key(PUBLIC, CLIENT)
HOST = "server.example"
INVITE = invite(secret=b"")

WANTS = "sudo: a password is required\n"
WRONG = (
    "password:Sorry, try again.\npassword:\n"
    "sudo: no password was provided\nsudo: 1 incorrect password attempt\n"
)


def spasshd(login: str = "root", *passwords: str | None) -> Spasshd:
    given: Iterator[str | None] = iter(passwords)
    ssh = Ssh(Target(HOST), lambda: 0.0, silent)
    return Spasshd(ssh, HOST, login, lambda _: next(given))


def add(login: str = "root", *passwords: str | None) -> object:
    return spasshd(login, *passwords).add("alice", KEY, HOST)


def test_root_runs_it_and_gets_the_invite(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer(INVITE + "\n", 'spasshd: note text="whatever"\n')
    assert add() == decode_invite(INVITE)
    assert fake_ssh.commands == [
        f"env LC_ALL=C spasshd user add alice --key {KEY} --address {HOST}"
    ]


def test_a_login_takes_sudo_which_is_not_asked_for_a_password(
    fake_ssh: FakeSsh,
) -> None:
    fake_ssh.answer(INVITE + "\n")
    add("ann")
    assert fake_ssh.commands == [
        f"env LC_ALL=C sudo -n spasshd user add alice --key {KEY} --address {HOST}"
    ]


def test_a_password_is_asked_for_when_it_is_wanted_and_kept(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("", WANTS, 1)
    fake_ssh.answer("", WRONG, 1)
    fake_ssh.answer(INVITE + "\n", "password:")
    fake_ssh.status(granted=1)
    asked = spasshd("ann", "wrong", "right")
    asked.add("alice", KEY, HOST)
    asked.status()
    assert fake_ssh.passwords == ["wrong\n", "right\n", "right\n"]
    assert fake_ssh.commands[-1] == (
        "env LC_ALL=C sudo -S -p password: spasshd status --json"
    )


def test_a_password_is_asked_for_three_times(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("", WANTS, 1)
    for _ in range(3):
        fake_ssh.answer("", WRONG, 1)
    with pytest.raises(SpasshError) as caught:
        add("ann", "a", "b", "c")
    assert str(caught.value) == (
        f"sudo on {HOST} does not run spasshd: sudo: 1 incorrect password attempt"
    )


@pytest.mark.parametrize(
    "output",
    [
        f"Welcome!\n{INVITE}\n",
        f"\x1b[1mHello\x1b[0m\r\n\r\n  {INVITE}\r\nspassh-invite-1-AAAA\n",
        f"{INVITE}\n{INVITE}",
    ],
)
def test_an_invite_is_found_among_what_a_shell_says(
    fake_ssh: FakeSsh, output: str
) -> None:
    fake_ssh.answer(output)
    assert add() == decode_invite(INVITE)


@pytest.mark.parametrize(
    "output",
    ["", "hello\n", INVITE[:-1], f"x {INVITE}\n", f"{INVITE}\n{invite(user='bob')}\n"],
)
def test_no_invite_or_two_of_them_is_an_error_that_shows_none(
    fake_ssh: FakeSsh, output: str
) -> None:
    fake_ssh.answer(output)
    with pytest.raises(SpasshError) as caught:
        add()
    assert str(caught.value) == f"no invite came from {HOST}"
    assert INVITE[30:50] not in caught.value.hint


@pytest.mark.parametrize(
    ("login", "errors", "status", "message", "hint"),
    [
        (
            "root",
            "bash: oops\nenv: 'spasshd': No such file or directory\n",
            127,
            f"{HOST} has no spasshd",
            "install it there",
        ),
        (
            "root",
            "env: can't execute 'spasshd': No such file or directory\n",
            127,
            f"{HOST} has no spasshd",
            "install it there",
        ),
        (
            "ann",
            "sudo: spasshd: command not found\n",
            1,
            f"{HOST} has no spasshd",
            "install it there",
        ),
        (
            "ann",
            "env: 'sudo': No such file or directory\n",
            127,
            f"{HOST} has no sudo",
            f"log in as root: root@{HOST}",
        ),
        (
            "ann",
            "ann is not in the sudoers file.\n",
            1,
            f"sudo on {HOST} does not run spasshd: ann is not in the sudoers file.",
            "let ann use it",
        ),
        (
            "ann",
            "sudo: oh\nspasshd: error: /etc/x: no such file\nspasshd: hint: do y\n",
            1,
            f"spasshd on {HOST}: /etc/x: no such file",
            "there: do y",
        ),
        (
            "root",
            "spasshd: error: a\n",
            1,
            f"spasshd on {HOST}: a",
            "see there: spasshd check",
        ),
        (
            "root",
            "usage: x\nspasshd: unknown\n",
            2,
            f"spasshd on {HOST}: spasshd: unknown",
            "see there: spasshd check",
        ),
        ("root", "", 7, f"spasshd on {HOST}: exit status 7", "see there"),
        (
            "root",
            "spasshd: error: user 'alice' exists already: /x\nspasshd: hint: y\n",
            1,
            f"{HOST} has a user alice with another key",
            "take another name with --name",
        ),
        (
            "root",
            "spasshd: error: the key belongs to user 'alice' already\n",
            1,
            f"spasshd on {HOST} does not print the invite of user alice again",
            "it is too old for that",
        ),
        (
            "root",
            "spasshd: error: the key belongs to user 'bob' already\n",
            1,
            f"{HOST} knows this key as user bob",
            "enroll with --name bob",
        ),
    ],
)
def test_what_went_wrong_there_is_told_here(
    fake_ssh: FakeSsh, login: str, errors: str, status: int, message: str, hint: str
) -> None:
    fake_ssh.answer("", errors, status)
    with pytest.raises(SpasshError) as caught:
        add(login)
    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)


def test_a_key_is_added_beside_another(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer(INVITE + "\n")
    old = encode_key(PUBLIC, bytes(32))
    assert spasshd().add("alice", KEY, HOST, old) == decode_invite(INVITE)
    plain = f"env LC_ALL=C spasshd user add alice --key {KEY} --address {HOST}"
    assert fake_ssh.commands == [f"{plain} --beside {old}"]


def test_a_key_beside_one_that_is_gone_is_told(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("", "spasshd: error: user 'alice' has no such key\n", 1)
    with pytest.raises(SpasshError) as caught:
        spasshd().add("alice", KEY, HOST, KEY)
    assert str(caught.value) == f"{HOST} does not know the key of user alice any more"
    assert caught.value.hint.startswith("'spassh forget' the profile")


def test_a_key_of_somebody_else_is_told_with_the_way_on(fake_ssh: FakeSsh) -> None:
    """An invite for alice, taken in by who has enrolled as bob before."""
    said = "spasshd: error: the key belongs to user 'bob' already\n"
    for beside, hint in (
        ("", "enroll with --name bob"),
        (KEY, "'spassh forget' the profile, and then enroll with --name bob"),
    ):
        fake_ssh.answer("", said, 1)
        with pytest.raises(SpasshError) as caught:
            spasshd().add("alice", KEY, HOST, beside)
        assert caught.value.hint == hint


def test_a_key_is_taken_away_once(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer()
    fake_ssh.answer("", "spasshd: error: user 'alice' has no such key\n", 1)
    for _ in range(2):
        spasshd().remove_key("alice", KEY)
    command = f"env LC_ALL=C spasshd user remove alice --key {KEY}"
    assert fake_ssh.commands == [command] * 2


@pytest.mark.parametrize(
    "errors",
    ["spasshd: error: it is the only key of user 'alice'", "spasshd: error: x", "oops"],
)
def test_a_key_that_stays_is_told(fake_ssh: FakeSsh, errors: str) -> None:
    fake_ssh.answer("", f"{errors}\n", 1)
    with pytest.raises(SpasshError, match=f"^spasshd on {HOST}: "):
        spasshd().remove_key("alice", KEY)


def steps(**passed: object) -> str:
    found = [{"name": name, "passed": one, "text": ""} for name, one in passed.items()]
    return json.dumps({"packet": 1, "steps": found})


@pytest.mark.parametrize(
    ("output", "accepted"),
    [
        (steps(gate=True, handshake=True, request=True, replay=False), True),
        (f"[1]\n{{}}\n7\n{steps(handshake=True, replay=False)}\nbye\n", True),
        (steps(gate=True, handshake=True, replay=True, time=True, grant=True), False),
        (steps(gate=True, handshake=True, replay=True, time=False), False),
        (steps(gate=True, handshake=False), False),
        (steps(gate=False), False),
        (steps(handshake=False, replay=False), False),
        (steps(replay=False), False),
    ],
)
def test_what_was_accepted_before_is_what_it_refuses_as_replayed(
    fake_ssh: FakeSsh, output: str, accepted: bool
) -> None:
    fake_ssh.answer(output, "", 1)
    assert spasshd().has_accepted(b"\x00\xab") is accepted
    assert fake_ssh.commands == [
        "env LC_ALL=C spasshd explain 00ab --source 127.0.0.1 --json"
    ]


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        '{"steps": 1}',
        '{"steps": [1]}',
        steps(handshake=1, replay=0),
        '{"steps": [{"name": [], "passed": true}]}',
        "[" * 60000,
    ],
)
def test_an_explanation_that_makes_no_sense_is_told(
    fake_ssh: FakeSsh, output: str
) -> None:
    fake_ssh.answer(output, "spasshd: error: no\n", 1)
    with pytest.raises(SpasshError, match=r"^spasshd on server.example: no$"):
        spasshd().has_accepted(b"\0")


GRANT = {"user": "alice", "address": "192.0.2.2", "port": "tcp/22", "seconds_left": 9}


def test_the_status_is_found_among_what_a_shell_says(fake_ssh: FakeSsh) -> None:
    fake_ssh.status(GRANT, granted=2, frames=9)
    answer = fake_ssh.scene["answers"][0]
    fake_ssh.set(answers=[answer | {"output": f"[1]\n{{}}\n7\n{answer['output']}"}])
    grant = Grant("alice", "192.0.2.2", "tcp/22", 9)
    assert spasshd().status() == Status(True, {"granted": 2, "frames": 9}, (grant,))


def test_a_daemon_that_does_not_run_has_a_status_as_well(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer('{"running": false, "grants": []}\n', "", 3)
    assert spasshd().status() == Status(False, {}, ())


@pytest.mark.parametrize(
    "output",
    [
        "",
        "{}",
        '{"running": 1, "counters": {}, "grants": []}',
        '{"running": true, "grants": []}',
        '{"running": true, "counters": [], "grants": []}',
        '{"running": true, "counters": {"granted": "1"}, "grants": []}',
        '{"running": true, "counters": {}, "grants": [7]}',
        '{"running": true, "counters": {}, "grants": [{"user": "a"}]}',
        *(
            json.dumps({"running": True, "counters": {}, "grants": [GRANT | wrong]})
            for wrong in ({"user": 1}, {"address": None}, {"seconds_left": "9"})
        ),
        "[" * 60000,
    ],
)
def test_a_status_that_makes_no_sense_is_told(fake_ssh: FakeSsh, output: str) -> None:
    fake_ssh.answer(output)
    with pytest.raises(SpasshError, match="makes no sense"):
        spasshd().status()


def test_a_status_that_is_refused_is_told(fake_ssh: FakeSsh) -> None:
    fake_ssh.answer("", "spasshd: error: no\n", 1)
    with pytest.raises(SpasshError, match=r"^spasshd on server.example: no$"):
        spasshd().status()


FOUND = {"check": "clock", "result": "ok", "seen": "x", "remedy": "", "data": {}}


def test_findings_are_found_among_what_a_shell_says(fake_ssh: FakeSsh) -> None:
    answer = json.dumps({"result": "ok", "findings": [FOUND]})
    fake_ssh.answer(f"hello\n[1]\n{{}}\n{answer}\n", "", 1)
    assert spasshd("ann").findings() == [Finding("clock", Result.OK, "x", "", {})]
    assert fake_ssh.commands == ["env LC_ALL=C sudo -n spasshd doctor --json"]


@pytest.mark.parametrize(
    "output", ["", "[]", "{}", '{"findings": 7}', '{"findings": [{}]}', "[" * 60000]
)
def test_findings_that_make_no_sense_are_an_error(
    fake_ssh: FakeSsh, output: str
) -> None:
    fake_ssh.answer(output, "spasshd: error: no\n", 1)
    with pytest.raises(SpasshError, match=r"^spasshd on server.example: no$"):
        spasshd().findings()


def test_a_server_that_has_no_doctor_says_so(fake_ssh: FakeSsh) -> None:
    said = "usage: spasshd [-h]\nspasshd: error: argument VERB: invalid choice: 'do'\n"
    fake_ssh.answer("", said, 2)
    with pytest.raises(SpasshError, match="argument VERB: invalid choice"):
        spasshd().findings()
