"""spasshd import-fwknop: the stanzas of access.conf become users."""

import os
from argparse import Namespace

from .. import config, control, events
from ..config import Config
from ..files import read_private, write_new
from ..fwknop_access import Files, read_access, read_lines
from ..fwknop_import import NewUser, import_conf, import_stanzas
from ..toml import ConfigError
from ..userfiles import locked, user_path
from ..users import User, Users, lax_keys, parse_user
from .errors import VerbError
from .reload import NO_ANSWER_HINT, reload_running


def run(options: Namespace) -> int:
    """Write a file for each stanza, and tell all that has no counterpart here.

    The status is 1 if a stanza was left out, or nothing could be written.
    """
    settings = config.load(options.config)
    files = Files(_text, _names)
    conf = read_lines(os.path.join(options.directory, "fwknopd.conf"), files)
    access = os.path.join(options.directory, "access.conf")
    for line in conf:
        if line.name == "ACCESS_FILE":
            access = _access_file(options.directory, line.value)
    wanted, left = import_conf(conf)
    users, more = import_stanzas(
        *read_access(access, files), settings.grant_ports, settings.max_lifetime
    )
    left += more
    for one in left:
        print(events.printable(f"left: {one}"))
    _require(settings, users)
    for name, text in wanted.items():
        if text != _present(settings, name):
            print(events.printable(f"note: fwknopd had what is here: {text}"))
    _write(settings, users)
    status = _reload(settings) if users else 0
    return 1 if any(one.is_decisive for one in left) else status


def _access_file(directory: str, value: str) -> str:
    """Return the path of access.conf as fwknopd.conf has it."""
    return os.path.join(directory, value.removeprefix("$FWKNOP_CONF_DIR/"))


def _reload(settings: Config) -> int:
    """Have a daemon that runs take the users over; return the exit status."""
    try:
        return 1 if reload_running(settings) else 0
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        return 0


def _text(path: str) -> str:
    if not os.path.exists(path):
        hint = "give the directory of fwknopd's files, such as /etc/fwknop"
        raise ConfigError(path, 0, "", "no such file", hint)
    return read_private(path, secret=False)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise ConfigError(path, 0, "", what, "see that the path is right") from error


def _require(settings: Config, users: list[NewUser]) -> None:
    """See that the configuration allows what the users need.

    Raises:
        VerbError: it does not; the lines that it takes were printed.
    """
    ports = list(settings.grant_ports)
    ports += [port for user in users for port in user.ports if port not in ports]
    ports = list(dict.fromkeys(ports))
    longest = max([settings.max_lifetime, *(user.lifetime for user in users)])
    lines = []
    if users and not settings.fwknop:
        lines.append("fwknop = true")
    if tuple(ports) != settings.grant_ports:
        listed = ", ".join(f'"{port}"' for port in ports)
        lines.append(f"grant_ports = [{listed}]")
    if longest > settings.max_lifetime:
        lines.append(f"max_lifetime = {longest}")
    for line in lines:
        print(f"needed in {settings.path}: {line}")
    if lines:
        raise VerbError(
            f"nothing was written: {settings.path} does not allow it",
            "write the lines above there, restart spasshd, and do this again",
        )


def _present(settings: Config, name: str) -> str:
    """Return the line that the configuration has, or could have, about this."""
    if name == "knock_port":
        return f"knock_port = {settings.knock_port}"
    if name == "fwknop_transports":
        others = ", ".join(f'"{one}"' for one in settings.fwknop_transports)
        return f"fwknop_transports = [{others}]"
    listed = ", ".join(f'"{one}"' for one in settings.interfaces)
    return f"interfaces = [{listed}]"


def _write(settings: Config, users: list[NewUser]) -> None:
    """Write the users' files, all of them or none.

    Raises:
        VerbError: there is a user of that name, or of those keys.
        ConfigError: a stanza makes no user that the daemon could read. If there are
            several mistakes, all are told, and the last one is raised.
    """
    with locked(settings):
        read, wrong = _read(settings, users)
        for error in wrong[:-1]:
            events.error(error, error.hint)
        if wrong:
            raise wrong[-1]
        for user in users:
            write_new(user_path(settings, user.name), user.text)
            print(f"wrote {user_path(settings, user.name)}")
    for warning in lax_keys(read):
        print(f"warning: {warning}")
    if any(user.fwknop_gnupg for user in read):
        print(
            f"needed in {settings.gnupg_dir}: fwknopd's OpenPGP key and its clients':"
            " see CLIENTS OF FWKNOP in spasshd.toml(5)"
        )


def _read(
    settings: Config, users: list[NewUser]
) -> tuple[list[User], list[ConfigError | VerbError]]:
    """Return what the daemon will make of the files, and all that is wrong."""
    read: list[User] = []
    wrong: list[ConfigError | VerbError] = []
    for user in users:
        path = user_path(settings, user.name)
        try:
            # Judged by the same reader that the daemon uses.
            read.append(parse_user(user.name, user.text, path, settings))
        except ConfigError as error:
            line = user.origin(error.key)
            place = line.path, line.number, line.name
            wrong.append(ConfigError(*place, error.what, error.hint))
        if os.path.lexists(path):
            text = f"user '{user.name}' exists already: {path}"
            hint = "remove the user first, or the stanza from access.conf"
            wrong.append(VerbError(text, hint))
    for name, owner in Users(read).duplicates:
        hint = "give each client keys of its own, and write them into access.conf"
        wrong.append(VerbError(f"{name} and {owner} have the same keys", hint))
    return read, wrong
