"""What ssh runs as its ProxyCommand. From the profile to the handover, in order."""

from __future__ import annotations

import gc
import os

from . import connect, handover
from .patterns import Wanted
from .private import config_home
from .profile import Profile, find, load_keys
from .protocol.named_tuple import NamedTuple
from .resolve import Resolving
from .schedule import KNOCKS, SIGNED_GAPS, SIGNED_KNOCKS, SIGNED_WIDE_DIALS, Plan
from .ui import Tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Clocks(NamedTuple):
    """The two clocks, which only `cli` reads by itself."""

    monotonic: Callable[[], float]
    """Seconds since some moment."""
    utc_ms: Callable[[], int]
    """Milliseconds since 1970-01-01 UTC."""


def proxy(
    wanted: Wanted, port: int, clocks: Clocks, tell: Tell, *, fdpass: bool
) -> None:
    """Connect ssh to the port, through the firewall if a profile names the host.

    Raises:
        SpasshError: it did not work.
    """
    host = wanted.host
    resolving = Resolving(host, port)
    home = config_home()
    profile = find(home, wanted)
    if profile is None:
        tell(f"no profile names {host}: connecting without a knock")
        sock = connect.plainly(connect.Target(host, port, resolving.wait()), tell)
    else:
        tell(f"profile {profile.path}")
        if profile.name:
            host = profile.name
            resolving = Resolving(host, port)
        plan = _plan(profile)
        knock = _knocker(profile, home, port, clocks, plan)
        target = connect.Target(host, port, resolving.wait())
        tell(f"{host} is at " + ", ".join(map(str, target.addresses)))
        sock = connect.through(target, knock, clocks.monotonic, plan, tell)
    if fdpass and handover.can_pass():
        handover.pass_socket(sock)
    else:
        gc.enable()  # A relay may live for days.
        handover.relay(sock)


def _plan(profile: Profile) -> Plan:
    knocks = tuple(milliseconds / 1000 for milliseconds in profile.schedule)
    plan = Plan(profile.timeout, profile.width, knocks or KNOCKS)
    if profile.is_signed:
        plan = plan._replace(
            knocks=knocks or SIGNED_KNOCKS,
            gaps=SIGNED_GAPS,
            wide_dials=SIGNED_WIDE_DIALS,
        )
    return plan


def _knocker(
    profile: Profile, home: str, port: int, clocks: Clocks, plan: Plan
) -> connect.Knock:
    """Load the keys and seal the first knock while the name is being resolved."""
    if profile.fwknop:
        from .fwknop import FwknopKnocker

        return FwknopKnocker(
            profile, profile.fwknop, port, clocks.utc_ms, os.urandom
        ).knock
    keys = load_keys(profile, home)
    # Half of the time of a login's start: it comes last, and only where it is needed.
    from .knock import Knocker

    narrow = plan.is_narrow(0)
    knocker = Knocker(profile, keys, port, clocks.utc_ms, os.urandom, narrow=narrow)
    return knocker.knock
