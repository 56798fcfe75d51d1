"""spasshd user add: a user's file, and the invite on standard output."""

import os
import socket
from argparse import Namespace

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError, Unauthentic
from spassh.protocol.invite import Invite
from spassh.protocol.keys import PSK, PUBLIC, decode_key, encode_key
from spassh.protocol.names import check_host, check_user

from .. import config, control, events
from ..daemon import load_server_keys
from ..files import write_new
from ..userfiles import owner_of_key, user_path
from ..users import User, parse_user
from .issue import Issuer
from .reload import NO_ANSWER_HINT, reload_running


def run(options: Namespace) -> int:
    """Add the user; the invite is the only thing on standard output."""
    settings = config.load(options.config)
    secret = b"" if options.key else os.urandom(32)
    try:
        name = check_user(options.name)
        address = check_host(
            options.address or settings.address or socket.gethostname()
        )
    except TextFormError as error:
        events.error(error)
        return 2
    for port in options.port:
        if port not in settings.grant_ports:
            events.error(
                f"--port: {port} is not in grant_ports of {settings.path}",
                f'add "{port}" there and restart spasshd, or leave the option out',
            )
            return 1
    try:
        public = (
            read_public_key(options.key) if options.key else PrivateKey(secret).public
        )
    except (TextFormError, Unauthentic) as error:
        events.error(f"--key: {error}", "give the line that 'spassh keygen' printed")
        return 2
    server = load_server_keys(settings)
    issuer = Issuer(options)
    owner = owner_of_key(settings, public)
    if owner and not _is_the_same(owner, options):
        events.error(
            f"the key belongs to user '{owner.name}' already",
            f"'spasshd user remove {owner.name}' first, or give another key",
        )
        return 1
    psk = owner.keys[0].psk if owner else os.urandom(32)
    invite = Invite(
        name, address, settings.knock_port, server.public, psk, public, secret
    )
    issuer.prepare(invite)
    if not owner and not _write(settings, options, invite):
        return 1
    issuer.show()
    if owner:
        events.say("note", text=f"user {name} has this key already: nothing was added")
    if not (options.address or settings.address):
        called = f"the invite calls this server {address}"
        events.say("note", text=f"{called}: --address names it otherwise")
    return tell_daemon(settings, name)


def _is_the_same(owner: User, options: Namespace) -> bool:
    """Tell whether the user who has the key is all that is asked for.

    Then somebody was interrupted, or does it all again, and needs the invite.
    """
    return (
        owner.name == options.name
        and len(owner.keys) == 1
        and frozenset(options.port) <= owner.ports
    )


def _write(settings: config.Config, options: Namespace, invite: Invite) -> bool:
    """Write the file of a new user; return False if there is one."""
    name = invite.user
    path = user_path(settings, name)
    ports = options.port or list(settings.grant_ports)
    text = _user_file(name, ports, invite.client, invite.psk)
    # Judged by the same reader that the daemon uses, before it is there to be read.
    parse_user(name, text, path, settings)
    os.makedirs(settings.users_dir, mode=0o700, exist_ok=True)
    try:
        write_new(path, text)
    except FileExistsError:
        events.error(
            f"user '{name}' exists already: {path}",
            f"'spasshd user remove {name}' first, or choose another name",
        )
        return False
    return True


def tell_daemon(settings: config.Config, name: str) -> int:
    """Have a running daemon take the user over; return the exit status."""
    try:
        reload_running(settings)
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        events.say("note", text=f"user {name} is taken over when spasshd starts")
    return 0


def read_public_key(text: str) -> bytes:
    """Read a client's public key.

    Raises:
        TextFormError: it is none.
        Unauthentic: nobody can have its secret half.
    """
    public = decode_key(PUBLIC, text)
    try:
        PrivateKey(os.urandom(32)).exchange(public)
    except Unauthentic as error:
        raise Unauthentic("not a usable key") from error
    return public


def _user_file(name: str, ports: list[object], public: bytes, psk: bytes) -> str:
    listed = ", ".join(f'"{port}"' for port in ports)
    return f"""\
# User {name} of spasshd: see spasshd.toml(5). 'spasshd reload' takes changes over.
ports = [{listed}]
# lifetime = 15             # seconds of a grant
# max_lifetime = 15         # seconds, the most that a request can ask for
# sources = ["192.0.2.0/24"]  # networks that packets may come from
# any_address = false       # may let in another address than the packet's source
# widths = ["flow", "address"]  # see spasshd.toml(5)
# expires = 2030-01-31      # from then on nothing is granted
{key_table(public, psk)}"""


def key_table(public: bytes, psk: bytes) -> str:
    """Spell a key as an entry of a user's file."""
    return f"""
[[key]]
public = "{encode_key(PUBLIC, public)}"
psk = "{encode_key(PSK, psk)}"
"""
