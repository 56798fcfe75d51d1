"""What every back end asks of its arguments before they become text."""

from typing import Final

from . import FirewallError, Grant, Width

MAX_USER: Final = 32
"""Characters of a user name."""

_USER: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)


def check_seconds(seconds: int) -> int:
    """Return `seconds` if a grant may last that long.

    Raises:
        FirewallError: less than one. To nftables and to ipset, 0 means for ever.
    """
    if seconds < 1:
        raise FirewallError(f"a grant cannot last {seconds} seconds")
    return seconds


def check_width(grant: Grant, widths: frozenset[Width]) -> None:
    """Accept `grant` if it is of one of `widths`, and its source port goes with it.

    Raises:
        FirewallError: it is not, or does not.
    """
    width, source_port = grant.width, grant.source_port
    if width not in widths:
        raise FirewallError(f"{width.label}: grants cannot be as narrow as that here")
    known = 0 < source_port < 1 << 16 if width == Width.FLOW else not source_port
    if not known:
        raise FirewallError(f"{width.label}: not for source port {source_port}")


def check_user(user: str) -> str:
    """Return `user` if it is the name of one, or empty.

    Raises:
        FirewallError: it is something else.
    """
    if user and not is_user(user):
        raise FirewallError(f"not a user name: {user[:64]!r}")
    return user


def is_user(text: str) -> bool:
    """Tell whether `text` can be the name of a user."""
    return 0 < len(text) <= MAX_USER and _USER.issuperset(text)
