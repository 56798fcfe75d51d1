"""What ssh is told: lines of our own, and one Include of them in the user's file."""

import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterator
from shutil import which
from typing import Final

from ..errors import ProfileError, SpasshError, lower_reason
from ..private import shell_word
from ..profile import profile_paths, read_profile
from .writing import make_directory, replace_file

_LINES: Final = """\
    ProxyCommand spassh proxy --fdpass -- %h %p
    ProxyUseFdpass yes
"""

BLOCK: Final = f"Host *\n{_LINES}"
"""For every host: without a profile, spassh connects as ssh would. For people to copy,
who know whether other hosts have a ProxyCommand of their own."""

_HEADER: Final = """\
# Written by 'spassh enroll', for an Include of ~/.ssh/config: a block for each profile,
# so that all other hosts are reached as before. spassh(1) has more of this.
"""

_CANNOT_BE_QUOTED: Final = frozenset('"\\*?[')


def user_config() -> str:
    """Return the file of the user, where ssh looks for it: HOME has no say."""
    return os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", "config")


def write_blocks(home: str) -> str:
    """Write our own file anew, for the profiles that there are; return its path.

    Raises:
        SpasshError: it cannot be written, or ssh could not be told of it.
    """
    path = os.path.join(os.path.abspath(home), "ssh_config")
    if not path.isprintable() or not _CANNOT_BE_QUOTED.isdisjoint(path):
        raise SpasshError(
            f"no Include can name {path}",
            "set SPASSH_CONFIG_HOME to a directory with a plainer name",
        )
    make_directory(home)
    lines = _LINES.replace("spassh", program(), 1)
    blocks = [f"\nHost {hosts}\n{lines}" for hosts in _hosts(home)]
    replace_file(path, _HEADER + "".join(blocks))
    return path


def rewrite_blocks(home: str) -> None:
    """Write our own file anew, if there is one: a host without a profile leaves it.

    Raises:
        SpasshError: as `write_blocks`.
    """
    if os.path.exists(os.path.join(home, "ssh_config")):
        write_blocks(home)


def _hosts(home: str) -> Iterator[str]:
    """Yield the hosts of each profile, as ssh_config(5) has them."""
    for path in profile_paths(home):
        try:
            entries = read_profile(path).hosts
        except (FileNotFoundError, ProfileError):
            continue  # It is told of at the logins that it concerns.
        # A login has no place here. An exception for one is none for the others.
        words = [entry.rpartition("@")[2] for entry in entries if entry[0] != "!"]
        words += [entry for entry in entries if entry[0] == "!" and "@" not in entry]
        yield " ".join(words)


def include_lines(path: str) -> str:
    """Return what includes `path` for every host, at the end of any configuration.

    An Include after a Host or Match is for these hosts alone, so a Host comes first.
    """
    return f'Host *\n    Include "{path}"\n'


def includes(config: str, path: str) -> bool:
    """Tell whether the file `config` has an Include of `path`.

    Raises:
        SpasshError: it is there and cannot be read.
    """
    return any(
        os.path.realpath(name) == os.path.realpath(path)
        for line in _read(config).splitlines()
        for name in _included(line, os.path.dirname(config))
    )


def include(config: str, path: str) -> None:
    """Add the Include of `path` to the end of the file `config`.

    Raises:
        SpasshError: it cannot be read or written; it is as it was.
    """
    text = _read(config)
    if text:
        text = text.removesuffix("\n") + "\n\n"
    try:
        mode = stat.S_IMODE(os.stat(config).st_mode)
    except FileNotFoundError:
        mode = 0o600
        make_directory(os.path.dirname(config))
    text += f"# Added by 'spassh enroll'.\n{include_lines(path)}"
    replace_file(config, text, mode)


def _read(config: str) -> str:
    try:
        # Whatever bytes and ends of lines there are, they stay.
        with open(
            config, encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SpasshError(
            f"cannot read {config}: {lower_reason(error)}",
            f"see whose it is with: ls -ld {shell_word(config)}",
        ) from error


def _included(line: str, directory: str) -> list[str]:
    if "\0" in line:
        return []  # That names no file, for ssh neither.
    try:
        words = shlex.split(line.replace("=", " ", 1), comments=True)
    except ValueError:
        return []
    if not words or words[0].lower() != "include":
        return []
    return [os.path.join(directory, os.path.expanduser(word)) for word in words[1:]]


def program() -> str:
    """Return the program for a ProxyCommand: by its path, if we know one.

    The next shell, cron or an editor may have another PATH.
    """
    here = os.path.abspath(sys.argv[0])
    found = which("spassh") or (here if os.access(here, os.X_OK) else "")
    return shell_word(os.path.abspath(found)).replace("%", "%%") if found else "spassh"
