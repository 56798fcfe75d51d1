"""What every back end asks of its arguments before they become text."""

from . import FirewallError


def check_seconds(seconds: int) -> int:
    """Return `seconds` if a grant may last that long.

    Raises:
        FirewallError: less than one. To nftables and to ipset, 0 means for ever.
    """
    if seconds < 1:
        raise FirewallError(f"a grant cannot last {seconds} seconds")
    return seconds
