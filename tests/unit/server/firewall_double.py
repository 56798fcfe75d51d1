"""A firewall that does nothing but remember what it was asked for."""

from spassh_server.firewall import ActiveGrant, FirewallError, Grant, Width


class RecordingFirewall:
    """Keeps the contract of `Firewall`, in memory and without a clock."""

    name = "recording"

    def __init__(self, *, expires_by_itself: bool = True) -> None:
        self.expires_by_itself = expires_by_itself
        self.holds = True
        self.held: list[int] = []
        """For how many seconds, each time that it was asked to hold."""
        self.widths = frozenset(Width)
        self.calls: list[str] = []
        self.granted: list[tuple[Grant, int, str]] = []
        self.live: list[ActiveGrant] = []
        self.keeps_names = True
        """Whether it tells who was granted what: not every packet filter can."""
        self.sessions: dict[bytes, int] = {}
        """How many connections each address has."""
        self.ended: list[bytes] = []
        """Whose connections were to be ended."""
        self.warned: list[str] = []
        self.failing: set[str] = set()
        self.stuck: set[bytes] = set()
        """Addresses whose grants cannot be taken back."""
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

    def hold(self, seconds: int) -> None:
        self._call("hold")
        self.held.append(seconds)

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        self._call("grant")
        self.granted.append((grant, seconds, user))
        self._forget(grant)
        whose = user if self.keeps_names else ""
        self.live.append(ActiveGrant(grant, seconds, whose))

    def revoke(self, grant: Grant) -> None:
        self._call("revoke")
        if grant.address in self.stuck:
            raise FirewallError("revoke failed", "try again")
        self._forget(grant)

    def _forget(self, grant: Grant) -> None:
        self.live = [one for one in self.live if one.grant != grant]

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        self._call("end_sessions")
        self.ended += addresses
        return sum(self.sessions.pop(address, 0) for address in addresses)

    def warnings(self) -> list[str]:
        self._call("warnings")
        return self.warned

    def grants(self) -> list[ActiveGrant]:
        self._call("grants")
        return list(self.live)

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
