"""`spassh list`: the servers that there are profiles of."""

import os
import sys

from ..errors import ProfileError
from ..private import config_home
from ..profile import profile_paths, read_profile
from ..ui import printable, show


def run() -> bool:
    """Print a line for each profile: its file, user and hosts, with tabs between.

    Returns:
        Whether all of them can be used. What is wrong with the others was told.

    Raises:
        SpasshError: the directory cannot be read.
    """
    whole = True
    for path in profile_paths(config_home()):
        try:
            profile = read_profile(path)
        except FileNotFoundError:
            continue  # It was there a moment ago, or it is a link to nowhere.
        except ProfileError as error:
            show(error)
            whole = False
            continue
        words = [os.path.basename(path), profile.user, " ".join(profile.hosts)]
        sys.stdout.write("\t".join(map(printable, words)) + "\n")
    return whole
