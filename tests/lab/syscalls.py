"""Count the system calls of a program that runs; kill it, stop it, or fail one."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from spassh_server.limits import SYNC_QUIET_MS

from .network import LabError, wait_for


class Step(NamedTuple):
    """The entry of a system call."""

    name: str
    number: int
    """Counted from 1, among the calls of that name: so does strace."""


class Trace:
    """What a program called since we look on."""

    def __init__(self, pid: int, path: str) -> None:
        self._pid = pid
        self._path = path

    def is_over(self) -> bool:
        """Tell whether the program is dead, or sleeps until something happens."""
        return state(self._pid) in "ZX" or self._sleeps()

    def was_hit(self) -> bool:
        """Tell whether the program is dead, or was stopped."""
        return not is_there(self._pid) or "--- stopped by SIGSTOP ---" in self._lines()

    def has_failed(self) -> bool:
        """Tell whether a call was made to fail."""
        return any(line.endswith("(INJECTED)") for line in self._lines())

    def steps(self) -> list[Step]:
        """Return the calls after the one that it slept in."""
        counts: Counter[str] = Counter()
        steps = []
        for line in self._lines()[1:]:
            if line.startswith("--- "):
                continue
            name = line.split("(", 1)[0]
            counts[name] += 1
            steps.append(Step(name, counts[name]))
        return steps

    def _sleeps(self) -> bool:
        last = "".join(self._lines()[-1:])
        if state(self._pid) != "S" or not last.startswith("poll(") or last[-1] == ")":
            return False
        # A short timeout is that of a program with more to do.
        return not 0 <= int(last.rsplit(", ", 1)[1]) <= SYNC_QUIET_MS

    def _lines(self) -> list[str]:
        with open(self._path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()


@contextmanager
def traced(
    pid: int,
    path: str,
    at: Step | None = None,
    how: signal.Signals | str = signal.SIGKILL,
) -> Iterator[Trace]:
    """Look on what the program calls; send it the signal `how` at the entry of `at`.

    One that is to be stopped gets as far as the end of that call. If `how` is the name
    of an error, such as "ENOSPC", the call is not made, and fails with that.
    """
    argv = ["strace", "-p", str(pid), "-o", path, "-e", "signal=STOP"]
    if at is not None:
        what = f"error={how}" if isinstance(how, str) else f"signal={how.name}"
        argv += ["-e", f"inject={at.name}:{what}:when={at.number}"]
    strace = subprocess.Popen(argv, stderr=subprocess.PIPE)
    assert strace.stderr is not None
    try:
        if b"attached" not in strace.stderr.readline():
            raise LabError(f"strace cannot attach to {pid}")
        yield Trace(pid, path)
    finally:
        strace.send_signal(signal.SIGTERM)
        strace.wait()
        strace.stderr.close()


def state(pid: int) -> str:
    """Return the letter of proc(5) for what a process does; X if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def fields(pid: int) -> dict[str, str]:
    """Return what /proc/PID/status says: see proc(5)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def is_there(pid: int) -> bool:
    """Tell whether there is such a process that is more than a zombie."""
    return state(pid) not in "ZX"


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, and that still run."""
    path = f"/proc/{pid}/task/{pid}/children"
    with open(path, encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def end(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    if is_there(pid):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_there(pid), f"{pid} to be gone")
