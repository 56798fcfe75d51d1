"""spasshd user remove: forget a user and the keys."""

import os
from argparse import Namespace

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user

from .. import config, control, events
from ..files import sync_directory
from ..userfiles import user_path
from .reload import NO_ANSWER_HINT, reload_running


def run(options: Namespace) -> int:
    """Remove the user's file. A live grant of the user ends in its own time."""
    settings = config.load(options.config)
    try:
        os.unlink(user_path(settings, check_user(options.name)))
    except (FileNotFoundError, TextFormError):
        events.error(f"no user '{options.name}'", "'spasshd user list' shows the users")
        return 1
    sync_directory(settings.users_dir)
    try:
        reload_running(settings)
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        return 0
    return 0
