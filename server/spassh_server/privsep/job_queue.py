"""Which of the jobs that wait is next: what is owed, and then every user in turn."""

from collections import Counter
from collections.abc import Iterable

from ..fair_lines import FairLines
from .job import Job


class JobQueue:
    """Jobs that wait. It is bounded, in all and for each user, but for what is owed."""

    def __init__(self, most: int, most_each: int) -> None:
        """Let `most` jobs wait that are not owed, and `most_each` jobs of one user."""
        self._most = most
        self._most_each = most_each
        self._owed: FairLines[Job] = FairLines()
        self._asked: FairLines[Job] = FairLines()

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._owed) + len(self._asked)

    def waiting(self, user: str) -> int:
        """Count the jobs of `user` that wait."""
        return self._owed.waiting(user) + self._asked.waiting(user)

    def has_room(self, user: str) -> bool:
        """Tell whether one more job of `user` may wait that is not owed."""
        # What is owed to one user leaves that user less room, but takes nobody else's.
        return self.waiting(user) < self._most_each and len(self._asked) < self._most

    def add(self, job: Job) -> None:
        """Let `job` wait, behind those of the same user."""
        (self._owed if job.owed else self._asked).add(job)

    def take(self, running: Iterable[Job]) -> Job | None:
        """Take the job whose turn it is beside those that run, if there is one."""
        running = list(running)
        lanes = {job.lane for job in running} - {""}
        busy = Counter(job.user for job in running)

        def may(job: Job) -> bool:
            return job.lane not in lanes

        return self._owed.take(busy, may) or self._asked.take(busy, may)

    def drop(self, lane: str) -> list[Job]:
        """Take out what waits in `lane` and is not owed."""
        return self._asked.drop(lambda job: job.lane == lane)

    def clear(self) -> list[Job]:
        """Take out all."""
        return self._owed.drop(lambda _: True) + self._asked.drop(lambda _: True)
