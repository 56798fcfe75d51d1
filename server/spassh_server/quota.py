"""How much of what all users share one user may take. Pure: the time is an argument."""

from .firewall import Grant
from .limits import MAX_USER_FILES, MAX_USERS_IN_MAIN_FILE

_MOST_USERS = MAX_USER_FILES + MAX_USERS_IN_MAIN_FILE


class RequestQuota:
    """A bucket of tokens for each user. A request takes one, and time brings them back.

    The replay memory is shared: without this, whoever holds one user's key could fill
    it, and so have the packets of all others refused.
    """

    def __init__(self, burst: int, per_second: int) -> None:
        """Let a user make `burst` requests at once and `per_second` for long."""
        self._full = burst * 1000
        self._per_ms = per_second
        # Thousandths of tokens, so that nothing is rounded, and the time of the count.
        self._buckets: dict[str, tuple[int, int]] = {}

    def take(self, user: str, now: int) -> bool:
        """Take a token of `user` at the time `now` (ms); tell whether there was one."""
        if user not in self._buckets and len(self._buckets) >= _MOST_USERS:
            # Names that nobody has, from a listener that was taken over.
            del self._buckets[next(iter(self._buckets))]
        tokens, before = self._buckets.get(user, (self._full, now))
        # A clock that was set back brings nothing, and costs nothing either.
        tokens = min(self._full, tokens + max(0, now - before) * self._per_ms)
        enough = tokens >= 1000
        self._buckets[user] = (tokens - 1000 if enough else tokens, now)
        return enough


class GrantQuota:
    """Counts the live grants of each user.

    The granter's limit is for all together: without this, one user with a network of
    their own could use it up, one address after the other.
    """

    def __init__(self, most: int) -> None:
        """Let each user have `most` live grants."""
        self._most = most
        self._ends: dict[str, dict[Grant, float]] = {}

    def allow(self, user: str, grant: Grant, seconds: int, now: float) -> bool:
        """Count `grant` from `now` on for `seconds`, unless `user` has too many.

        A live grant may always be extended. One that the firewall refuses later counts
        all the same: it has cost the work, and its time is soon over.
        """
        ends = self._ends.setdefault(user, {})
        # Most live equally long, so what is over comes first. A long one may keep the
        # others; then all are looked at when there is no room any more.
        while ends and ends[first := next(iter(ends))] <= now:
            del ends[first]
        if grant not in ends and len(ends) >= self._most:
            ends = {one: end for one, end in ends.items() if end > now}
            self._ends[user] = ends
            if len(ends) >= self._most:
                return False
        self.extend(user, grant, seconds, now)
        return True

    def extend(self, user: str, grant: Grant, seconds: int, now: float) -> None:
        """Count `grant` for `seconds` from `now` on; never shorter than before."""
        ends = self._ends.setdefault(user, {})
        ends[grant] = max(now + seconds, ends.pop(grant, 0.0))

    def forget(self, user: str, address: bytes) -> None:
        """Count no more what was taken back: of a user, of an address, or else all."""
        for name, ends in self._ends.items():
            if not user or name == user:
                self._ends[name] = {
                    grant: end
                    for grant, end in ends.items()
                    if address and grant.address != address
                }
