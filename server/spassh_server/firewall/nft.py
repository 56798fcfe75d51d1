"""How nftables is spoken to: by its library, or where that is missing, its program."""

from typing import Any, Protocol

from . import FirewallError
from .libnftables import LibNftables
from .nft_program import NftProgram


class Nft(Protocol):
    """Both ways. Every method raises `FirewallError` when nftables cannot do it."""

    def run(self, script: str) -> None:
        """Apply `script` as one transaction: all of it, or nothing."""

    def check(self, script: str) -> None:
        """Have the kernel judge `script` without applying it."""

    def read(self, command: str, kind: str) -> list[dict[str, Any]]:
        """Return the objects of one `kind`, such as "chain", that `command` lists."""


def best() -> Nft:
    """Return the library if it is there: it costs no process for each grant."""
    library = LibNftables()
    try:
        library.load()
    except FirewallError:
        return NftProgram()
    return library
