import _socket
import errno
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from unit.client.parties import LOOPBACKS, NOW_MS, Gate, Home, open_knock

from spassh import source
from spassh.errors import ProfileError, SpasshError, UnreachableError, UsageError
from spassh.protocol.limits import COMMAND_DATAGRAM
from spassh.protocol.request import Request
from spassh.sockets import Socket
from spassh.usage import parse
from spassh.verbs.run import run

ROOT = Path(__file__).parents[3]

COMMAND = ["/usr/bin/systemctl", "restart", "ngînx", ""]


def make_profile(home: Home, gate: Gate) -> str:
    host = str(gate.address)
    home.profile(hosts=f'["{host}", "server.example"]', port=str(gate.knock_port))
    return host


def ask(host: str, command: list[str] = COMMAND) -> None:
    run(host, command, lambda: NOW_MS)


def addresses(
    monkeypatch: pytest.MonkeyPatch, *found: tuple[socket.AddressFamily, str, int]
) -> None:
    """Let every name have these addresses."""
    answer = [
        (family, socket.SOCK_STREAM, 6, "", (address, port))
        for family, address, port in found
    ]
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: answer)


def test_the_server_reads_the_command_from_one_datagram(home: Home, gate: Gate) -> None:
    ask(make_profile(home, gate))
    assert gate.collect() == 1
    assert len(gate.knocks[0]) == COMMAND_DATAGRAM
    assert open_knock(gate.knocks[0]).request == Request(NOW_MS, command=tuple(COMMAND))


def test_one_address_of_several_is_asked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gate() as first, Gate() as second:
        make_profile(home, first)
        addresses(
            monkeypatch,
            (socket.AF_INET, LOOPBACKS[socket.AF_INET], first.knock_port),
            (socket.AF_INET, LOOPBACKS[socket.AF_INET], second.knock_port),
        )
        ask("server.example")
        assert (first.collect(), second.collect()) == (1, 0)


def test_an_address_without_a_way_is_passed_over(
    home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Gate() as gate:
        make_profile(home, gate)
        # A link-local address without a zone leads nowhere.
        addresses(
            monkeypatch,
            (socket.AF_INET6, "fe80::1", 9),
            (socket.AF_INET, LOOPBACKS[socket.AF_INET], gate.knock_port),
        )
        ask("server.example")
        assert gate.collect() == 1
    assert "at 127.0.0.1, to run" in capfd.readouterr().err


def test_nothing_is_sent_again_after_an_answer_by_icmp(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gate() as second:
        make_profile(home, second)
        addresses(
            monkeypatch,
            # Nobody has this UDP port there, and the host says so.
            (socket.AF_INET, "127.0.0.2", second.knock_port),
            (socket.AF_INET, LOOPBACKS[socket.AF_INET], second.knock_port),
        )
        ask("server.example")
        assert second.collect() == 0


def test_a_host_without_a_way_is_told(
    home: Home, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_profile(home, gate)
    addresses(monkeypatch, (socket.AF_INET6, "fe80::1", 9))
    with pytest.raises(UnreachableError) as caught:
        ask("server.example")
    assert str(caught.value).startswith("cannot reach server.example: ")
    assert caught.value.hint.startswith("see that the network is up")


def test_the_user_is_told_that_no_answer_comes(
    home: Home, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    host = make_profile(home, gate)
    ask(host)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"spassh: asked {host}, at {host}, to run /usr/bin/systemctl",
        "spassh: no answer comes back: the server's log tells what became of it",
    ]


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        ([], "run takes a host, '--' and a command", "usage: spassh run HOST"),
        (["ls"], "not an absolute path: ls", "the server compares"),
        ([""], "not an absolute path: ", "the server compares"),
        (
            ["/bin/ls", "x" * 1046],
            "cannot send the command: command too long",
            "a command has at most 64 words, and about 1000 bytes in all",
        ),
        (
            ["/bin/ls"] * 65,
            "cannot send the command: too many arguments",
            "a command has at most 64 words",
        ),
        (
            ["/bin/ls", "\udcff"],
            "cannot send the command: argument encoding",
            "a command has at most 64 words",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_command_is_told_and_not_sent(
    home: Home, gate: Gate, command: list[str], message: str, hint: str
) -> None:
    host = make_profile(home, gate)
    with pytest.raises(UsageError) as caught:
        ask(host, command)
    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)
    assert gate.collect() == 0


def test_a_host_without_a_profile_is_told(home: Home) -> None:
    with pytest.raises(ProfileError) as caught:
        ask("stranger.example")
    assert str(caught.value) == f"{home.profiles}: no profile names 'stranger.example'"
    assert "'spassh enroll stranger.example'" in caught.value.hint
    assert "'spassh import --host stranger.example'" in caught.value.hint


def test_a_server_key_that_nobody_can_have_is_told(home: Home, gate: Gate) -> None:
    from spassh.protocol.keys import PUBLIC, encode_key

    host = str(gate.address)
    home.profile(hosts=f'["{host}"]', server=f'"{encode_key(PUBLIC, bytes(32))}"')
    with pytest.raises(ProfileError) as caught:
        ask(host)
    assert "'server': " in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--", "/bin/ls"], ["/bin/ls"]),
        (["--", "/bin/ls", "-l", "--help"], ["/bin/ls", "-l", "--help"]),
        (["--", "/bin/git", "log", "--", "x"], ["/bin/git", "log", "--", "x"]),
        (["--", "--"], ["--"]),
        (["--"], []),
        ([], []),
    ],
)
def test_what_comes_after_two_hyphens_is_the_command(
    words: list[str], command: list[str]
) -> None:
    options = parse(["run", "server", *words])
    assert (options.host, options.command) == ("server", command)


@pytest.mark.parametrize("words", [["run"], ["run", "-x", "h"], ["run", "--", "/x"]])
def test_a_wrong_command_line_is_told(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words)


def test_the_program_asks_and_says_so(home: Home, gate: Gate) -> None:
    host = make_profile(home, gate)
    done = subprocess.run(
        [sys.executable, "-m", "spassh", "run", host, "--", "/bin/ls", "-l"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "SPASSH_CONFIG_HOME": home.path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    assert "to run /bin/ls" in done.stderr
    assert select.select([gate.udp], [], [], 20)[0]
    assert gate.collect() == 1
    assert open_knock(gate.knocks[0]).request.command == ("/bin/ls", "-l")


def test_a_local_firewall_that_takes_nothing_is_an_address_without_a_way(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(Socket):
        __slots__ = ()

        def send(self, *_: object) -> int:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with Gate() as gate:
        host = make_profile(home, gate)
        monkeypatch.setattr(source, "Socket", Forbidden)
        with pytest.raises(SpasshError) as caught:
            ask(host)
    assert str(caught.value) == f"cannot reach {host}: operation not permitted"
