"""Choose the packet filter that this host has."""

import os
from collections.abc import Callable
from typing import Final

from . import Clock, Firewall, FirewallError, Settings
from .ipfw_design import make_ipfw
from .iptables import Iptables
from .left_behind import left_behind
from .nftables import Nftables
from .pf import Pf

_HINT: Final = "apt install nftables, or iptables and ipset"
_ON_LINUX: Final = ("nftables", "iptables")

_MAKERS: Final[dict[str, Callable[[Settings, Clock], Firewall]]] = {
    "nftables": lambda settings, _clock: Nftables(settings),
    "iptables": Iptables,
    "ipfw": make_ipfw,
    "pf": Pf,
}

BACKENDS: Final = tuple(_MAKERS)
"""The names of the back ends. "auto" takes the first that works."""


def choose(backend: str, settings: Settings, clock: Clock) -> tuple[Firewall, str]:
    """Return the back end of that name, and a sentence that says why it is this one.

    Args:
        backend: one of BACKENDS, or "auto".
        settings: what the back end is told.
        clock: what it uses to end grants that the kernel does not end by itself.

    Raises:
        FirewallError: it does not work here, or none does.
    """
    if os.geteuid() != 0:
        raise FirewallError("the packet filter takes root", "run this as root")
    if backend == "auto":
        return _first_that_works(settings, clock)
    firewall = _MAKERS[backend](settings, clock)
    reason = firewall.unavailable()
    if reason is not None:
        hint = _HINT if backend in _ON_LINUX else ""
        raise FirewallError(f"{backend} does not work here: {reason}", hint)
    return firewall, f"{backend}, because the configuration names it"


def _first_that_works(settings: Settings, clock: Clock) -> tuple[Firewall, str]:
    reasons: list[str] = []
    for backend in BACKENDS:
        firewall = _MAKERS[backend](settings, clock)
        reason = firewall.unavailable()
        if reason is None:
            others = f", and {'; '.join(reasons)}" if reasons else ""
            return firewall, f"{backend}, because it works here{others}"
        reasons.append(f"{backend} does not: {reason}")
    raise FirewallError(f"no packet filter works here: {'; '.join(reasons)}", _HINT)


def others(used: Firewall, settings: Settings, clock: Clock) -> list[Firewall]:
    """Return the back ends that may have rules of ours, but for the one in use."""
    try:
        left = left_behind(settings)
    except FirewallError:
        left = frozenset()  # a guard that stands is worth more than to know
    made = _suspects(left, settings, clock)
    return [one for one in made if one.name != used.name]


def with_rules(backend: str, settings: Settings, clock: Clock) -> list[Firewall]:
    """Return the back ends that may have rules of ours here.

    They are those that work; and of those that do not, the one that is configured,
    which is `backend`, and each of which the kernel has rules. To remove them fails
    then, and whoever tries is told why.

    Raises:
        NotPermittedError: the packet filter of this network is not ours to change.
        FirewallError: the kernel does not say what it has.
    """
    return _suspects(left_behind(settings) | {backend}, settings, clock)


def _suspects(left: frozenset[str], settings: Settings, clock: Clock) -> list[Firewall]:
    made = [make(settings, clock) for make in _MAKERS.values()]
    return [one for one in made if one.name in left or one.unavailable() is None]
