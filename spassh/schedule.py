"""When to knock and when to dial. Pure: no I/O, and the time is an argument.

A knock and the SYN after it race to the server, and either can be lost. The kernel
would repeat a SYN after a whole second, so unanswered ones are replaced by fresh
sockets instead, soon at first. The older sockets stay: on a slow path their answer is
already on its way.

A narrow knock names the source port of the one dial that follows it, so that the server
lets in no other. Who dials again knocks again, and leaves more time in between: some
packet filters take 20 ms to open. A wide knock names none, and is for several dials.

    seconds  0       .004  .06     .09   .25     .31   .5    .504  .53   1 … 2 … 4 … 7 …
             narrow  dial  narrow  dial  narrow  dial  wide  dial  dial  in turn
"""

from __future__ import annotations

from .protocol.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KNOCKS: Final = (0.0, 0.06, 0.25, 0.5, 1.0, 2.0, 4.0, 7.0)
"""When an address is knocked at, in seconds since its own beginning. Most servers have
answered before the second, so that one knock is all there is."""

KNOCK_INTERVAL: Final = 5.0
"""Seconds from one knock to the next after the last of `KNOCKS`."""

GAPS: Final = (0.004, 0.03, 0.06)
"""Seconds from a narrow knock to its dial, in the first rounds and from then on: a
server needs 1 to 3 ms to open the port, and a slow one 25."""

WIDE_DIALS: Final = (0.004, 0.03)
"""When to dial after a wide knock."""

SIGNED_KNOCKS: Final = (0.0, 0.7, 2.0, 5.0)
SIGNED_GAPS: Final = (0.08, 0.15, 0.3)
SIGNED_WIDE_DIALS: Final = (0.08, 0.3)
"""The same where requests are signed: gpg takes 10 to 40 ms on the server, which lets a
user have a few in a second, and somebody may have to touch a card for each."""
SLOW_MS: Final = 10_000
"""Who has typed a passphrase for so long has used up too much of a packet's time."""

FALL_BACK: Final = 0.5
"""Seconds after which every other knock is a wide one, unless all of them are to be
narrow. A NAT may rewrite the ports of TCP and keep those of UDP, and then a server
lets in a flow that never comes."""

PATIENCE: Final = 1.0
"""A refusal is final only if it answers a dial that was made so long after the
beginning: until then it may come from the firewall, not from the host."""

NEXT_ADDRESS: Final = 0.25
"""Seconds until the next address is tried as well (RFC 8305 section 5)."""


class Width:
    """Which knocks are narrow, in the words of spassh.toml(5)."""

    AUTO: Final = "auto"
    FLOW: Final = "flow"
    ADDRESS: Final = "address"


class Action:
    """What there is to do for an address."""

    KNOCK: Final = "knock"
    KNOCK_WIDE: Final = "knock, without a source port"
    DIAL: Final = "dial"


class Step(NamedTuple):
    """Do `action`, one of `Action`, for the address with this index."""

    action: str
    address: int


class Plan(NamedTuple):
    """How each address is gone about."""

    timeout: float
    """Seconds after which there is nothing left to hope for."""
    width: str = Width.AUTO
    """One of `Width`."""
    knocks: tuple[float, ...] = KNOCKS
    """As `KNOCKS`: it begins with 0 and grows."""
    gaps: tuple[float, ...] = GAPS
    wide_dials: tuple[float, ...] = WIDE_DIALS

    def knock_time(self, number: int) -> float:
        """Return when knock `number` is due, in seconds since the beginning."""
        late = number - len(self.knocks) + 1
        if late <= 0:
            return self.knocks[number]
        return self.knocks[-1] + late * KNOCK_INTERVAL

    def is_narrow(self, number: int) -> bool:
        """Tell whether knock `number` names a source port."""
        if self.width != Width.AUTO:
            return self.width == Width.FLOW
        early = sum(1 for at in self.knocks if at < FALL_BACK)
        return number < early or (number - early) % 2 == 1

    def dials(self, number: int) -> tuple[float, ...]:
        """Return when to dial, in seconds since knock `number`."""
        if not self.is_narrow(number):
            return self.wide_dials
        # A dial whose turn comes after the next knock would never be made.
        room = (self.knock_time(number + 1) - self.knock_time(number)) / 2
        return (min(room, self.gaps[min(number, len(self.gaps) - 1)]),)


class _Track:
    """How far one address has come."""

    __slots__ = ("_plan", "began", "dials", "failed", "knocked", "round")

    def __init__(self, plan: Plan, began: float) -> None:
        self._plan = plan
        self.began = began
        self.round = -1
        self.knocked = began
        self.dials: tuple[float, ...] = ()
        self.failed = False

    def next_step(self, now: float) -> str | None:
        """Return what is due, as done. Steps that were slept through are left out."""
        if self.failed:
            return None
        due = self.round
        while self.began + self._plan.knock_time(due + 1) <= now:
            due += 1
        if due > self.round:
            self.round, self.knocked = due, now
            self.dials = self._plan.dials(due)
            narrow = self._plan.is_narrow(due)
            return Action.KNOCK if narrow else Action.KNOCK_WIDE
        if self.dials and self.knocked + self.dials[0] <= now:
            self.dials = tuple(at for at in self.dials if self.knocked + at > now)
            return Action.DIAL
        return None

    def next_time(self) -> float:
        """Return when the next step is due."""
        knock = self.began + self._plan.knock_time(self.round + 1)
        return min(knock, self.knocked + self.dials[0]) if self.dials else knock


class Schedule:
    """The order of knocks and dials for a list of addresses, best first."""

    def __init__(self, addresses: int, began: float, plan: Plan) -> None:
        """Follow `plan` for that many addresses from `began` on."""
        self.deadline = began + plan.timeout
        self._plan = plan
        self._waiting = addresses
        self._tracks: list[_Track] = []
        self._next_start = began

    def over(self, now: float) -> bool:
        """Tell whether nothing is left to hope for."""
        failed = all(track.failed for track in self._tracks)
        return now >= self.deadline or (failed and not self._waiting)

    def wait(self, now: float) -> float:
        """Return the seconds until there is a step to do, or until the end."""
        times = [track.next_time() for track in self._tracks if not track.failed]
        if self._waiting:
            times.append(self._next_start)
        return max(0.0, min([self.deadline, *times]) - now)

    def step(self, now: float) -> Step | None:
        """Return one step that is due, and count it as done; None if none is."""
        if self._waiting and self._next_start <= now:
            self._waiting -= 1
            self._next_start = now + NEXT_ADDRESS
            self._tracks.append(_Track(self._plan, now))
        for address, track in enumerate(self._tracks):
            action = track.next_step(now)
            if action:
                return Step(action, address)
        return None

    def knocked(self, address: int, now: float) -> None:
        """Take note that the knock is sent: sealing it took a moment."""
        self._tracks[address].knocked = now

    def refused(self, address: int, dialled: float, now: float) -> bool:
        """Take note that a dial of that time failed; tell whether that is final."""
        if dialled - self._tracks[address].began < PATIENCE:
            return False
        self.hopeless(address, now)
        return True

    def hopeless(self, address: int, now: float) -> None:
        """Give `address` up; if it was the latest, the next one's turn is now."""
        self._tracks[address].failed = True
        if address == len(self._tracks) - 1:
            self._next_start = min(self._next_start, now)
