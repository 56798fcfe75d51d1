"""The packet filter, behind one interface. Every back end keeps the same contract.

What a back end owns is named after `Settings.name`; it never touches anything else but
for one rule in a foreign chain that leads to ours, which it takes back in `remove`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..ports import Port


class FirewallError(Exception):
    """The packet filter did not do what was asked. `hint` may name the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Settings(NamedTuple):
    """What every back end is told."""

    name: str
    """Names the table, chains and sets; 1 to 20 of a-z 0-9 -."""
    protect: tuple[Port, ...]
    """Ports that are dropped for everybody without a grant. May be empty."""
    knock_port: int
    """UDP port of the datagrams: dropped silently, because libpcap sees them before."""
    mark: int
    """The one bit of the packet mark that says "granted" to foreign chains."""
    ipset: bool = True
    """Whether the iptables back end may use ipset."""


class Grant(NamedTuple):
    """Who may reach what."""

    address: bytes
    """The client's address: 4 or 16 bytes in network order."""
    port: Port


class ActiveGrant(NamedTuple):
    """A grant that the kernel holds."""

    grant: Grant
    seconds_left: int


class Firewall(Protocol):
    """One packet filter. Every method may be repeated without harm.

    All of them but `unavailable` raise `FirewallError` when the packet filter refuses.
    """

    name: str
    expires_by_itself: bool
    """The kernel forgets a grant in time. Otherwise `sweep` has to delete it."""

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""

    def prepare(self) -> None:
        """Create what we own in one step without a gap; keep the grants that live."""

    def grant(self, grant: Grant, seconds: int) -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens."""

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""

    def grants(self) -> list[ActiveGrant]:
        """List the live grants, read from the kernel. Empty if nothing was prepared."""

    def repair(self) -> bool:
        """See that packets still reach our rules; tell whether that took mending.

        A firewall that is loaded after ours may flush the chain that led to us.
        """

    def in_place(self) -> bool:
        """Tell whether our rules are there, whole. Changes nothing."""

    def sweep(self) -> float | None:
        """Delete what has expired; return the time to come again, or None."""

    def remove(self) -> None:
        """Leave nothing behind: no table, no chain, no set, no rule."""


Clock = Callable[[], float]
"""Seconds since 1970-01-01 UTC."""
