"""What the processes of a daemon take: processor, memory, wake-ups and programs."""

import os
import subprocess
import time
from collections.abc import Iterable

from lab.network import Host


def of(pid: int) -> list[int]:
    """Return the process and all that it has started."""
    found = [pid]
    for one in found:
        with open(f"/proc/{one}/task/{one}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def seconds(pids: Iterable[int]) -> float:
    """Return the processor's time of these processes until now, with their children's.

    Of a child that has ended it counts hundredths of a second.
    """
    return sum(_scheduled(pid)[0] / 1e9 + _of_children(pid) for pid in pids)


def wake_ups(pids: Iterable[int]) -> int:
    """Return how often these processes were given a processor until now."""
    return sum(_scheduled(pid)[1] for pid in pids)


def megabytes(pids: Iterable[int]) -> float:
    """Return the memory of these processes: what they share is counted in parts."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            (line,) = (one for one in file if one.startswith("Pss:"))
        total += int(line.split()[1])
    return total / 1024


def programs(host: Host, pid: int, for_seconds: float) -> int:
    """Return how many programs a process starts in that time, seen by strace(1)."""
    argv = ["strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none"]
    tracing = host.popen(
        [*argv, "-p", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    time.sleep(for_seconds)
    tracing.terminate()
    _, text = tracing.communicate()
    return text.count(b"execve(")


def _scheduled(pid: int) -> tuple[int, int]:
    """Return nanoseconds on a processor and how often, of all threads."""
    spent = times = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            words = file.read().split()
        spent += int(words[0])
        times += int(words[2])
    return spent, times


def _of_children(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    ticks = int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")
