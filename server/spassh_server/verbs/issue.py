"""How an invite gets to people: sealed if they want it, and as a QR code as well.

All that can fail, or has to be asked, comes before anything is changed.
"""

import os
from argparse import Namespace
from typing import Final

from spassh.protocol.errors import TextFormError
from spassh.protocol.invite import Invite, encode_invite
from spassh.protocol.limits import SALT_SIZE
from spassh.protocol.sealed_invite import seal_invite, spelled_passphrase
from spassh.verbs.terminal import ask_password

from .. import qr
from ..files import read_private
from ..limits import MIN_PASSPHRASE
from ..toml import ConfigError
from .errors import VerbError

TERMINAL: Final = "/dev/tty"


class Issuer:
    """Spells one invite, and shows it."""

    def __init__(self, options: Namespace) -> None:
        """Ask for the passphrase, and see that there is somewhere to show a code.

        Raises:
            VerbError: there is not, or nobody gave a passphrase that is good.
        """
        self._passphrase = _passphrase(options)
        self._line = ""
        self._code = ""
        self._wants_code: bool = options.qr
        if self._wants_code:
            _columns()

    def prepare(self, invite: Invite) -> None:
        """Spell `invite`.

        Raises:
            VerbError: there is no room for its code, or no memory for its seal.
        """
        if self._passphrase:
            try:
                salt = os.urandom(SALT_SIZE)
                self._line = seal_invite(invite, self._passphrase, salt)
            except MemoryError as error:
                raise VerbError(
                    "there is not enough memory for a passphrase",
                    "it takes 128 MiB for a moment",
                ) from error
        else:
            self._line = encode_invite(invite)
        if self._wants_code:
            self._code = _code(self._line)

    def show(self) -> None:
        """Print the invite, which is the only thing on standard output.

        The code goes to the terminal and nowhere else: it is as secret as the invite,
        and standard error may be a log.
        """
        print(self._line, flush=True)
        if self._code:
            with open(TERMINAL, "w", encoding="utf-8") as terminal:
                terminal.write(self._code)


def _passphrase(options: Namespace) -> str:
    """Return the passphrase that seals the invite; nothing if none is wanted."""
    if options.passphrase_file:
        passphrase = _read(options.passphrase_file)
    elif options.passphrase:
        passphrase = _ask()
    else:
        return ""
    try:
        spelled_passphrase(passphrase)
    except TextFormError as error:
        raise VerbError(str(error), "take another one") from error
    if len(passphrase) < MIN_PASSPHRASE:
        raise VerbError(
            f"the passphrase is too short: it takes {MIN_PASSPHRASE} letters",
            "whoever sees the invite can try as many as they like: take some words"
            " by chance",
        )
    return passphrase


def _read(path: str) -> str:
    try:
        text = read_private(path, secret=True)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise VerbError(str(error), "its first line is the passphrase") from error
        raise
    return text.partition("\n")[0].removesuffix("\r")


def _ask() -> str:
    passphrase = ask_password("passphrase for the invite: ")
    if passphrase is None:
        raise VerbError(
            "--passphrase: there is no terminal to ask on",
            "give it with --passphrase-file",
        )
    if ask_password("the same once more: ") != passphrase:
        raise VerbError("the two passphrases differ", "type it again")
    return passphrase


def _code(line: str) -> str:
    try:
        matrix = qr.encode(line)
    except ImportError as error:
        raise VerbError(
            "--qr: segno is not installed",
            "apt install python3-segno, or pip install 'spassh[qr]'",
        ) from error
    room = _columns()
    if 0 < room < qr.columns(matrix):
        raise VerbError(
            f"--qr: the code takes {qr.columns(matrix)} columns of the terminal, which"
            f" has {room}",
            "make the window wider, or the letters smaller",
        )
    return qr.render(matrix)


def _columns() -> int:
    """Return how many columns the terminal has; 0 if it does not say."""
    try:
        fd = os.open(TERMINAL, os.O_WRONLY | os.O_NOCTTY)
    except OSError as error:
        raise VerbError(
            "--qr: there is no terminal to show it on", "over ssh, 'ssh -t' makes one"
        ) from error
    try:
        return os.get_terminal_size(fd).columns
    finally:
        os.close(fd)
