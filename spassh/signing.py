"""Requests signed by the user's own OpenPGP key, through python-gnupg.

gpg asks the user's agent, which has the passphrase or asks for it by itself: on the
terminal or the screen, and never on standard input, which is ssh's.
"""

from __future__ import annotations

import os

from .errors import ProfileError
from .protocol.limits import MAX_MESSAGE
from .protocol.packet import ephemeral_spelling, seal_payload
from .protocol.signed import encode_signed, encode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from .profile import Profile
    from .protocol.packet import ClientKeys
    from .protocol.request import Request

_OPTIONS: Final = (
    # What gpg.conf says would change the size of the message, or more.
    "--no-options",
    # Both keys are named by their whole fingerprints.
    *("--trust-model", "always"),
    "--no-auto-check-trustdb",
    *("--no-auto-key-locate", "--disable-dirmngr"),
)
_UNCOMPRESSED: Final = ("-z", "0")
_STDERR: Final = 2


class Pen:
    """Signs and encrypts texts by a key of the user's, for a key of a server's."""

    __slots__ = ("_gpg", "_path", "_server", "_signer")

    def __init__(self, path: str, signer: str, server: str) -> None:
        """Take the fingerprints of both keys, and what names them.

        Raises:
            ProfileError: there is no GnuPG here.
        """
        self._path = path
        self._signer, self._server = signer, server
        self._gpg = open_gnupg(path)

    def sign(self, text: bytes) -> bytes:
        """Return `text` as an OpenPGP message, binary.

        Raises:
            ProfileError: gpg does not sign it.
        """
        result = self._gpg.encrypt(
            text,
            [self._server],
            # A name here would be --default-key: another one, if that is not there.
            sign=True,
            armor=False,
            extra_args=["--local-user", self._signer, *_UNCOMPRESSED],
        )
        if not result.ok or not result.data:
            raise ProfileError(
                self._path,
                f"gpg does not sign: {_complaint(result)}",
                f"see that 'gpg --sign --local-user {self._signer}' works, and that"
                f" 'gpg --list-keys {self._server}' has the server's key",
            )
        return bytes(result.data)


class Signer:
    """Signs and encrypts requests for one server."""

    __slots__ = ("_path", "_pen")

    def __init__(self, profile: Profile) -> None:
        """Take the two keys that `profile` names.

        Raises:
            ProfileError: there is no GnuPG here.
        """
        self._path = profile.path
        self._pen = Pen(profile.path, profile.gnupg_key, profile.gnupg_server)

    def seal(self, request: Request, keys: ClientKeys, randomness: bytes) -> bytes:
        """Make the datagram for `request`, 1200 bytes, as `packet.seal` does.

        Raises:
            ProfileError: gpg does not sign it, or that is too long for a datagram.
            Malformed, Unauthentic, ValueError: as `packet.seal`.
        """
        ephemeral = ephemeral_spelling(randomness)
        message = self._pen.sign(encode_text(request, keys.server, ephemeral))
        if len(message) > MAX_MESSAGE:
            raise ProfileError(
                self._path,
                f"the signed request has {len(message)} bytes, and {MAX_MESSAGE} fit"
                " into a datagram",
                "sign with a smaller key: Ed25519, or RSA of up to 3072 bits"
                if not request.command
                else "send a shorter command, or sign with a smaller key",
            )
        return seal_payload(encode_signed(request.time, message), keys, randomness)


def open_gnupg(path: str) -> Any:
    """Return python-gnupg for the user's own keys.

    Raises:
        ProfileError: it is not there, or there is no gpg. `path` is what needs it.
    """
    try:
        import logging

        import gnupg
    except ImportError as error:
        raise ProfileError(
            path,
            "python-gnupg is not installed",
            "apt install python3-gnupg, or pip install 'spassh[gnupg]'",
        ) from error
    # Standard error is the user's terminal, and what went wrong is told once.
    logging.getLogger("gnupg").disabled = True
    if "GPG_TTY" not in os.environ and os.isatty(_STDERR):
        # The agent asks for a passphrase there, if there is no screen.
        os.environ["GPG_TTY"] = os.ttyname(_STDERR)
    try:
        gpg = gnupg.GPG(options=list(_OPTIONS))
    except (OSError, ValueError) as error:
        raise ProfileError(
            path, "gpg cannot be run", "install GnuPG: apt install gpg gpg-agent"
        ) from error
    # Every byte is a character: nothing that gpg prints is an error of ours.
    gpg.encoding = "latin-1"
    return gpg


def _complaint(result: Any) -> str:
    """Return the last line that gpg has for people: what it failed of."""
    lines = str(getattr(result, "stderr", "")).splitlines()
    said = [line.removeprefix("gpg: ") for line in lines if line.startswith("gpg: ")]
    return said[-1] if said else str(result.status or "it says nothing")
