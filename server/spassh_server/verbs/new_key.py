"""A new key of a user: given by the client, or made here and put into an invite."""

import os
import socket
from argparse import Namespace
from typing import NamedTuple

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError, Unauthentic
from spassh.protocol.invite import Invite
from spassh.protocol.keys import PUBLIC, decode_key
from spassh.protocol.names import check_host, check_user

from .. import control, events
from ..clock import now_ms
from ..config import Config
from ..daemon import load_server_keys
from ..key_tables import key_table
from .errors import VerbError
from .reload import NO_ANSWER_HINT, reload_running

DAY_MS = 86_400_000


class NewKey(NamedTuple):
    """What the command line says of it."""

    user: str
    address: str
    """How the invite calls this server."""
    public: bytes
    secret: bytes
    """Empty if the client has made the key."""
    expires: int
    """Milliseconds since 1970-01-01 UTC; 0 for no end."""

    def invite(self, settings: Config, psk: bytes) -> Invite:
        """Return what the client is to know of the key and of this server.

        Raises:
            ConfigError: the server's own key cannot be read.
        """
        server = load_server_keys(settings).public
        port = settings.knock_port
        return Invite(
            self.user, self.address, port, server, psk, self.public, self.secret
        )

    def table(self, psk: bytes) -> str:
        """Spell it as an entry of the user's file."""
        is_invite = bool(self.secret)
        return key_table(self.public, psk, invite=is_invite, expires=self.expires)


def new_key(options: Namespace, settings: Config) -> NewKey:
    """Read the command line, and make a key if none is given.

    Raises:
        VerbError: something on it is wrong.
    """
    try:
        name = check_user(options.name)
        address = check_host(
            options.address or settings.address or socket.gethostname()
        )
    except TextFormError as error:
        raise VerbError(str(error), "see 'spasshd user --help'", 2) from error
    expires = now_ms() + options.valid_for * DAY_MS if options.valid_for else 0
    if not options.key:
        secret = os.urandom(32)
        return NewKey(name, address, PrivateKey(secret).public, secret, expires)
    if expires:
        raise VerbError(
            "--valid-for is for a key that is made here", "leave out --key, or it", 2
        )
    return NewKey(name, address, public_key("--key", options.key), b"", 0)


def public_key(option: str, text: str) -> bytes:
    """Read a client's public key, which `option` has given.

    Raises:
        VerbError: it is none, or nobody can have its secret half.
    """
    try:
        public = decode_key(PUBLIC, text)
        PrivateKey(os.urandom(32)).exchange(public)
    except (TextFormError, Unauthentic) as error:
        low_order = isinstance(error, Unauthentic)
        reason = "not a usable key" if low_order else str(error)
        hint = "give the line that 'spassh keygen' printed"
        raise VerbError(f"{option}: {reason}", hint, 2) from error
    return public


def tell_daemon(settings: Config, name: str) -> int:
    """Have a running daemon take the user over; return the exit status."""
    try:
        reload_running(settings)
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        events.say("note", text=f"user {name} is taken over when spasshd starts")
    return 0
