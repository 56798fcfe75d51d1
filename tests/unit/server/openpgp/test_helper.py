"""The helper: one process for each message, with limits, and silence afterwards."""

import errno
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from lab.network import wait_for
from lab.openpgp import Party
from psutil import Process
from unit.server.kernel import needs_landlock

from spassh_server.openpgp import helper
from spassh_server.openpgp.gpg import Gpg
from spassh_server.openpgp.helper import Helper
from spassh_server.openpgp.keeper import keep
from spassh_server.openpgp.message import (
    ANSWER_SIZE,
    LOST,
    Answer,
    HelperMessageError,
    Question,
    Verdict,
    decode_answer,
    encode_question,
)

ROOT = Path(__file__).parents[4]
BOOT = ROOT / "server" / "spassh_server" / "privsep" / "boot.py"
RECIPIENT = "0" * 40


class FakeGpg:
    """A gpg that does what the test says, in the worker."""

    def __init__(self, does: Callable[[int, bytes], Answer]) -> None:
        self._does = does

    def open(self, number: int, message: bytes, recipient: str) -> Answer:
        assert recipient == RECIPIENT
        return self._does(number, message)


class Running:
    """A helper in a process of its own, whose listener is the test."""

    def __init__(self, does: Callable[[int, bytes], Answer]) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(30)
        self._said, say = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            self.socket.close()
            self._run(Helper(theirs, cast(Gpg, FakeGpg(does)), RECIPIENT), say)
        theirs.close()
        os.close(say)

    def _run(self, made: Helper, say: int) -> None:
        try:
            made.serve()
            os.write(say, b"left")
        except HelperMessageError as error:
            os.write(say, str(error).encode())
        finally:
            os._exit(0)

    def end(self) -> str:
        """Wait until it has ended; return why."""
        said = os.read(self._said, 100)
        os.waitpid(self._pid, 0)
        self._pid = 0
        return said.decode()

    def ask(self, number: int, message: bytes = b"m") -> None:
        self.socket.send(encode_question(Question(number, message)))

    def answer(self) -> Answer:
        return decode_answer(self.socket.recv(ANSWER_SIZE + 1))

    def close(self) -> None:
        self.socket.close()
        if self._pid:
            self.end()
        os.close(self._said)


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[int, bytes], Answer]], Running]]:
    running: list[Running] = []

    def make(does: Callable[[int, bytes], Answer]) -> Running:
        running.append(Running(does))
        return running[-1]

    yield make
    for one in running:
        one.close()


Start = Callable[[Callable[[int, bytes], Answer]], Running]


def good(number: int, message: bytes) -> Answer:
    return Answer(number, Verdict.GOOD, 1, "AB" * 20, message)


def test_a_message_gets_its_answer(start: Start) -> None:
    running = start(good)
    for number in (1, 2):
        running.ask(number, b"text")
        assert running.answer() == Answer(number, Verdict.GOOD, 1, "AB" * 20, b"text")


def test_each_message_has_a_process_of_its_own_with_limits(start: Start) -> None:
    def limits(number: int, _: bytes) -> Answer:
        found = [
            resource.getrlimit(one)
            for one in (
                resource.RLIMIT_CPU,
                resource.RLIMIT_AS,
                resource.RLIMIT_FSIZE,
                resource.RLIMIT_NOFILE,
            )
        ]
        text = f"{os.getpid()} {os.getsid(0)} {found}"
        return Answer(number, Verdict.GOOD, 1, "AB" * 20, text.encode())

    running = start(limits)
    seen = []
    for number in (1, 2):
        running.ask(number)
        pid, session, found = running.answer().text.decode().split(" ", 2)
        assert pid == session != str(os.getpid())
        assert found == str([(one, one) for one in (2, 1 << 30, 1 << 20, 64)])
        seen.append(pid)
    assert seen[0] != seen[1]


def test_one_that_takes_too_long_is_ended_with_all_it_started(
    start: Start, tmp_path: Path
) -> None:
    # Not in less than the three seconds that there are: it has to begin.
    note = tmp_path / "pid"

    def hang(number: int, message: bytes) -> Answer:
        if message == b"fast":
            return good(number, message)
        child = subprocess.Popen(["sleep", "60"])
        (tmp_path / "new").write_text(str(child.pid))
        os.rename(tmp_path / "new", note)
        child.wait()
        raise AssertionError

    running = start(hang)
    running.ask(1)
    # The other one does not wait behind it.
    running.ask(2, b"fast")
    assert running.answer().number == 2
    assert running.answer() == Answer(1, Verdict.TIMEOUT)
    assert not is_running(int(note.read_text()))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


