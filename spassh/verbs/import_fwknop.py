"""`spassh import-fwknop`: the stanzas of ~/.fwknoprc become profiles."""

import os
import pwd
import re
from typing import Final

from ..errors import ProfileError, SpasshError, lower_reason
from ..private import PrivateFile, config_home, shell_word
from ..profile import Profile, parse_profile, profiles_directory
from ..ui import show
from .fwknoprc import NewProfile, convert
from .import_ import check_others, tell_block
from .saying import say
from .writing import create_file, make_directory

_KEY: Final = re.compile(r"'(\w+)'")
"""What the reader of profiles says first."""


def run(file: str) -> bool:
    """Write a profile for each stanza, and tell what has no counterpart in one.

    Returns:
        Whether no stanza was left out.

    Raises:
        SpasshError: nothing was written.
    """
    text = _read(file)
    made, left = convert(text, _login())
    for one in left:
        say(f"left: {file}:{one}")
    home = config_home()
    profiles = _read_all(made, file, home)
    if not profiles:
        raise SpasshError(
            f"no stanza of {file} can be a profile",
            "each has a SPA_SERVER, and a KEY or KEY_BASE64",
        )
    make_directory(home)
    make_directory(profiles_directory(home))
    for new, profile in zip(made, profiles, strict=True):
        create_file(profile.path, new.text)
        say(f"wrote {profile.path} for {' '.join(profile.hosts)}")
    tell_block("them")
    return not any(one.stanza for one in left)


def _read(file: str) -> str:
    try:
        found = PrivateFile(file)
    except FileNotFoundError as error:
        raise SpasshError(
            f"cannot read {file}: {lower_reason(error)}",
            "give the file of fwknop's stanzas, such as ~/.fwknoprc",
        ) from error
    found.check()
    return found.text


def _read_all(made: list[NewProfile], file: str, home: str) -> list[Profile]:
    """Read all new profiles.

    Raises:
        ProfileError: one cannot be used, or is there. If several, all are told, and the
            last one is raised.
    """
    profiles, wrong = [], []
    for one in made:
        try:
            profiles.append(_checked(one, file, home))
        except ProfileError as error:
            wrong.append(error)
    for other in wrong[:-1]:
        show(other)
    if wrong:
        raise wrong[-1]
    return profiles


def _checked(new: NewProfile, file: str, home: str) -> Profile:
    """Read a new profile as a login will, and see that its hosts are nobody else's.

    Raises:
        ProfileError: it cannot be used, or there is one already.
    """
    path = os.path.join(profiles_directory(home), f"{new.name}.toml")
    if os.path.lexists(path):
        raise ProfileError(
            path, "is there already", f"to make it anew: rm {shell_word(path)}"
        )
    try:
        profile = parse_profile(path, new.text)
    except ProfileError as error:
        problem = str(error).removeprefix(f"{path}: ")
        named = _KEY.match(problem)
        line = new.origin(named[1] if named else "")
        raise ProfileError(
            f"{file}:{line.number}",
            f"{line.name}: {problem}",
            "mend it there, or take the stanza out",
        ) from error
    check_others(home, profile)
    return profile


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
