"""Programs of other people: permitted commands and hooks, beside everything else.

Nothing here waits. The granter's poll(2) tells of output and of ends, `until_next` of
time limits, and without a job there is neither a descriptor nor a timeout.

A program is a session of its own. It knows nothing of our environment, has none of our
descriptors, and when it ends or its time is over, all that is left of its process
group is killed. Only what makes itself a daemon, with setsid(2), goes on. It has no new
privileges (PR_SET_NO_NEW_PRIVS), so no setuid program helps it. With another account
than root's it has no capability at all; as root it has those that the granter keeps.
"""

import contextlib
import os
import pwd
import resource
import select
import signal
import subprocess  # noqa: TID251 - the programs of the administrator, not of the packet filter
import sys
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from .. import events
from ..firewall.run import DIRECTORIES
from .job import Account, Ended, Job
from .job_queue import JobQueue

OUTPUT_BYTES: Final = 4096
"""Bytes that are kept of what a program prints. The rest is read and counted."""

STDIN_BYTES: Final = 4096
"""Longest input of a program. An empty pipe takes as many without blocking."""

GRACE_SECONDS: Final = 2
"""Between SIGTERM at the time limit, and SIGKILL."""

_CHUNK = 1 << 16
_LEFT_IN_PIPE = 1 << 20
_LOOK_MS = 100
_CLOSE_SECONDS = 1
_OOM_SCORE = "/proc/self/oom_score_adj"