def test_no_more_than_two_are_looked_at_at_once(start: Start, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def wait(number: int, message: bytes) -> Answer:
        (tmp_path / f"begun{number}").touch()
        wait_for(gate.exists, "the gate to open")
        return good(number, message)

    running = start(wait)
    for number in range(1, 5):
        running.ask(number)
    poll = select.poll()
    poll.register(running.socket, select.POLLIN)
    while len(os.listdir(tmp_path)) < helper.AT_ONCE:
        assert not poll.poll(10)
    assert sorted(os.listdir(tmp_path)) == ["begun1", "begun2"]
    gate.touch()
    assert {running.answer().number for _ in range(4)} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    "fault",
    [
        lambda *_: 1 / 0,
        lambda *_: os._exit(3),
        lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
        lambda number, message: good(number + 1, message),
        lambda *_: bytearray(2 << 30),
    ],
    ids=["exception", "exit", "crash", "another's answer", "memory"],
)
def test_a_worker_that_fails_is_one_refusal(start: Start, fault: Any) -> None:
    running = start(fault)
    running.ask(1)
    assert running.answer() == Answer(1, Verdict.FAILED)
    running.ask(2)
    assert running.answer().number == 2


def test_a_host_without_room_for_a_worker_is_one_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> int:
        raise BlockingIOError

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        monkeypatch.setattr(os, "fork", fail)
        made = Helper(theirs, cast(Gpg, FakeGpg(good)), RECIPIENT)
        before = os.listdir("/proc/self/fd")
        for number in (1, 2):
            ours.send(encode_question(Question(number, b"m")))
            assert made._turn()
            answer = decode_answer(ours.recv(ANSWER_SIZE))
            assert answer == Answer(number, Verdict.FAILED)
        assert os.listdir("/proc/self/fd") == before


def test_a_worker_has_no_descriptor_of_ours(start: Start) -> None:
    def descriptors(number: int, _: bytes) -> Answer:
        found = {name for name in os.listdir("/proc/self/fd") if int(name) > 2}
        # Its answer's, and that of the directory which is listed.
        return Answer(number, Verdict.GOOD, 1, "AB" * 20, bytes([len(found)]))

    running = start(descriptors)
    running.ask(1)
    assert running.answer().text == bytes([2])


def test_a_listener_that_breaks_the_rules_ends_it(start: Start) -> None:
    running = start(good)
    running.socket.send(b"x")
    assert running.end() == "question size"


def test_it_leaves_with_the_listener_and_leaves_nothing_behind(
    start: Start, tmp_path: Path
) -> None:
    def hang(number: int, _: bytes) -> Answer:
        (tmp_path / "new").write_text(str(os.getpid()))
        os.rename(tmp_path / "new", tmp_path / f"pid{number}")
        signal.pause()
        raise AssertionError

    running = start(hang)
    for number in (1, 2):
        running.ask(number)
    wait_for(lambda: len(list(tmp_path.glob("pid*"))) == 2, "two workers")
    running.socket.close()
    assert running.end() == "left"
    for note in tmp_path.glob("pid*"):
        assert not is_running(int(note.read_text()))


# The program


def launch(*words: str, fd: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(BOOT), "--openpgp", *words, "stderr", str(fd)],
        pass_fds=[fd],
        stderr=subprocess.PIPE,
        text=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )


def test_the_program_opens_a_message_and_ends_its_agent(curve: Party) -> None:
    curve.server.stop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = launch("/usr/bin/gpg", curve.server.path, fd=theirs.fileno())
    with ours:
        ours.settimeout(30)
        ours.send(encode_question(Question(1, curve.seal(b"text"))))
        answer = decode_answer(ours.recv(ANSWER_SIZE))
        assert (answer.verdict, answer.text) == (Verdict.GOOD, b"text")
        assert answer.fingerprint == curve.signer
        assert os.path.exists(f"{curve.server.path}/S.gpg-agent")
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
    assert not os.path.exists(f"{curve.server.path}/S.gpg-agent")


@needs_landlock
def test_a_gpg_that_was_taken_over_writes_nothing_outside_of_its_home(
    curve: Party, tmp_path: Path
) -> None:
    """It has the listener's account, to which the replay store belongs."""
    gpg = tmp_path / "gpg"
    gpg.write_text(
        f"""#!/bin/sh
case "$*" in *--decrypt*) true >{tmp_path}/store; true >{curve.server.path}/mine ;; esac
exec /usr/bin/gpg "$@"
"""
    )
    gpg.chmod(0o700)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = launch(str(gpg), curve.server.path, fd=theirs.fileno())
    with ours:
        ours.settimeout(30)
        ours.send(encode_question(Question(1, curve.seal(b"text"))))
        answer = decode_answer(ours.recv(ANSWER_SIZE))
    process.communicate(timeout=30)
    assert os.path.exists(f"{curve.server.path}/mine")
    os.unlink(f"{curve.server.path}/mine")
    assert not (tmp_path / "store").exists()
    assert answer.verdict is Verdict.GOOD


