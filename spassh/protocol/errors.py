"""Why bytes were not accepted. Each class is one outcome of the vector files."""


class PacketError(Exception):
    """A datagram was not accepted. The server counts it and stays silent.

    `PacketError` and its subclasses are the only exceptions that opening a datagram
    may raise, whatever its bytes are.
    """

    outcome = "rejected"
    """Stable name of this outcome: in counters, logs and vector files."""


class NotOurs(PacketError):
    """Not a datagram for this server: wrong size, mac or tag. Anybody can send it."""

    outcome = "not-ours"


class Unauthentic(PacketError):
    """The handshake failed: unknown client key, wrong pre-shared key, altered bytes."""

    outcome = "unauthentic"


class Malformed(PacketError):
    """Authentic, but the payload breaks a rule of PROTOCOL.md section 5."""

    outcome = "malformed"


class Stale(PacketError):
    """Authentic, but its time lies outside the window around the server's clock."""

    outcome = "stale"


class Replayed(PacketError):
    """Authentic, but this very datagram was accepted before."""

    outcome = "replayed"
    same_source = False
    """Whether it came from the same address before: a duplicate of the network."""


class TextFormError(ValueError):
    """A key, an invite (PROTOCOL.md section 7) or a finding is not in its text form."""
