"""The packet filter, behind one interface. Every back end keeps the same contract.

What a back end owns is named after `Settings.name`; it never touches anything else but
for one rule in a foreign chain that leads to ours, which it takes back in `remove`.
"""

from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, Protocol

from ..ports import Port

Network = IPv4Network | IPv6Network


class FirewallError(Exception):
    """The packet filter did not do what was asked. `hint` may name the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Forward(NamedTuple):
    """A port of this host that leads to another one behind it."""

    port: Port
    """The port of this host: what a client asks for and connects to."""
    address: bytes
    """The inner host: 4 or 16 bytes, which is also the family of its clients."""
    number: int
    """The port of the inner host; the protocol stays."""
    masquerade: bool = False
    """Whether the inner host sees this host's address instead of the client's."""


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
    own_drop: bool = True
    """Whether we drop at all. Otherwise we only lead through the drop of others."""
    always_allow: tuple[Network, ...] = ()
    """Who reaches the protected ports without a grant."""
    grant_ports: tuple[Port, ...] = (Port(6, 22),)
    """Every port that a grant may name, those of `forwards` included."""
    forwards: tuple[Forward, ...] = ()
    """At most one for each port and family. Such a port is protected as well."""
    programs: tuple[str, str] = ("/sbin/ipfw", "/sbin/pfctl")
    """Where ipfw and pfctl are, for these two back ends."""
    ipfw_rule: int = 100
    """The first of the rule numbers that the ipfw back end uses."""
    trial: tuple[Port, ...] = ()
    """Ports that are dropped as well while `Firewall.hold` says so. None of them is in
    `protect`, and all are in `grant_ports`."""

    @property
    def dropped(self) -> tuple[Port, ...]:
        """What our own drop is for: no port if others own the drop."""
        ports = (*self.protect, *(forward.port for forward in self.forwards))
        return tuple(dict.fromkeys(ports)) if self.own_drop else ()


class Width(IntEnum):
    """How much one grant lets through. The smaller, the narrower."""

    FLOW = 1
    """The connection from one source port."""
    ONCE = 2
    """The first new connection, and no second one."""
    ADDRESS = 3
    """Every connection while the grant lasts."""

    @property
    def label(self) -> str:
        """The word for it in configuration, log and man pages."""
        return self.name.lower()


class Grant(NamedTuple):
    """Who may reach what."""

    address: bytes
    """The client's address: 4 or 16 bytes in network order."""
    port: Port
    width: Width = Width.ADDRESS
    source_port: int = 0
    """The client's source port, 1 to 65535, for `Width.FLOW`; 0 for the others."""


class ActiveGrant(NamedTuple):
    """A grant that the kernel holds."""

    grant: Grant
    seconds_left: int
    user: str = ""
    """Who was granted it last, where the packet filter can keep that."""


class Firewall(Protocol):
    """One packet filter. Every method may be repeated without harm.

    All of them but `unavailable` raise `FirewallError` when the packet filter refuses.
    """

    name: str
    expires_by_itself: bool
    """The kernel forgets a grant in time. Otherwise `sweep` has to delete it."""
    widths: frozenset[Width]
    """What this packet filter can enforce by itself. `ADDRESS` is always in it."""
    holds: bool
    """Whether `hold` ends by itself. Otherwise `Settings.trial` has to be empty."""

    def unavailable(self) -> str | None:
        """Say why this back end cannot work here, or None if it can."""

    def prepare(self) -> None:
        """Create what we own in one step without a gap; keep the grants that live.

        What others have and keeps granted packets out is an error, unless our drop is
        in place already: then who cannot start locks everybody out.
        """

    def hold(self, seconds: int) -> None:
        """Drop `Settings.trial` for `seconds` from now, and then no more.

        The kernel sees to the end, whatever becomes of us. Until this is called, and
        when `repair` has found something to mend, these ports are not dropped.
        """

    def grant(self, grant: Grant, seconds: int, user: str = "") -> None:
        """Let `grant` through for `seconds`. Granting again extends, never shortens.

        `user` (1 to 32 of A-Z a-z 0-9 . _ -, or empty) is who asked for it last. A
        width that is not in `widths` is an error.
        """

    def revoke(self, grant: Grant) -> None:
        """Take a grant back. Revoking what is gone is not an error."""

    def end_sessions(self, addresses: frozenset[bytes]) -> int:
        """End the connections of `addresses` to `Settings.grant_ports`; count them.

        The first address of a /64 stands for all of it. The caller has revoked the
        grants before; what is left of one that was used up goes as well.
        """

    def warnings(self) -> list[str]:
        """Say what may keep granted packets out all the same. Changes nothing."""

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
