"""`spassh forget`: take the profile of a server away."""

import os

from ..errors import ProfileError, SpasshError, lower_reason
from ..patterns import Rank, Wanted, rank
from ..private import config_home
from ..ui import write
from .lookup import profile_for
from .ssh_config import rewrite_blocks


def run(host: str) -> None:
    """Remove the profile that names `host` itself; a pattern is not enough.

    Raises:
        SpasshError: there is none, or it cannot be removed.
    """
    profile = profile_for(config_home(), host)
    if rank(profile.hosts, Wanted(host)) != Rank(is_exact=True, has_login=False):
        raise ProfileError(
            profile.path,
            f"is for '{host}' by a pattern alone",
            "others may need it: remove the file by hand",
        )
    try:
        os.unlink(profile.path)
    except OSError as error:
        raise SpasshError(
            f"cannot remove {profile.path}: {lower_reason(error)}",
            "see whose the directory is",
        ) from error
    rewrite_blocks(config_home())
    write(f"removed {profile.path}, which was for {' '.join(profile.hosts)}")
    write(
        f"the server still knows the key: 'spasshd user remove {profile.user}' there,"
        " if it is not needed any more"
    )
