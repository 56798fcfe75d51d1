"""Real programs, run as the granter runs them. `Granter` stands for its poll loop."""

import gc
import os
import select
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.server.child import NOBODY, in_child, needs_root

from spassh_server.privsep import jobs as jobs_module
from spassh_server.privsep.job import Account, Ended, Job
from spassh_server.privsep.jobs import (
    GRACE_SECONDS,
    OUTPUT_BYTES,
    STDIN_BYTES,
    Jobs,
    check_program,
    find_account,
)
from spassh_server.privsep.sandbox import (
    CAP_KILL,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    keep_capabilities,
)

PATIENCE_MS = 30_000

ROOT = Account("root", 0, 0, (0,), "/root")
NOBODY_ACCOUNT = Account("nobody", NOBODY, NOBODY, (NOBODY, 12345), "/nonexistent")

FOREVER = "exec sleep 1000"

CAPABILITIES = frozenset({CAP_KILL, CAP_SETGID, CAP_SETUID})


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Granter:
    """The poll loop around some jobs."""

    def __init__(self, at_once: int = 8, waiting: int = 64) -> None:
        self.clock = Hand()
        self.poll = select.poll()
        self.jobs = Jobs(
            self.poll,
            at_once=at_once,
            waiting=waiting,
            waiting_each=waiting,
            clock=self.clock,
        )
        self.ended: list[tuple[str, Ended]] = []

    def start(
        self,
        script: str,
        *,
        name: str = "",
        account: Account = ROOT,
        seconds: int = 30,
        lane: str = "",
        stdin: bytes = b"",
        owed: bool = False,
    ) -> bool:
        """Start a shell script."""
        argv = ("/bin/sh", "-c", script)
        return self.start_program(
            *argv, name=name, account=account, seconds=seconds, lane=lane, stdin=stdin,
            owed=owed,
        )  # fmt: skip

    def start_program(
        self,
        *argv: str,
        name: str = "",
        account: Account = ROOT,
        seconds: int = 30,
        lane: str = "",
        stdin: bytes = b"",
        owed: bool = False,
    ) -> bool:
        job = Job(
            argv[0],
            argv,
            account,
            seconds,
            lambda ended: self.ended.append((name, ended)),
            {"SPASSH_USER": "alice"},
            stdin,
            lane,
            owed=owed,
        )
        return self.jobs.start(job)

    def turn(self) -> None:
        """Do what the granter does when poll(2) returns."""
        self.jobs.until_next()
        ready = self.poll.poll(PATIENCE_MS)
        assert ready
        for fd, _ in ready:
            self.jobs.handle(fd)

    def until(self, ended: int) -> None:
        """Go on until so many have ended."""
        while len(self.ended) < ended:
            self.turn()

    def run(self, script: str, **options: Account) -> Ended:
        """Run one script to its end."""
        assert self.start(script, **options)  # type: ignore[arg-type]
        self.until(len(self.ended) + 1)
        return self.ended[-1][1]

    def status_of_child(self, account: Account) -> dict[str, str]:
        """Return what the kernel says of a program that runs as `account`."""
        self.start_program("/bin/cat", "/proc/self/status", account=account)
        self.until(len(self.ended) + 1)
        lines = self.ended[-1][1].output.decode().splitlines()
        return {
            key: value.strip()
            for key, _, value in (line.partition(":") for line in lines)
        }

    def pass_seconds(self, seconds: float) -> None:
        self.clock.now += seconds
        self.jobs.until_next()

    def is_idle(self) -> bool:
        return (
            not len(self.jobs)
            and self.jobs.until_next() is None
            and self.poll.poll(0) == []
        )


@pytest.fixture
def granter() -> Iterator[Granter]:
    granter = Granter()
    yield granter
    granter.jobs.close()