class Jobs:
    """Runs so many programs at once, and lets so many more wait.

    Commands and hooks have one each, so that neither keeps the other waiting.
    """

    def __init__(
        self,
        poll: select.poll,
        *,
        at_once: int,
        waiting: int,
        waiting_each: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Register with `poll`; the caller passes on what is ready by `handle`.

        `waiting` jobs may wait in all, and `waiting_each` of one user.
        """
        self._poll = poll
        self._at_once = at_once
        self._clock = clock
        self._waiting = JobQueue(waiting, waiting_each)
        self._children: list[_Child] = []
        self._by_fd: dict[int, _Child] = {}

    def __len__(self) -> int:
        """Count the jobs that run or wait."""
        return len(self._children) + len(self._waiting)

    def waiting(self, user: str) -> int:
        """Count the jobs of `user` that wait."""
        return self._waiting.waiting(user)

    def start(self, job: Job) -> bool:
        """Run `job` now or later; return False if too many wait already.

        Its `on_end` may be called before this returns, if it cannot be started.

        Raises:
            ValueError: `job` has too much input.
        """
        if len(job.stdin) > STDIN_BYTES:
            raise ValueError("too much input for a job")
        if not job.owed and not self._has_room(job):
            return False
        self._waiting.add(job)
        self._start_waiting()
        return True

    def drop(self, lane: str) -> int:
        """Forget what waits in `lane` and is not owed; return how many that were."""
        dropped = self._waiting.drop(lane)
        for job in dropped:
            job.on_end(Ended("dropped", 0, b"", 0))
        return len(dropped)

    def finish(self, seconds: float) -> None:
        """Wait until all is done, but not longer than `seconds`, and hear nobody else.

        This is for the end of the granter only.
        """
        ends = self._clock() + seconds
        while self._children and (left := ends - self._clock()) > 0:
            # The caller's poll also knows those who are not heard any more.
            poll = select.poll()
            for fd in self._by_fd:
                poll.register(fd, select.POLLIN)
            limits = (int(left * 1000) + 1, self.until_next())
            ready = poll.poll(min(one for one in limits if one is not None))
            for fd, _ in ready:
                self.handle(fd)

    def handle(self, fd: int) -> bool:
        """Do what there is to do for the ready `fd`; return False if it is not ours."""
        child = self._by_fd.get(fd)
        if child is None:
            return False
        if fd == child.output:
            self._read(child)
        elif child.has_ended():
            self._end(child)
        return True

    def until_next(self) -> int | None:
        """End what has run too long; return ms until the next time, or None."""
        now = self._clock()
        for child in list(self._children):
            if child.pidfd < 0 and child.has_ended():
                self._end(child)
            elif child.deadline <= now:
                child.press(now)
        soonest = min((child.deadline for child in self._children), default=inf)
        left = None if soonest == inf else max(0, int((soonest - now) * 1000)) + 1
        if any(child.pidfd < 0 for child in self._children):
            return min(_LOOK_MS, left or _LOOK_MS)
        return left

    def close(self) -> None:
        """Kill what runs, and start nothing more."""
        self._at_once = 0
        self._waiting, waiting = JobQueue(0, 0), self._waiting.clear()
        for child in list(self._children):
            child.stopped = True
            child.kill(signal.SIGKILL)
            # Short, for a killed process ends at once; but a disk may hold it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(_CLOSE_SECONDS)
            self._end(child)
        for job in waiting:
            job.on_end(Ended("stopped", 0, b"", 0))

    def _start_waiting(self) -> None:
        while (job := self._next()) is not None:
            began = self._clock()
            try:
                child = _Child(job, began)
            except (OSError, subprocess.SubprocessError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                job.on_end(Ended("not-started", 0, reason.encode(), 0))
                continue
            self._children.append(child)
            for fd in (child.output, child.pidfd):
                if fd >= 0:
                    self._by_fd[fd] = child
                    self._poll.register(fd, select.POLLIN)

    def _next(self) -> Job | None:
        """Take the job whose turn it is from those that wait."""
        if len(self._children) >= self._at_once:
            return None
        return self._waiting.take(child.job for child in self._children)

    def _has_room(self, job: Job) -> bool:
        # What starts at once does not wait: nothing of its lane does, or it had begun.
        if len(self._children) < self._at_once and (
            not job.lane or all(child.job.lane != job.lane for child in self._children)
        ):
            return True
        return self._waiting.has_room(job.user)

    def _read(self, child: "_Child") -> None:
        """Read once, so that a program that prints without end delays nobody."""
        if not child.read():
            self._forget(child.output)
            child.close_output()

    def _end(self, child: "_Child") -> None:
        for fd in (child.output, child.pidfd):
            self._forget(fd)
        self._children.remove(child)
        ended = child.end(self._clock())
        child.job.on_end(ended)
        self._start_waiting()

    def _forget(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)


class _Child:
    """One running program."""

    def __init__(self, job: Job, now: float) -> None:
        """Start it.

        Raises:
            OSError: it cannot be started.
            SubprocessError: it came to nothing between fork and exec.
        """
        self.job = job
        self.began = now
        self.deadline = now + job.seconds
        self.stopped = False
        self._is_late = False
        self._kept = bytearray()
        self._printed = 0
        self.output, output = os.pipe()
        stdin = -1
        try:
            os.set_blocking(self.output, False)
            stdin = _stdin(job.stdin)
            with _ordinary_oom_score():
                self.process = _popen(job, stdin, output)
        except BaseException:
            os.close(self.output)
            raise
        finally:
            os.close(output)
            if stdin >= 0:
                os.close(stdin)
        self.pidfd = _pidfd(self.process.pid)

    def has_ended(self) -> bool:
        """Tell whether the program itself is over. It is still there to be waited for.

        As long as it is, no other process can have its number.
        """
        if self.process.returncode is not None:
            return True
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, how) is not None

    def read(self) -> bool:
        """Read what there is, up to a bound; return False at the end of the output."""
        try:
            data = os.read(self.output, _CHUNK)
        except BlockingIOError:
            return True
        self._kept += data[: OUTPUT_BYTES - len(self._kept)]
        self._printed += len(data)
        return bool(data)

    def close_output(self) -> None:
        """Read no more."""
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def press(self, now: float) -> None:
        """Ask it to end, and the second time see that it does."""
        if self._is_late:
            self.kill(signal.SIGKILL)
            # What does not even heed that waits for a disk. There is nothing to do.
            self.deadline = inf
        else:
            self._is_late = True
            self.kill(signal.SIGTERM)
            self.deadline = now + GRACE_SECONDS

    def kill(self, number: int) -> None:
        """Send a signal to the program and to all that is in its group."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            events.error(f"{self.job.argv[0]}: cannot be ended: {error.strerror}")

    def end(self, now: float) -> Ended:
        """Clear away what the program left, and say how it ended."""
        if self.process.returncode is None and self.has_ended():
            self.kill(signal.SIGKILL)
            self.process.wait()
        self._drain()
        self.close_output()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        return Ended(self._status(), now - self.began, bytes(self._kept), self._printed)

    def _drain(self) -> None:
        """Read what is left in the pipe, in bounds: somebody may still write."""
        most = self._printed + _LEFT_IN_PIPE
        before = -1
        while self.output >= 0 and before < self._printed < most:
            before = self._printed
            if not self.read():
                break

    def _status(self) -> str:
        code = self.process.returncode
        if self.stopped:
            return "stopped"
        if self._is_late:
            return "timeout"
        if code >= 0:
            return str(code)
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"SIG{-code}"  # one of the real-time signals


def _popen(job: Job, stdin: int, output: int) -> subprocess.Popen[bytes]:
    account = job.account
    return subprocess.Popen(
        # As bytes: what our locale makes of a word is not the user's business.
        [word.encode() for word in job.argv],
        executable=job.program,
        stdin=stdin if stdin >= 0 else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        close_fds=True,
        cwd="/",
        env={
            "PATH": ":".join(DIRECTORIES),
            "LC_ALL": "C",
            "HOME": account.home,
            "USER": account.name,
            "LOGNAME": account.name,
            **job.environment,
        },
        start_new_session=True,
        user=account.uid,
        group=account.gid,
        extra_groups=account.groups,
        umask=0o022,
        preexec_fn=_in_child,  # noqa: PLW1509 - the granter has one thread
    )


@contextlib.contextmanager
def _ordinary_oom_score() -> Iterator[None]:
    """Let what is forked meanwhile be nothing special when memory runs out, on Linux.

    We are, but what we run must not be spared at the cost of all others. The child
    cannot do it: between its change of account and exec, its /proc belongs to root.
    """
    try:
        # Unbuffered: what cannot be written must fail here, not at the end.
        with open(_OOM_SCORE, "r+b", buffering=0) as file:
            before = file.read().strip()
            if before != b"0":
                file.write(b"0")
    except OSError:
        before = b"0"
    try:
        yield
    finally:
        if before != b"0":
            with (
                contextlib.suppress(OSError),
                open(_OOM_SCORE, "r+b", buffering=0) as file,
            ):
                file.write(before)


def _in_child() -> None:
    """Give the program what every program may expect, before it is executed."""
    for number in signal.valid_signals():
        # What is ignored stays ignored, unlike what has a handler.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _stdin(data: bytes) -> int:
    """Return the reading end of a pipe with `data` in it, or -1 if there is none."""
    if not data:
        return -1
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(write_end, False)
        os.write(write_end, data)
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return read_end


def _pidfd(pid: int) -> int:
    """Return a descriptor that is ready when the process has ended, or -1 for none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def find_account(name: str) -> Account:
    """Look up the account `name` and its groups. It may take a network's time.

    Raises:
        ValueError: there is none.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"no account '{name}'") from None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def check_program(path: str) -> str:
    """See that nobody but root can put a program in the place of `path`.

    Links are followed here and now, and never again: where they are, and in what they
    lead through, others may write. Nothing but the path that is returned is safe.

    Returns:
        The path without any link in it. Nobody but root can change what is there.

    Raises:
        ValueError: somebody can, or it is no program; the text says which.
    """
    real = os.path.realpath(path)
    place = real
    while True:
        try:
            status = os.lstat(place)
        except OSError as error:
            raise ValueError(f"{place}: {(error.strerror or '').lower()}") from error
        # A link that has just been put there fails as well: its mode is 0777.
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise ValueError(f"{place}: others than root can write there")
        if place == os.path.dirname(place):
            break
        place = os.path.dirname(place)
    if not os.path.isfile(real) or not os.stat(real).st_mode & 0o111:
        raise ValueError(f"{path}: not a program")
    return real
