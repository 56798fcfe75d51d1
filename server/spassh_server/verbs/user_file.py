"""One user's file, for the verbs that change it. They hold `userfiles.locked`."""

import os
from typing import NamedTuple

from ..config import Config
from ..files import read_private, replace
from ..userfiles import user_path
from ..users import User, parse_user
from .errors import VerbError


class UserFile(NamedTuple):
    """What is in the file now."""

    path: str
    text: str
    user: User


def load(settings: Config, name: str) -> UserFile:
    """Read the file of the user `name`.

    Raises:
        VerbError: there is none.
        ConfigError: it cannot be read, or it is broken.
    """
    path = user_path(settings, name)
    if not os.path.lexists(path):
        raise VerbError(
            f"no file of user '{name}': {path}",
            f"'spasshd user add {name}', or edit {settings.path} if it is there",
        )
    text = read_private(path, secret=True)
    return UserFile(path, text, parse_user(name, text, path, settings))


def rewrite(settings: Config, file: UserFile, text: str) -> None:
    """Put `text` into the file.

    Raises:
        ConfigError: the daemon could not read that.
    """
    # Judged by the same reader that the daemon uses, before it is there to be read.
    parse_user(file.user.name, text, file.path, settings)
    replace(file.path, text)
