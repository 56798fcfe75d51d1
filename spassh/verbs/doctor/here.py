"""How ssh, as it is set up here, reaches a host."""

import os
import shlex
from shutil import which
from typing import Final

from ..ssh import Ssh
from .judge_here import Reached
from .ssh_lines import find_line, read_config

_KEYWORDS: Final = ("proxycommand", "proxyjump")
_FOR_THE_SHELL: Final = frozenset("$`=;&|<>(){}*?[")


def ask_ssh(ssh: Ssh) -> Reached:
    """Ask ssh how it reaches its target, and where it has that from.

    Raises:
        SpasshError: it does not say.
    """
    settings = ssh.settings()
    values, story = ssh.explained()
    # Where there is none, a line may say so.
    line = find_line(story, _KEYWORDS, settings.proxy or "none", read_config)
    missing = missing_program(settings.proxy) if settings.goes_through_spassh else ""
    passes_socket = values.get("proxyusefdpass") == "yes"
    return Reached(settings, passes_socket, str(line or ""), missing)


def missing_program(command: str) -> str:
    """Return the program that a ProxyCommand begins with, if it is not there."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""  # The shell will say more of it.
    if words[:1] == ["exec"]:
        del words[0]
    program = os.path.expanduser(words[0]).replace("%%", "%") if words else ""
    if not _FOR_THE_SHELL.isdisjoint(program):
        return ""  # What becomes of it is not known.
    # ssh starts it where it was started itself, and so do we.
    return "" if which(program) else program
