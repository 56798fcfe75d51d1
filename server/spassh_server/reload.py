"""Take the users over from the files that the granter hands over, open for reading."""

import os
from collections.abc import Callable
from typing import Any

from . import events
from .config import Config, has_users
from .files import read_open, require_private
from .limits import MAX_TOLD_ERRORS, MAX_USER_FILES
from .privsep import message
from .privsep.message import Answer
from .toml import ConfigError
from .users import User, Users, parse_main_users, parse_user, shared_problems

Reply = Callable[[Any], None]


class Reload:
    """One reload at a time; a newer one replaces one that is under way."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._number = 0
        self._files: dict[str, str | ConfigError] = {}
        self._main: str | ConfigError = ""
        self._no_directory = False
        self._replies: list[Reply] = []
        self._in_main: set[str] = set()
        """Names of tables in the configuration file, broken ones among them."""

    def begin(self, reply: Reply | None = None) -> bytes:
        """Start over; return the message to the granter.

        `reply` is called in the end with the errors that were met.
        """
        self._number = (self._number + 1) & 0xFFFFFFFF
        self._files = {}
        self._main = ""
        self._no_directory = False
        if reply is not None:
            self._replies.append(reply)
        return message.encode_list_users(self._number)

    def add(self, answer: Answer, fds: list[int]) -> None:
        """Read one file: one of users_dir, or the configuration file.

        Or take notice that there is no users_dir any more.
        """
        if answer.number != self._number or len(self._files) >= MAX_USER_FILES:
            return
        if answer.kind == message.MAIN_FILE:
            self._main = _read(self._config.path, fds, _read_main)
        elif answer.kind == message.NO_USERS_DIR:
            self._no_directory = True
        else:
            path = os.path.join(self._config.users_dir, answer.name)
            self._files[answer.name] = _read(path, fds, _read_user)

    def end(self, answer: Answer, before: Users) -> Users | None:
        """Return the users, or None if a newer reload is under way.

        A broken file changes nothing for its user: a typing error neither locks anybody
        out nor lets anybody in. Nor does a users_dir that is gone.
        """
        if answer.number != self._number:
            return None
        users, problems = self._parse(before)
        problems += shared_problems(users, self._path_of)
        for problem in problems:
            events.error(problem, problem.hint)
        told = [
            {"error": str(one), "hint": one.hint} for one in problems[:MAX_TOLD_ERRORS]
        ]
        for reply in self._replies:
            reply({"errors": told})
        self._replies = []
        return users

    def _path_of(self, user: str) -> str:
        if user in self._in_main:
            return self._config.path
        return os.path.join(self._config.users_dir, f"{user}.toml")

    def _parse(self, before: Users) -> tuple[Users, list[ConfigError]]:
        with_file = [
            one for one in before.by_name.values() if one.name not in self._in_main
        ]
        users, problems = self._parse_main(before)
        # A name that is in both is the main file's own, even if it is broken there.
        taken = self._in_main
        if self._no_directory:
            path, hint = self._config.users_dir, "its users stay as before: see the log"
            problems.append(ConfigError(path, 0, "", "cannot be opened", hint))
            users += [user for user in with_file if user.name not in taken]
        for name, content in sorted(self._files.items()):
            user = name.removesuffix(".toml")
            path = os.path.join(self._config.users_dir, name)
            try:
                if isinstance(content, ConfigError):
                    raise content
                users.append(parse_user(user, content, path, self._config, taken))
            except ConfigError as error:
                problems.append(error)
                if user in before.by_name and user not in taken:
                    users.append(before.by_name[user])
        self._files = {}
        return Users(users), problems

    def _parse_main(self, before: Users) -> tuple[list[User], list[ConfigError]]:
        """Return the users of the configuration file; a broken one stays as before."""
        try:
            if isinstance(self._main, ConfigError):
                raise self._main
            users, problems, broken = parse_main_users(self._main, self._config)
            self._in_main = {*broken, *(user.name for user in users)}
        except ConfigError as error:
            users, problems, broken = [], [error], sorted(self._in_main)
        users += [before.by_name[name] for name in broken if name in before.by_name]
        return users, problems


def _read(
    path: str, fds: list[int], read: Callable[[int, str], str]
) -> str | ConfigError:
    if not fds:
        return ConfigError(path, 0, "", "cannot be opened", "see the log")
    try:
        return read(fds[0], path)
    except ConfigError as error:
        return error
    except OSError as error:
        return ConfigError(path, 0, "", str(error), "try again")


def _read_user(fd: int, path: str) -> str:
    return read_open(fd, path, secret=True)


def _read_main(fd: int, path: str) -> str:
    text = read_open(fd, path, secret=False)
    if has_users(text, path):
        require_private(fd, path)
    return text
