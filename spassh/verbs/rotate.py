"""`spassh rotate`: a fresh key in the place of the one that a server knows."""

import os

from ..errors import UsageError
from ..patterns import Wanted
from ..private import config_home
from ..profile import Profile, find, load_keys, own_key_path
from ..protocol.errors import TextFormError
from ..protocol.keys import SECRET, encode_key
from ..protocol.limits import KEY_SIZE
from ..protocol.names import check_host
from ..proxy import Clocks
from ..ui import Tell
from .import_ import save
from .lookup import no_profile
from .proof import Prover
from .remote import Spasshd
from .renewal import Renewal, read_all
from .saying import say
from .ssh import Settings, Ssh, Target
from .terminal import ask_password


def run(target: Target, clocks: Clocks, tell: Tell) -> None:
    """Replace the key that a login to `target` knocks with.

    Args:
        target: how to log in to it now.
        clocks: the time.
        tell: takes the story.

    Raises:
        SpasshError: a step failed. To do it again goes on with it.
    """
    ssh = Ssh(target, clocks.monotonic, tell)
    settings = ssh.settings()
    home = config_home()
    profile = _profile(home, target, settings)
    address = check_address(settings.host)
    # What is damaged is told now, and not written again.
    load_keys(profile, home)
    with ssh.session(target.ask_doctor):
        say(f"logged in to {target.host} as {settings.login}")
        spasshd = Spasshd(ssh, target.host, settings.login, ask_password)
        prover = Prover(spasshd, settings, home, clocks.utc_ms)
        renewal = Renewal(spasshd, prover, home, address, target.host)
        if profile.is_changing:
            say(f"going on with what was interrupted: {profile.path}")
        else:
            fresh = encode_key(SECRET, os.urandom(KEY_SIZE))
            profile = profile._replace(next_secret=fresh)
            read_all(home)
            save(profile)
        renewal.replace(profile)
    if not profile.secret:
        _tell_of_own_key(home)


def check_address(host: str) -> str:
    """Return the HostName of ssh_config(5), if spasshd can have it in an invite.

    Raises:
        UsageError: it cannot.
    """
    try:
        return check_host(host)
    except TextFormError as error:
        raise UsageError(
            f"not a host: {host}", "this is the HostName of ssh_config(5)"
        ) from error


def _profile(home: str, target: Target, settings: Settings) -> Profile:
    """Return the profile that a login takes."""
    profile = find(home, Wanted(settings.host, target.host, settings.login))
    if profile is None:
        raise no_profile(home, target.host)
    return profile


def _tell_of_own_key(home: str) -> None:
    """Say what becomes of the client's own key, which was the old one."""
    path = own_key_path(home)
    users = [one.path for one in read_all(home) if one.has_own_key]
    if users:
        say(f"{path} stays: it is the key of {' '.join(users)} as well")
    else:
        say(f"no profile needs {path} any more")
