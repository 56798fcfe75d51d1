"""The files of users_dir, for the verbs. The daemon gets them from the granter."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from .config import Config
from .files import read_private
from .toml import ConfigError
from .users import User, Users, parse_main_users, parse_user, shared_problems


def user_path(config: Config, name: str) -> str:
    """Return the file of the user `name`, which `check_user` has seen."""
    return os.path.join(config.users_dir, f"{name}.toml")


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Wait until no other verb changes users' files, and keep them out meanwhile.

    Else a key that one of two verbs has written would be lost to what the other one
    had read before: clients change their keys by themselves.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        directory = os.open(config.users_dir, flags)
    except FileNotFoundError:
        yield  # Then there is no file to be changed.
        return
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def read_users(config: Config) -> tuple[Users, list[ConfigError]]:
    """Read every user's file; return the users and what is wrong with the others."""
    users: list[User]
    text = read_private(config.path, secret=False)
    users, problems, broken = parse_main_users(text, config)
    # A table that is broken must not give way to a file of the same name.
    taken = {*broken, *(user.name for user in users)}
    try:
        names = sorted(os.listdir(config.users_dir))
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        hint = f"mkdir -m 700 {config.users_dir}"
        problems.append(ConfigError(config.users_dir, 0, "", what, hint))
        names = []
    for name in names:
        path = os.path.join(config.users_dir, name)
        if not name.endswith(".toml"):
            continue
        user = name.removesuffix(".toml")
        try:
            text = read_private(path, secret=True)
            users.append(parse_user(user, text, path, config, taken))
        except ConfigError as error:
            problems.append(error)
    found = Users(users)
    problems += shared_problems(
        found, lambda name: config.path if name in taken else user_path(config, name)
    )
    return found, problems


def owner_of_key(config: Config, public: bytes) -> User | None:
    """Return the user who has the key already, or nobody."""
    for user in read_users(config)[0].by_name.values():
        if any(key.public == public for key in user.keys):
            return user
    return None
