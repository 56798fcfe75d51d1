"""`spassh doctor` from end to end, with a server that is made up."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from unit.client.fake_ssh import FakeSsh
from unit.client.parties import KEYS, NOW_MS, PATIENCE, PROFILE, Gate, Home
from unit.client.test_fwknop_profile import OURS

from spassh.cli import main
from spassh.patterns import Wanted
from spassh.profile import find
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.fwknop.opening import open_packet
from spassh.proxy import Clocks
from spassh.ui import silent
from spassh.verbs.doctor import port, visit
from spassh.verbs.ssh import Target

Captured = pytest.CaptureFixture[str]

GRANT = {"user": "alice", "address": "127.0.0.1", "port": "tcp/22", "seconds_left": 14}
SERVER = [
    {"check": "order", "result": "ok", "seen": "\x1b[2Jfine", "remedy": "", "data": {}}
]


class Scene:
    """A client with a profile for a server that greets as sshd does."""

    def __init__(self, home: Home, ssh: FakeSsh, gate: Gate) -> None:
        self.ssh = ssh
        self.home = home
        self.gate = gate
        home.profile(
            hosts='["127.0.0.1"]', port=str(gate.knock_port), width='"address"'
        )
        ssh.settings(
            port=str(gate.port), proxycommand="sh -c 'spassh proxy %h %p'", user="root"
        )

    def answer(self, *, state: tuple[dict[str, Any], ...] = (GRANT,)) -> None:
        """Let the server say the time, what it finds, and what it saw of a knock."""
        self.ssh.answer(f"{NOW_MS // 1000}\n")
        self.ssh.answer(json.dumps({"result": "ok", "findings": SERVER}) + "\n")
        self.ssh.status(frames=1)
        self.ssh.status(*state, granted=1, frames=2)

    def doctor(self, target: Target = Target("server")) -> bool:  # noqa: B008 - immutable
        clocks = Clocks(time.monotonic, lambda: NOW_MS)
        return visit.run(target, clocks, silent, as_json=True)


@pytest.fixture
def scene(
    home: Home, fake_ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    # The port is open before the knock, as before it is guarded.
    monkeypatch.setattr(port, "GREETING", PATIENCE)
    with Gate() as gate:
        gate.open()
        done = threading.Event()

        def serve() -> None:
            gate.tcp.settimeout(PATIENCE)
            while not done.is_set():
                client, _ = gate.tcp.accept()
                # The last one hangs up at once.
                with client, suppress(OSError):
                    client.sendall(b"SSH-2.0-test\r\n")
                    while client.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Scene(home, fake_ssh, gate)
        finally:
            done.set()
            socket.create_connection(gate.address.sockaddr).close()
            thread.join()


def printed(capsys: Captured) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def found(answer: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [
        (one["result"], one["seen"])
        for one in answer["findings"]
        if one["check"] == check
    ]


def test_everything_is_asked_and_told_in_order(scene: Scene, capsys: Captured) -> None:
    scene.answer()
    assert scene.doctor(Target("server", "root"))
    answer = printed(capsys)
    assert [one["check"] for one in answer["findings"]] == [
        *("ssh_config", "profile", "files", "name", "route", "port", "family"),
        *("udp", "access", "login", "clock", "server"),
    ]
    assert answer["host"] == "server"
    assert answer["result"] == "warning"
    assert answer["server"] == SERVER
    assert found(answer, "clock")[0][0] == "ok"
    assert scene.ssh.commands == [
        "date -u +%s",
        "env LC_ALL=C spasshd doctor --json",
        "env LC_ALL=C spasshd status --json",
        "env LC_ALL=C spasshd status --json",
    ]
    assert scene.ssh.is_over()


def test_no_key_is_ever_told(scene: Scene, capsys: Captured) -> None:
    scene.answer()
    scene.doctor()
    told = capsys.readouterr().out
    for key in (PROFILE.server, PROFILE.psk, PROFILE.secret):
        assert key not in told
    assert not any(key.hex() in told for key in KEYS)


def test_people_get_lines_that_move_no_cursor(scene: Scene, capsys: Captured) -> None:
    scene.answer()
    clocks = Clocks(time.monotonic, lambda: NOW_MS)
    assert visit.run(Target("server"), clocks, silent, as_json=False)
    out = capsys.readouterr().out
    assert out.endswith("ok       server order: \\x1b[2Jfine\n")
    assert "\x1b" not in out


def test_a_problem_of_the_server_counts(scene: Scene, capsys: Captured) -> None:
    scene.ssh.answer(f"{NOW_MS // 1000}\n")
    broken = [SERVER[0] | {"result": "problem", "remedy": "mend it"}]
    scene.ssh.answer(json.dumps({"result": "problem", "findings": broken}))
    scene.ssh.status(frames=1)
    scene.ssh.status(GRANT, granted=1)
    assert not scene.doctor()
    assert printed(capsys)["result"] == "problem"


def test_without_ssh_the_rest_is_told(
    scene: Scene, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert not scene.doctor(Target("127.0.0.1", "", 9))
    answer = printed(capsys)
    assert found(answer, "ssh_config") == [("problem", "there is no ssh in PATH")]
    assert found(answer, "profile")[0][0] == "ok"
    assert found(answer, "login") == [("warning", "ssh cannot be asked")]
    assert answer["server"] is None


def test_a_configuration_that_ssh_does_not_take_is_told(
    scene: Scene, capsys: Captured
) -> None:
    scene.ssh.set(settings_status=255)
    assert not scene.doctor()
    ((result, seen),) = found(printed(capsys), "ssh_config")
    assert result == "problem"
    assert seen.startswith("ssh cannot say how it reaches server: ")


def test_a_login_that_fails_leaves_the_rest_unknown(
    scene: Scene, capsys: Captured
) -> None:
    scene.ssh.set(login_status=255, login_errors="Permission denied (publickey).\n")
    assert scene.doctor()
    answer = printed(capsys)
    assert [found(answer, check)[0][0] for check in ("udp", "login", "clock")] == [
        "unknown"
    ] * 3
    assert answer["server"] is None


def test_sudo_that_wants_a_password_is_not_given_one(
    scene: Scene, capsys: Captured
) -> None:
    scene.ssh.settings(user="ann")
    scene.ssh.answer(f"{NOW_MS // 1000}\n")
    scene.ssh.answer("", "sudo: a password is required\n", 1)
    assert scene.doctor()
    ((result, seen),) = found(printed(capsys), "server")
    assert result == "unknown"
    assert seen.endswith("sudo there wants a password, and nobody is asked for one")
    assert scene.ssh.passwords == []


@pytest.mark.parametrize(
    ("proxy", "hosts", "result"),
    [
        ("spassh proxy %h %p '%n'", '["server"]', "ok"),
        ("spassh proxy %h %p", '["server"]', "problem"),
        ("spassh proxy %h %p '%n' '%r'", '["root@server"]', "ok"),
        ("spassh proxy %h %p '%n'", '["root@server"]', "problem"),
    ],
)
def test_the_profile_is_that_which_spassh_finds_at_a_login(
    scene: Scene, capsys: Captured, proxy: str, hosts: str, result: str
) -> None:
    scene.ssh.settings(proxycommand=proxy)
    scene.ssh.set(login_status=255)
    scene.home.profile(hosts=hosts, port="9", width='"address"')
    scene.doctor()
    ((told, seen),) = found(printed(capsys), "profile")
    assert told == result
    if result == "problem":
        assert "is for it by its Host or its login" in seen


def test_the_program_tells_by_its_status_whether_there_is_a_problem(
    scene: Scene, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["spassh", "doctor", "--json", "server"])
    scene.ssh.set(login_status=255)
    assert main() == 0
    capsys.readouterr()
    for profile in scene.home.profiles.iterdir():
        profile.unlink()
    assert main() == 1
    ((result, seen),) = found(printed(capsys), "profile")
    assert result == "problem"
    assert seen == "no profile names 127.0.0.1, so spassh does not knock"


def test_a_profile_for_an_fwknopd_is_as_good_as_any(
    scene: Scene, capsys: Captured
) -> None:
    port = str(scene.gate.knock_port)
    scene.home.profile(**(OURS | {"hosts": '["127.0.0.1"]', "port": port}))
    scene.ssh.answer(f"{NOW_MS // 1000}\n")
    scene.ssh.answer("", "env: 'spasshd': No such file or directory", 127)
    scene.doctor(Target("server", "root"))
    answer = printed(capsys)
    assert found(answer, "keys") == []
    assert found(answer, "profile")[0][0] == "ok"
    ((result, seen),) = found(answer, "files")
    assert result == "ok"
    assert "config/key" not in seen
    assert not [one for one in scene.ssh.commands if "status" in one]


def test_an_fwknopd_is_knocked_at_as_fwknop_does(home: Home, fake_ssh: FakeSsh) -> None:
    with Gate() as gate:
        home.profile(
            **(OURS | {"hosts": '["127.0.0.1"]', "port": str(gate.knock_port)})
        )
        fake_ssh.settings(port=str(gate.port), proxycommand="spassh proxy %h %p")
        looking = visit.Visit(
            Target("server"), Clocks(time.monotonic, lambda: NOW_MS), silent
        )
        profile = find(home.path, Wanted("127.0.0.1"))
        assert profile is not None
        knocker = looking._knocker(looking._load(profile), narrow=True)
        knocker.knock(gate.address, narrow=True)
        assert gate.collect() == 1
        keys = Keys(bytes(range(32)), b"an hmac key")
        assert open_packet(gate.knocks[0], [keys]).message.user == "alice"
