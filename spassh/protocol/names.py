"""Which names of users, hosts and OpenPGP keys are taken from a text."""

from .errors import TextFormError
from .limits import MAX_NAME

_ALPHANUMERIC = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)
_USER = _ALPHANUMERIC | frozenset("._-")
_HOST = _USER | frozenset(":%")

_MAX_HOST = 253

FINGERPRINT_SIZE = 40
"""Hexadecimal digits of an OpenPGP key's whole fingerprint."""
_HEX = frozenset("0123456789ABCDEFabcdef")


def check_user(name: str) -> str:
    """Return `name` if it can be a user's name, which is a file's name as well.

    Raises:
        TextFormError: empty, too long, or a character that a name cannot have.
    """
    if not 0 < len(name) <= MAX_NAME or not _USER.issuperset(name) or name[0] in ".-":
        raise TextFormError(
            f"not a user name: {name[:64]!r} (1 to {MAX_NAME} of A-Z a-z 0-9 . _ -,"
            " the first neither . nor -)"
        )
    return name


def check_host(name: str) -> str:
    """Return `name` if it can be a host name or an IP address literal.

    Raises:
        TextFormError: empty, too long, or a character that a host cannot have.
    """
    if not 0 < len(name) <= _MAX_HOST or not _HOST.issuperset(name) or name[0] in ".-":
        raise TextFormError(
            f"not a host name or address: {name[:64]!r}"
            " (write a name with other letters in its xn-- form)"
        )
    return name


def is_fingerprint(text: str) -> bool:
    """Tell whether `text` is a whole fingerprint: what is shorter can be anybody's."""
    return len(text) == FINGERPRINT_SIZE and _HEX.issuperset(text)
