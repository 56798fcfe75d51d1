"""What ssh runs as its ProxyCommand. From the profile to the handover, in order."""

import gc
import os
from collections.abc import Callable
from typing import NamedTuple

from . import connect, handover
from .private import config_home
from .profile import Profile, find, load_keys
from .resolve import Address, Resolving, SocketAddress
from .ui import Tell


class Clocks(NamedTuple):
    """The two clocks, which only `cli` reads by itself."""

    monotonic: Callable[[], float]
    """Seconds since some moment."""
    utc_ms: Callable[[], int]
    """Milliseconds since 1970-01-01 UTC."""


def proxy(host: str, port: int, clocks: Clocks, tell: Tell, *, fdpass: bool) -> None:
    """Connect ssh to the port, through the firewall if a profile names the host.

    Raises:
        SpasshError: it did not work.
    """
    resolving = Resolving(host, port)
    home = config_home()
    profile = find(home, host)
    if profile is None:
        tell(f"no profile names {host}: connecting without a knock")
        sock = connect.plainly(connect.Target(host, port, resolving.wait()), tell)
    else:
        tell(f"profile {profile.path}")
        knock = _knocker(profile, home, port, clocks)
        target = connect.Target(host, port, resolving.wait())
        tell(f"{host} is at " + ", ".join(map(str, target.addresses)))
        sock = connect.through(target, knock, clocks.monotonic, profile.timeout, tell)
    if fdpass and handover.can_pass():
        handover.pass_socket(sock)
    else:
        gc.enable()  # A relay may live for days.
        handover.relay(sock)


def _knocker(
    profile: Profile, home: str, port: int, clocks: Clocks
) -> Callable[[Address], SocketAddress]:
    """Load the keys and seal the first knock while the name is being resolved."""
    keys = load_keys(profile, home)
    # Half of the time of a login's start: it comes last, and only where it is needed.
    from .knock import Knocker

    return Knocker(profile, keys, port, clocks.utc_ms, os.urandom).knock
