"""A firewall that does nothing but remember what it was asked for."""

from spassh_server.firewall import ActiveGrant, FirewallError, Grant


class RecordingFirewall:
    """Keeps the contract of `Firewall`, in memory."""

    name = "recording"

    def __init__(self, *, expires_by_itself: bool = True) -> None:
        self.expires_by_itself = expires_by_itself
        self.calls: list[str] = []
        self.granted: list[tuple[Grant, int]] = []
        self.live: list[ActiveGrant] = []
        self.failing: set[str] = set()
        self.broken = False
        """Whether `repair` finds something to mend."""
        self.following: float | None = None
        """What `sweep` returns."""

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise FirewallError(f"{name} failed", "try again")

    def count(self, name: str) -> int:
        """Return how often `name` was called."""
        return self.calls.count(name)

    def unavailable(self) -> str | None:
        return None

    def prepare(self) -> None:
        self._call("prepare")

    def grant(self, grant: Grant, seconds: int) -> None:
        self._call("grant")
        self.granted.append((grant, seconds))

    def revoke(self, grant: Grant) -> None:
        self._call("revoke")

    def grants(self) -> list[ActiveGrant]:
        self._call("grants")
        return self.live

    def in_place(self) -> bool:
        self._call("in_place")
        return not self.broken

    def repair(self) -> bool:
        self._call("repair")
        mended, self.broken = self.broken, False
        return mended

    def sweep(self) -> float | None:
        self._call("sweep")
        return self.following

    def remove(self) -> None:
        self._call("remove")
