"""One name for two designs: "ipfw" is the one that this host's program can do."""

from . import Clock, Firewall, Settings
from .ipfw import Ipfw
from .ipfw_sets import IpfwSets


def make_ipfw(settings: Settings, clock: Clock) -> Firewall:
    """Return the back end with tables if they work here, or else the one without."""
    tables = Ipfw(settings, clock)
    return tables if tables.unavailable() is None else IpfwSets(settings, clock)
