"""Take the users over from the files that the granter hands over, open for reading."""

import os
from collections.abc import Callable
from typing import Any

from . import events
from .config import Config
from .files import read_open
from .limits import MAX_TOLD_ERRORS, MAX_USER_FILES
from .privsep import message
from .privsep.message import Answer
from .toml import ConfigError
from .users import User, Users, parse_user

Reply = Callable[[Any], None]


class Reload:
    """One reload at a time; a newer one replaces one that is under way."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._number = 0
        self._files: dict[str, str | ConfigError] = {}
        self._replies: list[Reply] = []

    def begin(self, reply: Reply | None = None) -> bytes:
        """Start over; return the message to the granter.

        `reply` is called in the end with the errors that were met.
        """
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._files = {}
        if reply is not None:
            self._replies.append(reply)
        return message.encode_list_users(self._number)

    def add(self, answer: Answer, fds: list[int]) -> None:
        """Read one file."""
        if answer.number != self._number or len(self._files) >= MAX_USER_FILES:
            return
        path = os.path.join(self._config.users_dir, answer.name)
        self._files[answer.name] = _read(path, fds)

    def end(self, answer: Answer, before: Users) -> Users | None:
        """Return the users, or None if a newer reload is under way.

        A broken file changes nothing for its user: a typing error neither locks anybody
        out nor lets anybody in.
        """
        if answer.number != self._number:
            return None
        users, problems = self._parse(before)
        for user, owner in users.duplicates:
            path = os.path.join(self._config.users_dir, f"{user}.toml")
            what = f"belongs to {owner} already"
            problems.append(ConfigError(path, 0, "key", what, "each key has one user"))
        for problem in problems:
            events.error(problem, problem.hint)
        for reply in self._replies:
            reply({"errors": [str(problem) for problem in problems[:MAX_TOLD_ERRORS]]})
        self._replies = []
        return users

    def _parse(self, before: Users) -> tuple[Users, list[ConfigError]]:
        users: list[User] = []
        problems: list[ConfigError] = []
        for name, content in sorted(self._files.items()):
            user = name.removesuffix(".toml")
            path = os.path.join(self._config.users_dir, name)
            try:
                if isinstance(content, ConfigError):
                    raise content
                users.append(parse_user(user, content, path, self._config))
            except ConfigError as error:
                problems.append(error)
                if user in before.by_name:
                    users.append(before.by_name[user])
        self._files = {}
        return Users(users), problems


def _read(path: str, fds: list[int]) -> str | ConfigError:
    if not fds:
        return ConfigError(path, 0, "", "cannot be opened", "see the log")
    try:
        return read_open(fds[0], path, secret=True)
    except ConfigError as error:
        return error
    except OSError as error:
        return ConfigError(path, 0, "", str(error), "try again")
