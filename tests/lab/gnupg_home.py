"""The GnuPG home of a spasshd, with keys that a test has, and a gpg that counts."""

import os
import shutil
import tempfile

from spassh_server import config
from spassh_server.accounts import find_account

from .openpgp import Home, Party
from .programs import Spasshd

_COUNTING = """\
#!/bin/sh
case "$*" in *--decrypt*) echo decrypt >>{count};; esac
exec /usr/bin/gpg "$@"
"""


class GnupgHome:
    """What `spasshd` has before it starts. Its path is short, for the agent's sake."""

    def __init__(self, spasshd: Spasshd, who: Party, *others: Party) -> None:
        """Take the server's key of `who`, and the clients' keys of all."""
        self._place = tempfile.mkdtemp(prefix="spg")
        os.chmod(self._place, 0o755)  # noqa: S103 - as /var/lib is
        self.path = f"{self._place}/gnupg"
        ignored = shutil.ignore_patterns("S.*", "*.lock", ".#*")
        shutil.copytree(who.server.path, self.path, ignore=ignored)
        home = Home(self.path)
        for other in others:
            other.client.give(home, other.signer)
        home.stop()
        spasshd.edit('gnupg_dir = "gnupg"', f'gnupg_dir = "{self.path}"')
        # Where gpg can write: with Landlock, it can nowhere else.
        self._count = f"{self.path}/count"
        self._write_program(spasshd)
        account = find_account(config.load(spasshd.config))
        for directory, _, names in os.walk(self.path):
            for path in (directory, *(os.path.join(directory, one) for one in names)):
                os.chown(path, *account)

    def _write_program(self, spasshd: Spasshd) -> None:
        path = f"{self._place}/gpg"
        with open(path, "w", encoding="ascii") as file:
            file.write(_COUNTING.format(count=self._count))
        os.chmod(path, 0o755)  # noqa: S103 - the listener's account runs it
        with open(self._count, "w", encoding="ascii"):
            pass
        with open(spasshd.config, encoding="utf-8") as file:
            text = file.read()
        with open(spasshd.config, "w", encoding="utf-8") as file:
            file.write(f'gpg_path = "{path}"\n{text}')

    def messages_seen(self) -> int:
        """Count the OpenPGP messages that gpg was asked to open."""
        with open(self._count, encoding="ascii") as file:
            return len(file.readlines())

    def close(self) -> None:
        """Remove it, once its daemon has ended and left no agent."""
        assert not os.path.exists(f"{self.path}/S.gpg-agent")
        shutil.rmtree(self._place)
