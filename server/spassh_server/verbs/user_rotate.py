"""spasshd user rotate: a new key beside the old ones, which end after an overlap."""

import os
import re
import socket
from argparse import Namespace
from datetime import UTC, datetime

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError, Unauthentic
from spassh.protocol.invite import Invite
from spassh.protocol.names import check_host, check_user

from .. import config, events
from ..clock import now_ms
from ..daemon import load_server_keys
from ..files import read_private, replace
from ..userfiles import owner_of_key, user_path
from ..users import parse_user
from .issue import Issuer
from .user_add import key_table, read_public_key, tell_daemon

_HEADER = re.compile(r"\s*\[")
_KEY_HEADER = re.compile(r"\s*\[\[\s*([\"']?)key\1\s*\]\]")
_EXPIRES = re.compile(r"\s*[\"']?expires[\"']?\s*=")
_DAY_MS = 86_400_000


def run(options: Namespace) -> int:
    """Add the key; the invite is the only thing on standard output."""
    settings = config.load(options.config)
    secret = b"" if options.key else os.urandom(32)
    try:
        name = check_user(options.name)
        address = check_host(
            options.address or settings.address or socket.gethostname()
        )
        public = (
            read_public_key(options.key) if options.key else PrivateKey(secret).public
        )
    except (TextFormError, Unauthentic) as error:
        events.error(error, "see 'spasshd user rotate --help'")
        return 2
    path = user_path(settings, name)
    if not os.path.lexists(path):
        events.error(
            f"no file of user '{name}': {path}",
            f"'spasshd user add {name}', or edit {settings.path} if it is there",
        )
        return 1
    owner = owner_of_key(settings, public)
    if owner:
        what = f"the key belongs to user '{owner.name}' already"
        events.error(what, "give another key")
        return 1
    server = load_server_keys(settings)
    issuer = Issuer(options)
    psk = os.urandom(32)
    ends = now_ms() + options.overlap * _DAY_MS
    text = end_keys(read_private(path, secret=True), ends) + key_table(public, psk)
    parse_user(name, text, path, settings)
    invite = Invite(
        name, address, settings.knock_port, server.public, psk, public, secret
    )
    issuer.prepare(invite)
    replace(path, text)
    issuer.show()
    return tell_daemon(settings, name)


def end_keys(text: str, ends: int) -> str:
    """Return a user's file `text` with an end (ms) for every key that has none."""
    moment = datetime.fromtimestamp(ends // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Not splitlines: a comment may have what that takes for the end of a line.
    lines = text.removesuffix("\n").split("\n")
    starts = [at for at, line in enumerate(lines) if _HEADER.match(line)]
    for start, end in reversed([*zip(starts, [*starts[1:], len(lines)], strict=True)]):
        is_key = _KEY_HEADER.match(lines[start])
        if is_key and not any(map(_EXPIRES.match, lines[start:end])):
            lines.insert(start + 1, f"expires = {moment}")
    return "\n".join(lines) + "\n"