@needs_landlock
def test_an_agent_that_was_reconfigured_writes_nothing_outside_of_its_home(
    curve: Party, tmp_path: Path
) -> None:
    """It runs any program as its pinentry, and takes its options from its home."""
    curve.server.stop()
    home = curve.server.path
    pinentry = tmp_path / "pinentry"
    pinentry.write_text(f"#!/bin/sh\ntrue >{home}/run; true >{tmp_path}/store\n")
    pinentry.chmod(0o700)
    gpg = tmp_path / "gpg"
    gpg.write_text(
        f"""#!/bin/sh
case "$*" in *--decrypt*)
echo pinentry-program {pinentry} >{home}/gpg-agent.conf
gpg-connect-agent --homedir {home} reloadagent "get_passphrase a b c d" /bye
rm {home}/gpg-agent.conf ;;
esac >/dev/null 2>&1
exec /usr/bin/gpg "$@"
"""
    )
    gpg.chmod(0o700)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = launch(str(gpg), home, fd=theirs.fileno())
    with ours:
        ours.settimeout(30)
        ours.send(encode_question(Question(1, curve.seal(b"text"))))
        answer = decode_answer(ours.recv(ANSWER_SIZE))
    process.communicate(timeout=30)
    assert os.path.exists(f"{home}/run")
    os.unlink(f"{home}/run")
    assert not (tmp_path / "store").exists()
    assert answer.verdict is Verdict.GOOD


def test_a_home_of_an_old_gnupg_is_taken_over(curve: Party) -> None:
    """GnuPG 1.4 had secring.gpg; the agent makes a directory for what is in it."""
    home = Path(curve.server.path)
    words = ["/usr/bin/gpg", "--homedir", str(home), "--batch"]
    for what, name in (("--export-secret-keys", "secring.gpg"), ("--export", "p.gpg")):
        done = subprocess.run([*words, what], check=True, capture_output=True)
        (home / name).write_bytes(done.stdout)
    curve.server.stop()
    with tempfile.TemporaryDirectory(prefix="g") as old:
        (home / "secring.gpg").rename(f"{old}/secring.gpg")
        (home / "p.gpg").rename(f"{old}/pubring.gpg")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = launch("/usr/bin/gpg", old, fd=theirs.fileno())
        with ours:
            ours.settimeout(30)
            ours.send(encode_question(Question(1, curve.seal(b"text"))))
            answer = decode_answer(ours.recv(ANSWER_SIZE))
        assert process.communicate(timeout=30)[1] == ""
    assert (answer.verdict, answer.text) == (Verdict.GOOD, b"text")


@pytest.mark.parametrize(
    ("gpg", "expected"),
    [
        ("/usr/bin/gpg", "spasshd: error: gnupg: there is no secret key in {}"),
        ("/no/such", "spasshd: error: gnupg: /no/such cannot be run for {}"),
    ],
)
def test_the_program_says_what_it_lacks(
    gpg: str, expected: str, tmp_path: Path
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = launch(gpg, str(tmp_path), fd=theirs.fileno())
    with ours:
        ours.settimeout(30)
        assert decode_answer(ours.recv(ANSWER_SIZE)) == Answer(LOST, Verdict.FAILED)
    said = process.communicate(timeout=30)[1]
    assert said.splitlines()[0] == expected.format(tmp_path)
    again = "gnupg: the helper has ended (status 1), and begins anew when it is asked"
    assert said.count(again) == 1
    assert process.returncode == 0


def test_a_bug_of_the_helper_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        keep(theirs, lambda: 1 // 0, lambda: None)
    said = capfd.readouterr().err
    assert "ZeroDivisionError" in said
    assert "gnupg: the helper has ended (status 1)" in said


def test_a_helper_that_finds_no_room_for_a_process_does_not_end_its_keeper(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "nobody may have more processes")

    monkeypatch.setattr(os, "fork", fork)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.close()
        keep(theirs, lambda: 0, lambda: None)
    said = capsys.readouterr().err
    assert "gnupg: no process for the helper: nobody may have more processes" in said
    assert "gnupg: the helper has ended (status 1), and begins anew when it is" in said


def test_it_loads_neither_scapy_nor_cryptography() -> None:
    """Nor anything else that is of no use to it: each of its workers is a copy."""
    code = "import sys, spassh_server.openpgp.helper; print(*sys.modules)"
    paths = f"{ROOT}:{ROOT / 'server'}"
    argv = [sys.executable, "-B", "-c", code]
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, env={"PYTHONPATH": paths}
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "spassh" in loaded
    assert not {"scapy", "cryptography", "gnupg"} & loaded


def test_a_helper_that_was_killed_begins_anew(curve: Party) -> None:
    """With the next question, and without an agent that nobody ends."""
    curve.server.stop()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = launch("/usr/bin/gpg", curve.server.path, fd=theirs.fileno())
    message = curve.seal(b"text")
    with ours:
        ours.settimeout(30)
        for number in (1, 2):
            ours.send(encode_question(Question(number, message)))
            answer = decode_answer(ours.recv(ANSWER_SIZE))
            assert (answer.number, answer.verdict) == (number, Verdict.GOOD)
            (child,) = Process(process.pid).children()
            child.kill()
            assert decode_answer(ours.recv(ANSWER_SIZE)) == Answer(LOST, Verdict.FAILED)
    said = process.communicate(timeout=30)[1]
    what = "gnupg: the helper has ended (signal 9), and begins anew when it is asked"
    assert said.count(f"spasshd: error: {what}\n") == 2
    assert process.returncode == 0
    assert not os.path.exists(f"{curve.server.path}/S.gpg-agent")