class Fifo:
    """Is held open for writing by a script, as descriptor 3, and by what it starts."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.take = f"exec 3>{path}; echo >&3;"

    def wait(self) -> bytes:
        """Return what was written next, or nothing if nobody has it open any more."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        assert poll.poll(PATIENCE_MS)
        return os.read(self.fd, 99)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    fifo = Fifo(tmp_path / "fifo")
    yield fifo
    os.close(fifo.fd)


@needs_root
class TestAProgram:
    def test_tells_its_exit_status_and_what_it_printed(self, granter: Granter) -> None:
        ended = granter.run("echo out; echo err >&2; exit 3")
        assert ended == Ended("3", 0.0, b"out\nerr\n", 8)
        assert granter.is_idle()

    @pytest.mark.parametrize(
        ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (40, "SIG40")]
    )
    def test_that_was_killed_tells_the_signal(
        self, granter: Granter, number: int, name: str
    ) -> None:
        assert granter.run(f"kill -{int(number)} $$").status == name

    def test_gets_its_arguments_as_they_are(self, granter: Granter) -> None:
        granter.start_program("/usr/bin/printf", "%s|", "$HOME", "", "a b", "`id`", "é")
        granter.until(1)
        assert granter.ended[0][1].output == "$HOME||a b|`id`|é|".encode()

    def test_knows_nothing_of_our_environment(
        self, granter: Granter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET", "no")
        granter.start_program("/usr/bin/env", account=NOBODY_ACCOUNT)
        granter.until(1)
        assert sorted(granter.ended[0][1].output.decode().splitlines()) == [
            "HOME=/nonexistent",
            "LC_ALL=C",
            "LOGNAME=nobody",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "SPASSH_USER=alice",
            "USER=nobody",
        ]

    def test_has_none_of_our_descriptors(self, granter: Granter) -> None:
        read_end, write_end = os.pipe()
        try:
            os.set_inheritable(write_end, True)
            granter.start(FOREVER)
            granter.start_program("/bin/ls", "/proc/self/fd", stdin=b"x")
            granter.until(1)
        finally:
            os.close(read_end)
            os.close(write_end)
        # The last one is how ls reads the directory.
        assert granter.ended[0][1].output.split() == [b"0", b"1", b"2", b"3"]

    def test_starts_in_the_root_directory_and_makes_files_as_usual(
        self, granter: Granter
    ) -> None:
        before = os.umask(0)
        try:
            assert granter.run("pwd; umask").output.split() == [b"/", b"0022"]
        finally:
            os.umask(before)

    def test_leads_a_session_without_a_terminal(self, granter: Granter) -> None:
        output = granter.run("cut -d' ' -f1,5,6,7 /proc/$$/stat").output
        pid, group, session, terminal = map(int, output.split())
        assert pid == group == session
        assert terminal == 0

    def test_dumps_no_core(self, granter: Granter) -> None:
        assert granter.run("ulimit -c").output == b"0\n"

    def test_starts_with_every_signal_as_usual(self, granter: Granter) -> None:
        ignored = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
        before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        try:
            status = granter.status_of_child(NOBODY_ACCOUNT)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number, handler in zip(ignored, before, strict=True):
                signal.signal(number, handler)
        assert int(status["SigIgn"], 16) == 0
        assert int(status["SigBlk"], 16) == 0

    def test_reads_its_input_to_the_end(self, granter: Granter) -> None:
        data = b"{}" * (STDIN_BYTES // 2)
        granter.start_program("/bin/cat", stdin=data)
        granter.until(1)
        assert granter.ended[0][1].output == data

    def test_has_no_input_unless_it_is_given(self, granter: Granter) -> None:
        assert granter.run("readlink /proc/$$/fd/0; cat").output == b"/dev/null\n"

    def test_need_not_read_its_input(self, granter: Granter) -> None:
        granter.start("exec <&-; exit 0", stdin=b"x" * STDIN_BYTES)
        granter.until(1)
        assert granter.ended[0][1].status == "0"

    def test_with_too_much_input_is_a_mistake_of_the_caller(
        self, granter: Granter
    ) -> None:
        with pytest.raises(ValueError, match="too much input"):
            granter.start(FOREVER, stdin=b"x" * (STDIN_BYTES + 1))
        assert granter.is_idle()

    def test_may_print_more_than_is_kept(self, granter: Granter) -> None:
        ended = granter.run(
            "head -c 5000 /dev/zero | tr '\\0' a; head -c 300000 /dev/zero"
        )
        assert ended.output == b"a" * OUTPUT_BYTES
        assert ended.printed == 305_000

    @pytest.mark.parametrize("program", ["/nowhere/program", "/etc/passwd", "/etc"])
    def test_that_cannot_be_started_is_told(
        self, granter: Granter, program: str
    ) -> None:
        assert granter.start_program(program)
        (_, ended), = granter.ended  # fmt: skip
        assert ended.status == "not-started"
        assert ended.output.decode() in {
            "No such file or directory",
            "Permission denied",
        }
        assert granter.is_idle()


@needs_root
class TestAnAccount:
    def test_is_all_that_a_program_is(self, granter: Granter) -> None:
        status = granter.status_of_child(NOBODY_ACCOUNT)
        assert status["Uid"].split() == [str(NOBODY)] * 4
        assert status["Gid"].split() == [str(NOBODY)] * 4
        assert sorted(status["Groups"].split()) == ["12345", str(NOBODY)]

    def test_other_than_root_has_no_capability_and_gets_none(self) -> None:
        def work() -> dict[str, str]:
            keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}) | CAPABILITIES)
            return Granter().status_of_child(NOBODY_ACCOUNT)

        status = in_child(work)
        assert [
            int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")
        ] == [0, 0, 0, 0]
        assert status["NoNewPrivs"] == "1"

    def test_of_root_has_what_the_granter_has_and_no_more(self) -> None:
        kept = frozenset({CAP_NET_ADMIN, CAP_NET_RAW}) | CAPABILITIES

        def work() -> dict[str, str]:
            keep_capabilities(kept)
            return Granter().status_of_child(ROOT)

        status = in_child(work)
        mask = sum(1 << one for one in kept)
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == mask
        assert int(status["CapAmb"], 16) == int(status["CapInh"], 16) == 0
        assert status["NoNewPrivs"] == "1"

    def test_of_others_is_no_hindrance_to_ending_them(self) -> None:
        def work() -> Ended:
            keep_capabilities(CAPABILITIES)
            granter = Granter()
            granter.start(
                "trap '' TERM; echo; while :; do :; done", account=NOBODY_ACCOUNT
            )
            granter.turn()
            granter.pass_seconds(30)
            granter.pass_seconds(GRACE_SECONDS)
            granter.until(1)
            return granter.ended[0][1]

        assert in_child(work).status == "timeout"

    def test_that_may_not_be_taken_is_told(self) -> None:
        def work() -> Ended:
            keep_capabilities(frozenset())
            granter = Granter()
            granter.start(FOREVER, account=NOBODY_ACCOUNT)
            return granter.ended[0][1]

        assert in_child(work) == Ended("not-started", 0, b"Operation not permitted", 0)

    def test_whose_programs_cannot_be_ended_is_told(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def work() -> int:
            keep_capabilities(CAPABILITIES - {CAP_KILL})
            granter = Granter()
            granter.start(FOREVER, account=NOBODY_ACCOUNT)
            granter.pass_seconds(30)
            return granter.jobs._children[0].process.pid

        os.kill(in_child(work), signal.SIGKILL)
        assert "/bin/sh: cannot be ended: Operation not permitted" in (
            capfd.readouterr().err
        )


@needs_root
class TestTheTimeLimit:
    def test_ends_a_program_and_all_that_it_started(
        self, granter: Granter, fifo: Fifo
    ) -> None:
        granter.start(f"{fifo.take} sleep 1000 & sleep 1000 & {FOREVER}", seconds=30)
        assert fifo.wait() == b"\n"
        granter.pass_seconds(29.9)
        assert len(granter.jobs) == 1
        granter.pass_seconds(0.1)
        granter.until(1)
        assert granter.ended[0][1].status == "timeout"
        assert granter.ended[0][1].seconds == pytest.approx(30)
        assert fifo.wait() == b""

    def test_lets_a_program_tidy_up(self, granter: Granter, fifo: Fifo) -> None:
        granter.start(f"trap 'echo tidy; exit 0' TERM; sleep 1000 & {fifo.take} wait")
        assert fifo.wait() == b"\n"
        granter.pass_seconds(30)
        granter.until(1)
        assert granter.ended[0][1].status == "timeout"
        assert granter.ended[0][1].output == b"tidy\n"

    def test_is_hard_after_a_grace(self, granter: Granter, fifo: Fifo) -> None:
        granter.start(f"trap '' TERM; {fifo.take} sleep 1000 & {FOREVER}")
        assert fifo.wait() == b"\n"
        granter.pass_seconds(30)
        granter.pass_seconds(GRACE_SECONDS - 0.1)
        assert granter.poll.poll(0) == []
        granter.pass_seconds(0.1)
        granter.until(1)
        assert granter.ended[0][1].status == "timeout"
        assert fifo.wait() == b""

    def test_says_when_to_come_again(self, granter: Granter) -> None:
        granter.start(FOREVER, seconds=30)
        granter.clock.now += 10
        granter.start(FOREVER, seconds=5)
        assert granter.jobs.until_next() == 5001
        granter.clock.now += 4.5
        assert granter.jobs.until_next() == 501
        granter.pass_seconds(0.5)
        granter.until(1)
        assert granter.jobs.until_next() == 15_001
        granter.pass_seconds(15)
        assert granter.jobs.until_next() == 2001

    def test_holds_for_a_program_that_prints_without_end(
        self, granter: Granter
    ) -> None:
        granter.start("exec yes")
        granter.start("echo short", name="short")
        granter.until(1)
        assert granter.ended[0][0] == "short"
        granter.pass_seconds(30)
        granter.until(2)
        assert granter.ended[1][1].status == "timeout"
        assert len(granter.ended[1][1].output) == OUTPUT_BYTES


@needs_root
class TestTheEnd:
    def test_does_not_wait_for_what_holds_the_output(
        self, granter: Granter, fifo: Fifo
    ) -> None:
        ended = granter.run(f"{fifo.take} sleep 1000 & echo done")
        assert ended == Ended("0", 0, b"done\n", 5)
        assert fifo.wait() == b"\n"
        # What was left of the group is gone as well.
        assert fifo.wait() == b""

    def test_loses_nothing_that_was_printed_before(self, granter: Granter) -> None:
        granter.start("head -c 60000 /dev/zero")
        child = granter.jobs._children[0]
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
        granter.jobs.handle(child.pidfd)
        assert granter.ended[0][1].printed == 60_000

    def test_leaves_a_daemon_alone_and_does_not_wait_for_it(
        self, granter: Granter, fifo: Fifo
    ) -> None:
        # The shell waits until its child is in a session of its own.
        ended = granter.run(
            f"trap 'exit 0' USR1; {fifo.take}"
            " setsid sh -c 'kill -USR1 $PPID; exec sleep 1000' & echo $!;"
            " while :; do wait; done"
        )
        pid = int(ended.output)
        try:
            assert ended.status == "0"
            assert fifo.wait() == b"\n"
            assert os.getsid(pid) == pid
        finally:
            os.kill(pid, signal.SIGKILL)

    def test_comes_with_the_program_and_not_with_its_output(
        self, granter: Granter, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        os.mkfifo(go)
        granter.start(f"echo out; exec >&- 2>&-; read line <{go}; exit 4")
        child = granter.jobs._children[0]
        while child.output >= 0:
            granter.turn()
        assert granter.ended == []
        assert granter.poll.poll(0) == []
        go.write_text("\n")
        granter.until(1)
        assert granter.ended[0][1] == Ended("4", 0, b"out\n", 4)

    def test_is_found_without_pidfd(
        self, granter: Granter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jobs_module, "_pidfd", lambda _: -1)
        granter.start("sleep 1000 & exit 7")
        while (wait := granter.jobs.until_next()) is not None:
            assert wait <= 100
            for fd, _ in granter.poll.poll(wait):
                granter.jobs.handle(fd)
        assert granter.ended[0][1].status == "7"
        assert granter.is_idle()

    def test_of_the_granter_is_the_end_of_all(self, fifo: Fifo) -> None:
        granter = Granter(at_once=1, waiting=1)
        granter.start(f"trap '' TERM; {fifo.take} sleep 1000 & {FOREVER}", name="first")
        granter.start("exit", name="second")
        assert fifo.wait() == b"\n"
        granter.jobs.close()
        assert [(name, ended.status) for name, ended in granter.ended] == [
            ("first", "stopped"),
            ("second", "stopped"),
        ]
        assert fifo.wait() == b""
        assert granter.is_idle()
        assert not granter.start("exit")


@needs_root
class TestTheQueue:
    def test_is_bounded(self, fifo: Fifo) -> None:
        granter = Granter(at_once=2, waiting=3)
        started = [granter.start(FOREVER) for _ in range(7)]
        assert started == [True] * 5 + [False] * 2
        assert len(granter.jobs._children) == 2
        granter.jobs.close()

    def test_takes_what_is_owed_all_the_same(self) -> None:
        granter = Granter(at_once=1, waiting=0)
        assert granter.start(FOREVER, seconds=5)
        assert not granter.start("echo two")
        assert granter.start("echo three", owed=True)
        granter.pass_seconds(5)
        granter.until(2)
        assert granter.ended[1][1].output == b"three\n"

    def test_goes_on_in_order_when_there_is_room(self) -> None:
        granter = Granter(at_once=1)
        for number in range(5):
            granter.start(f"echo {number}")
        granter.until(5)
        assert [ended.output for _, ended in granter.ended] == [
            b"0\n", b"1\n", b"2\n", b"3\n", b"4\n",
        ]  # fmt: skip

    def test_goes_on_after_what_cannot_be_started(self) -> None:
        granter = Granter(at_once=1)
        granter.start("exit 1")
        for _ in range(9):
            granter.start_program("/nowhere/program")
        granter.start("exit 2")
        granter.until(11)
        statuses = [ended.status for _, ended in granter.ended]
        assert statuses == ["1", *["not-started"] * 9, "2"]

    def test_keeps_to_the_order_within_a_lane(
        self, granter: Granter, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        os.mkfifo(go)
        granter.start(f"read line <{go}", name="open", lane="192.0.2.1")
        granter.start("exit", name="close", lane="192.0.2.1")
        granter.start("exit", name="other", lane="192.0.2.2")
        granter.start("exit", name="none")
        granter.until(2)
        assert {name for name, _ in granter.ended} == {"other", "none"}
        go.write_text("\n")
        granter.until(4)
        assert [name for name, _ in granter.ended[2:]] == ["open", "close"]

    def test_of_others_is_not_touched(self, granter: Granter) -> None:
        read_end, write_end = os.pipe()
        try:
            granter.poll.register(read_end, select.POLLIN)
            os.write(write_end, b"x")
            granter.start("exit")
            assert not granter.jobs.handle(read_end)
        finally:
            granter.poll.unregister(read_end)
            os.close(read_end)
            os.close(write_end)
        granter.until(1)


def _descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


OOM_SCORE = Path("/proc/self/oom_score_adj")


def set_oom_score(score: int) -> bool:
    """Set our own, if we may: less than it was takes CAP_SYS_RESOURCE."""
    try:
        OOM_SCORE.write_text(f"{score}")
    except PermissionError:
        return False
    return True


@needs_root
@pytest.mark.parametrize("score", [-800, 0, 300])
class TestWhenMemoryRunsOut:
    """The unit has the granter spared, and that is not for what it starts."""

    @pytest.fixture(autouse=True)
    def possible(self, score: int) -> None:
        if not in_child(lambda: set_oom_score(score)):
            pytest.skip("needs CAP_SYS_RESOURCE, which root of a container may lack")

    @pytest.mark.parametrize("account", [ROOT, NOBODY_ACCOUNT], ids=lambda one: one[0])
    def test_a_job_is_as_any_program_and_the_granter_as_before(
        self, score: int, account: Account
    ) -> None:
        def start() -> tuple[bytes, str]:
            set_oom_score(score)
            # As it runs: without CAP_SYS_RESOURCE, and with a /proc that is root's.
            keep_capabilities(CAPABILITIES)
            granter = Granter()
            granter.start(f"cat {OOM_SCORE}", account=account)
            after = OOM_SCORE.read_text()
            granter.until(1)
            ((_, ended),) = granter.ended
            return ended.output, after

        assert in_child(start) == (b"0\n", f"{score}\n")

    def test_a_job_that_cannot_be_started_changes_nothing(self, score: int) -> None:
        def start() -> tuple[str, str]:
            set_oom_score(score)
            granter = Granter()
            granter.start_program("/nonexistent")
            ((_, ended),) = granter.ended
            return ended.status, OOM_SCORE.read_text()

        assert in_child(start) == ("not-started", f"{score}\n")


@needs_root
def test_a_hundred_jobs_leave_nothing_behind() -> None:
    granter = Granter()

    def run(count: int) -> None:
        for number in range(count):
            account = (ROOT, NOBODY_ACCOUNT)[number % 2]
            assert granter.start("echo text", account=account, stdin=b"{}")
        granter.until(count)
        granter.ended.clear()
        gc.collect()

    run(50)
    descriptors = len(_descriptors())
    tracemalloc.start()
    try:
        run(1)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2):
            run(50)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(_descriptors()) == descriptors
    assert after - before < 10_000
    assert granter.is_idle()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class TestTheAccountOfAName:
    def test_is_looked_up_with_its_groups(self) -> None:
        account = find_account("root")
        assert account[:3] == ("root", 0, 0)
        assert 0 in account.groups
        assert account.home == "/root"

    def test_must_be_there(self) -> None:
        with pytest.raises(ValueError, match="no account 'spassh-nobody-has-this'"):
            find_account("spassh-nobody-has-this")


class TestAProgramsPath:
    def test_is_safe_if_only_root_writes_there(self) -> None:
        check_program("/bin/sh")

    @pytest.mark.parametrize("mode", [0o755, 0o777])
    def test_is_not_safe_where_others_write(self, tmp_path: Path, mode: int) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
        with pytest.raises(ValueError, match="others than root can write there"):
            check_program(str(program))

    @needs_root
    def test_is_where_a_link_leads(self, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        fd = os.open(program, os.O_RDONLY)
        try:
            with pytest.raises(ValueError, match="others than root can write there"):
                # Everything above this link is root's alone.
                check_program(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("/nowhere/program", "/nowhere/program: no such file or directory"),
            ("/etc/passwd", "/etc/passwd: not a program"),
            ("/usr/bin", "/usr/bin: not a program"),
        ],
    )
    def test_must_lead_to_a_program(self, path: str, problem: str) -> None:
        with pytest.raises(ValueError, match=f"^{problem}$"):
            check_program(path)


def test_what_is_executed_does_not_change_with_a_link_that_others_own(
    tmp_path: Path,
) -> None:
    """Else whoever owns a directory on the way would choose what root runs."""
    (tmp_path / "current").symlink_to("/usr/bin")
    written = str(tmp_path / "current" / "id")
    checked = check_program(written)
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to(tmp_path)
    assert checked == os.path.realpath("/usr/bin/id")
    granter = Granter()
    job = Job(
        checked,
        (written, "-u"),
        ROOT,
        30,
        lambda ended: granter.ended.append(("", ended)),
    )
    assert granter.jobs.start(job)
    while not granter.ended:
        granter.turn()
    assert granter.ended[0][1].status == "0"
