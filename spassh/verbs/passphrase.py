"""The passphrase of a sealed invite."""

from typing import Final

from ..errors import ProfileError, SpasshError
from ..private import PrivateFile
from ..protocol.errors import TextFormError
from ..protocol.invite import Invite
from ..protocol.sealed_invite import (
    SealedInvite,
    WrongPassphraseError,
    open_sealed,
    spelled_passphrase,
)
from ..ui import write
from .terminal import ask_password

_TRIES: Final = 3


def unseal(sealed: SealedInvite, file: str) -> Invite:
    """Open an invite with the passphrase in `file`; empty asks on the terminal.

    Raises:
        TextFormError: what is inside is no invite.
        SpasshError: it stays shut.
    """
    passphrase = _read(file) if file else _ask()
    tries = 1
    while True:
        try:
            return _open(sealed, passphrase)
        except WrongPassphraseError as error:
            if file or tries == _TRIES:
                raise SpasshError(
                    "the passphrase is wrong",
                    "it is the one that was chosen with the invite, on the server",
                ) from error
        write("that is not it")
        tries += 1
        passphrase = _ask()


def _open(sealed: SealedInvite, passphrase: str) -> Invite:
    try:
        spelled_passphrase(passphrase)
    except TextFormError as error:
        # Nothing was ever sealed with that.
        raise WrongPassphraseError(str(error)) from error
    try:
        return open_sealed(sealed, passphrase)
    except MemoryError as error:
        raise SpasshError(
            "there is not enough memory for a passphrase",
            "it takes 128 MiB for a moment",
        ) from error


def _read(path: str) -> str:
    try:
        file = PrivateFile(path)
    except FileNotFoundError as error:
        raise ProfileError(
            path, "no such file", "its first line is the passphrase"
        ) from error
    file.check()
    return file.text.partition("\n")[0].removesuffix("\r")


def _ask() -> str:
    passphrase = ask_password("passphrase of the invite: ")
    if passphrase is None:
        raise SpasshError(
            "the invite takes a passphrase, and there is no terminal to ask for it",
            "give it with --passphrase-file",
        )
    return passphrase
