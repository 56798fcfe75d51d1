"""Wait for what spasshd has counted."""

from lab.network import wait_for
from lab.site import Site


def counted(site: Site, name: str) -> int:
    """Return a counter of the daemon."""
    return site.counters().get(name, 0)


def wait_counted(site: Site, name: str, least: int) -> None:
    """Wait until a counter is so high."""
    wait_for(lambda: counted(site, name) >= least, f"{least} {name}", interval=0.005)
