"""spasshd user remove: forget a user and the keys, or one key alone."""

import os
from argparse import Namespace
from contextlib import suppress

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user

from .. import config, control, events
from ..config import Config
from ..files import sync_directory
from ..key_tables import without_key
from ..toml import ConfigError
from ..userfiles import locked, user_path
from ..users import parse_user
from .errors import VerbError
from .new_key import public_key
from .reload import NO_ANSWER_HINT, reload_running
from .user_file import UserFile, load, rewrite


def run(options: Namespace) -> int:
    """Remove the user's file, or a key. A live grant of the user ends in its time."""
    settings = config.load(options.config)
    try:
        name = check_user(options.name)
    except TextFormError as error:
        raise _nobody(options.name) from error
    key = public_key("--key", options.key) if options.key else b""
    with locked(settings):
        if key:
            file = load(settings, name)
            rewrite(settings, file, _without(settings, file, key))
        else:
            _remove(settings, name)
    try:
        reload_running(settings)
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        return 0
    return 0


def _remove(settings: Config, name: str) -> None:
    try:
        os.unlink(user_path(settings, name))
    except FileNotFoundError as error:
        raise _nobody(name) from error
    sync_directory(settings.users_dir)


def _nobody(name: str) -> VerbError:
    return VerbError(f"no user '{name}'", "'spasshd user list' shows the users")


def _without(settings: Config, file: UserFile, public: bytes) -> str:
    """Return the text of the file without this key, and nothing else missing."""
    name, keys = file.user.name, file.user.keys
    left = tuple(key for key in keys if key.public != public)
    if left == keys:
        raise VerbError(
            f"user '{name}' has no such key", f"{file.path} has those that are there"
        )
    if len(file.user.all_keys) == 1:
        raise VerbError(
            f"it is the only key of user '{name}'",
            f"'spasshd user remove {name}' removes the user",
        )
    wanted = file.user._replace(keys=left)
    # Among the tables there may be keys for other formats, which are not counted here.
    for number in range(len(file.user.all_keys)):
        # If it fails, it is TOML in another spelling than ours.
        with suppress(IndexError, ConfigError):
            text = without_key(file.text, number)
            if parse_user(name, text, file.path, settings) == wanted:
                return text
    raise VerbError(
        f"{file.path}: the key cannot be taken out", "edit the file by hand"
    )
