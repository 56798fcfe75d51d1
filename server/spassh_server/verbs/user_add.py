"""spasshd user add: a user's file, and the invite on standard output."""

import os
from argparse import Namespace

from .. import config, events
from ..config import Config
from ..files import write_new
from ..key_tables import with_key
from ..lock import is_alive
from ..openpgp.home import Added, add_key, read_key
from ..userfiles import locked, owner_of_key, user_path
from ..users import User, UserKey, parse_user
from .errors import VerbError
from .issue import Issuer
from .new_key import NewKey, new_key, public_key, tell_daemon
from .user_file import UserFile, load, rewrite


def run(options: Namespace) -> int:
    """Add the user or a key; the invite is the only thing on standard output."""
    settings = config.load(options.config)
    key = new_key(options, settings)
    beside = public_key("--beside", options.beside) if options.beside else b""
    _check_ports(settings, options)
    openpgp = _openpgp(settings, options)
    fingerprint = openpgp.fingerprint if openpgp else ""
    issuer = Issuer(options)
    os.makedirs(settings.users_dir, mode=0o700, exist_ok=True)
    with locked(settings):
        known = _known(owner_of_key(settings, key.public), key, options)
        psk = known.psk if known else os.urandom(32)
        issuer.prepare(key.invite(settings, psk))
        if known and fingerprint:
            _sign_from_now_on(settings, key.user, fingerprint)
        elif not known and beside:
            _write_beside(settings, key, psk, beside)
        elif not known and (file := _moving_over(settings, key.user, options)):
            text = with_key(_signing(fingerprint) + file.text, key.table(psk))
            rewrite(settings, file, text)
            moved = f"the key of {key.user} is beside those for packets of fwknop"
            events.say("note", text=f"{moved}: they go on, until they are taken out")
        elif not known:
            ports = options.port or list(settings.grant_ports)
            _write(settings, key, psk, _user_file(key.user, ports, fingerprint))
    issuer.show()
    if openpgp:
        print(openpgp.server, end="", flush=True)
    if known:
        text = f"user {key.user} has this key already: nothing was added"
        events.say("note", text=text)
    if not (options.address or settings.address):
        called = f"the invite calls this server {key.address}"
        events.say("note", text=f"{called}: --address names it otherwise")
    status = tell_daemon(settings, key.user)
    if openpgp and openpgp.is_new and is_alive(settings):
        text = "restart spasshd: it has begun without gpg, and refuses signed requests"
        events.say("note", text=text)
    return status


def _openpgp(settings: Config, options: Namespace) -> Added | None:
    """Take the OpenPGP key of the command line in, if there is one.

    Raises:
        VerbError: it does not go with another option, or cannot be read.
        GpgError: gpg does not take it.
    """
    if not options.gnupg:
        return None
    if options.beside:
        raise VerbError(
            "--gnupg: with --beside, the user signs as before", "leave it out", 2
        )
    try:
        data = read_key(options.gnupg)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise VerbError(
            f"--gnupg: {options.gnupg}: {reason}",
            "write the file with 'gpg --export --armor KEYID'",
        ) from error
    return add_key(settings, data)


def _sign_from_now_on(settings: Config, name: str, fingerprint: str) -> None:
    """Have a user who is there already sign all requests with this key.

    Raises:
        VerbError: the user signs with others.
    """
    file = load(settings, name)
    if fingerprint in file.user.gnupg:
        return
    if file.user.gnupg:
        raise VerbError(
            f"user '{name}' signs with another OpenPGP key",
            f"add {fingerprint} to gnupg in {file.path}",
        )
    rewrite(settings, file, _signing(fingerprint) + file.text)


def _check_ports(settings: Config, options: Namespace) -> None:
    for port in options.port:
        if port not in settings.grant_ports:
            raise VerbError(
                f"--port: {port} is not in grant_ports of {settings.path}",
                f'add "{port}" there and restart spasshd, or leave the option out',
            )
    if options.port and options.beside:
        raise VerbError(
            "--port: with --beside, the user's ports stay as they are",
            "leave it out",
            2,
        )


def _known(owner: User | None, key: NewKey, options: Namespace) -> UserKey | None:
    """Return the key if the user has it already.

    Then somebody was interrupted, or does it all again, and needs the invite.

    Raises:
        VerbError: it belongs to somebody else, or to less than was asked for.
    """
    if owner is None:
        return None
    if owner.name != key.user or not frozenset(options.port) <= owner.ports:
        raise VerbError(
            f"the key belongs to user '{owner.name}' already",
            f"'spasshd user remove {owner.name}' first, or give another key",
        )
    return next(one for one in owner.keys if one.public == key.public)


def _write(settings: Config, key: NewKey, psk: bytes, text: str) -> None:
    """Write the file of a new user.

    Raises:
        VerbError: there is one.
    """
    name = key.user
    path = user_path(settings, name)
    text += key.table(psk)
    # Judged by the same reader that the daemon uses, before it is there to be read.
    parse_user(name, text, path, settings)
    try:
        write_new(path, text)
    except FileExistsError as error:
        raise VerbError(
            f"user '{name}' exists already: {path}",
            f"'spasshd user remove {name}' first, or choose another name",
        ) from error


def _write_beside(settings: Config, key: NewKey, psk: bytes, beside: bytes) -> None:
    """Put the key into the file of a user who has the key `beside`.

    Raises:
        VerbError: there is no such user.
    """
    file = load(settings, key.user)
    if all(one.public != beside for one in file.user.keys):
        raise VerbError(
            f"user '{key.user}' has no such key",
            f"{file.path} has those that are there",
        )
    rewrite(settings, file, with_key(file.text, key.table(psk)))


def _moving_over(settings: Config, name: str, options: Namespace) -> UserFile | None:
    """Return the file of a user who has keys for packets of fwknop, and no others.

    Whoever comes from fwknop has a name here before there is a key of ours.
    """
    if not os.path.lexists(user_path(settings, name)):
        return None
    file = load(settings, name)
    is_more = not frozenset(options.port) <= file.user.ports
    return None if file.user.keys or is_more else file


def _signing(fingerprint: str) -> str:
    """Spell that an OpenPGP key signs all requests; nothing if there is none."""
    if not fingerprint:
        return ""
    return f'format = "gnupg"\ngnupg = ["{fingerprint}"]\n'


def _user_file(name: str, ports: list[object], fingerprint: str) -> str:
    listed = ", ".join(f'"{port}"' for port in ports)
    return f"""\
# User {name} of spasshd: see spasshd.toml(5). 'spasshd reload' takes changes over.
{_signing(fingerprint)}ports = [{listed}]
# lifetime = 15             # seconds of a grant
# max_lifetime = 15         # seconds, the most that a request can ask for
# sources = ["192.0.2.0/24"]  # networks that packets may come from
# any_address = false       # may let in another address than the packet's source
# widths = ["flow", "address"]  # see spasshd.toml(5)
# expires = 2030-01-31      # from then on nothing is granted
"""
