"""What waits, in a line for each user: nobody waits behind another's burst. Pure."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar


class _Asked(Protocol):
    @property
    def user(self) -> str: ...


_T = TypeVar("_T", bound=_Asked)


class FairLines(Generic[_T]):
    """The lines of all users who wait."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._lines: OrderedDict[str, deque[_T]] = OrderedDict()

    def __len__(self) -> int:
        """Count what waits."""
        return sum(map(len, self._lines.values()))

    def waiting(self, user: str) -> int:
        """Count what waits of `user`."""
        return len(self._lines.get(user, ()))

    def add(self, one: _T) -> None:
        """Let `one` wait, behind what its user has asked for before."""
        self._lines.setdefault(one.user, deque()).append(one)

    def take(
        self, under_way: Mapping[str, int], may: Callable[[_T], bool] = lambda _: True
    ) -> _T | None:
        """Take the first that `may` be taken, of the user whose turn it is.

        `under_way` has how much of each user is being done. Who has least is next, and
        among equals who has waited longest for a turn.
        """
        for user in self._turns(under_way):
            line = self._lines[user]
            for at, one in enumerate(line):
                if may(one):
                    del line[at]
                    self._lines.move_to_end(user)
                    self._leave(user)
                    return one
        return None

    def drop(self, unwanted: Callable[[_T], bool]) -> list[_T]:
        """Take out all that is `unwanted`, and return it."""
        dropped: list[_T] = []
        for user, line in list(self._lines.items()):
            dropped += filter(unwanted, line)
            self._lines[user] = deque(one for one in line if not unwanted(one))
            self._leave(user)
        return dropped

    def _turns(self, under_way: Mapping[str, int]) -> Iterator[str]:
        # Most have nothing under way, and need not be sorted.
        yield from (user for user in self._lines if not under_way.get(user))
        busy = [user for user in self._lines if under_way.get(user)]
        yield from sorted(busy, key=lambda user: under_way[user])

    def _leave(self, user: str) -> None:
        """Forget a user who waits for nothing more."""
        if not self._lines[user]:
            del self._lines[user]
