"""spasshd user rotate: a new key beside the old ones, which end after an overlap."""

import os
from argparse import Namespace

from .. import config
from ..clock import now_ms
from ..key_tables import end_keys, with_key
from ..userfiles import locked, owner_of_key
from .errors import VerbError
from .issue import Issuer
from .new_key import DAY_MS, new_key, tell_daemon
from .user_file import load, rewrite


def run(options: Namespace) -> int:
    """Add the key; the invite is the only thing on standard output."""
    settings = config.load(options.config)
    key = new_key(options, settings)
    issuer = Issuer(options)
    psk = os.urandom(32)
    with locked(settings):
        file = load(settings, key.user)
        owner = owner_of_key(settings, key.public)
        if owner:
            what = f"the key belongs to user '{owner.name}' already"
            raise VerbError(what, "give another key")
        issuer.prepare(key.invite(settings, psk))
        text = end_keys(file.text, now_ms() + options.overlap * DAY_MS)
        rewrite(settings, file, with_key(text, key.table(psk)))
    issuer.show()
    return tell_daemon(settings, key.user)
