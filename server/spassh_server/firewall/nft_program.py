"""The program `nft`, for hosts that have it and no library of its version."""

from typing import Any

from .libnftables import parse_listing
from .run import run


class NftProgram:
    """What `LibNftables` does, with a process for each thing: some 2 ms."""

    def run(self, script: str) -> None:
        """Apply `script` as one transaction.

        Raises:
            FirewallError: it was refused, and nothing of it was applied.
        """
        run("nft", "-f", "-", stdin=script.encode())

    def check(self, script: str) -> None:
        """Have the kernel judge `script` without applying it.

        Raises:
            FirewallError: it would be refused.
        """
        run("nft", "-c", "-f", "-", stdin=script.encode())

    def read(self, command: str, kind: str) -> list[dict[str, Any]]:
        """Return the objects of one `kind`, such as "chain", that `command` lists.

        Raises:
            FirewallError: there is no such thing to list.
        """
        return parse_listing(run("nft", "-j", "-p", *command.split()), kind)
