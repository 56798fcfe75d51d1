"""spasshd reload: the running daemon takes changed users over."""

from argparse import Namespace

from .. import config, control, events
from ..config import Config
from ..lock import is_alive

NO_ANSWER_HINT = "until it is reloaded or started anew, it knows the old users"


def run(options: Namespace) -> int:
    """Reload, and say what the daemon did not like."""
    settings = config.load(options.config)
    try:
        return 1 if reload_running(settings) else 0
    except control.NoAnswerError:
        events.error("spasshd does not answer", NO_ANSWER_HINT)
        return 1
    except control.NotRunningError:
        events.error("spasshd is not running", control.NOT_RUNNING_HINT)
        return 3


def reload_running(settings: Config) -> int:
    """Have the running daemon read the users again; print its errors, and count them.

    Raises:
        NotRunningError: there is no daemon to ask.
        NoAnswerError: there is one, and it did not confirm.
    """
    try:
        errors = control.ask(settings.run_dir, control.RELOAD).get("errors", [])
    except control.NotRunningError as silence:
        if not is_alive(settings):
            raise
        raise control.NoAnswerError(str(silence)) from silence
    for error in errors:
        events.error(error.get("error"), error.get("hint", ""))
    return len(errors)
