"""Which of the jobs that wait is next: what is owed, and then every user in turn."""

from collections import Counter
from collections.abc import Iterable

from .job import Job


class JobQueue:
    """Jobs that wait. It is bounded, in all and for each user, but for what is owed."""

    def __init__(self, most: int, most_each: int) -> None:
        """Let `most` jobs wait that are not owed, and `most_each` jobs of one user."""
        self._most = most
        self._most_each = most_each
        self._owed: dict[str, list[Job]] = {}
        self._asked: dict[str, list[Job]] = {}

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return _count(self._owed) + _count(self._asked)

    def waiting(self, user: str) -> int:
        """Count the jobs of `user` that wait."""
        return len(self._owed.get(user, ())) + len(self._asked.get(user, ()))

    def has_room(self, user: str) -> bool:
        """Tell whether one more job of `user` may wait that is not owed."""
        # What is owed to one user leaves that user less room, but takes nobody else's.
        has_own = self.waiting(user) < self._most_each
        return has_own and _count(self._asked) < self._most

    def add(self, job: Job) -> None:
        """Let `job` wait, behind those of the same user."""
        jobs = self._owed if job.owed else self._asked
        jobs.setdefault(job.user, []).append(job)

    def take(self, running: Iterable[Job]) -> Job | None:
        """Take the job whose turn it is beside those that run, if there is one."""
        running = list(running)
        lanes = {job.lane for job in running} - {""}
        busy = Counter(job.user for job in running)
        for jobs in (self._owed, self._asked):
            # Whoever has least of what runs is next, and among equals the first to ask.
            for user in sorted(jobs, key=lambda user: busy[user]):
                for at, job in enumerate(jobs[user]):
                    if job.lane not in lanes:
                        _remove(jobs, user, at)
                        return job
        return None

    def drop(self, lane: str) -> list[Job]:
        """Take out what waits in `lane` and is not owed."""
        dropped = []
        for user, jobs in list(self._asked.items()):
            dropped += [job for job in jobs if job.lane == lane]
            if left := [job for job in jobs if job.lane != lane]:
                self._asked[user] = left
            else:
                del self._asked[user]
        return dropped

    def clear(self) -> list[Job]:
        """Take out all."""
        all_jobs = [*self._owed.values(), *self._asked.values()]
        self._owed, self._asked = {}, {}
        return [job for jobs in all_jobs for job in jobs]


def _count(jobs: dict[str, list[Job]]) -> int:
    return sum(map(len, jobs.values()))


def _remove(jobs: dict[str, list[Job]], user: str, at: int) -> None:
    """Take one job out, and put its user behind the others."""
    left = jobs.pop(user)
    del left[at]
    if left:
        jobs[user] = left
