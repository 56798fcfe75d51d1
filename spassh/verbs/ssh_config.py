"""What ssh is told: lines of our own, and one Include of them in the user's file."""

import os
import pwd
import shlex
import stat
import sys
from shutil import which
from typing import Final

from ..errors import SpasshError, lower_reason
from ..private import shell_word
from .writing import make_directory, replace_file

BLOCK: Final = """\
Host *
    ProxyCommand spassh proxy --fdpass -- %h %p
    ProxyUseFdpass yes
"""
"""For every host: without a profile, spassh connects as ssh would."""

_HEADER: Final = """\
# Written by 'spassh enroll', for an Include of ~/.ssh/config. A host without a profile
# is reached as before. spassh(1) has more of this.

"""


def user_config() -> str:
    """Return the file of the user, where ssh looks for it: HOME has no say."""
    return os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", "config")


def write_block(home: str) -> str:
    """Write our own file, unless it is there; return its path.

    Raises:
        SpasshError: it cannot be written.
    """
    path = os.path.join(os.path.abspath(home), "ssh_config")
    if not os.path.exists(path):
        make_directory(home)
        replace_file(path, _HEADER + BLOCK.replace("spassh", _program()))
    return path


def include_lines(path: str) -> str:
    """Return what includes `path` for every host, at the end of any configuration.

    An Include after a Host or Match is for these hosts alone, so a Host comes first.
    """
    word = f'"{path}"' if " " in path else path
    return f"Host *\n    Include {word}\n"


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
    try:
        words = shlex.split(line.replace("=", " ", 1), comments=True)
    except ValueError:
        return []
    if not words or words[0].lower() != "include":
        return []
    return [os.path.join(directory, os.path.expanduser(word)) for word in words[1:]]


def _program() -> str:
    """Return the program for a ProxyCommand: by its path if PATH does not lead to it.

    Else no host at all could be reached any more.
    """
    here = os.path.abspath(sys.argv[0])
    if which("spassh") or not os.access(here, os.X_OK):
        return "spassh"
    return shell_word(here).replace("%", "%%")
