"""spasshd unprotect: do not drop these ports any more."""

from argparse import Namespace

from .. import config, control, events
from ..config import Config
from ..protecting import (
    BusyError,
    Ports,
    alone,
    end_trial,
    have_applied,
    is_in_force,
    listed,
    rewrite,
    trial_now,
)
from ..toml import ConfigError
from .protect import BUSY, BUSY_HINT


def run(options: Namespace) -> int:
    """Take ports out of what is protected, and end a trial that has one of them."""
    settings = config.load(options.config)
    try:
        with alone(settings):
            return _unprotect(settings, tuple(options.ports))
    except BusyError:
        events.error(BUSY, BUSY_HINT)
        return 1


def _unprotect(settings: Config, ports: Ports) -> int:
    try:
        trial = trial_now(settings)
    except ConfigError:
        trial = None
    if trial is None or not set(ports).isdisjoint(trial.ports):
        end_trial(settings)
        trial = None
    after = rewrite(
        settings, lambda before: tuple(one for one in before if one not in ports)
    )
    # Even if the file had none of them: somebody may have been killed on the way.
    try:
        if not have_applied(settings) or not is_in_force(settings, after, trial):
            return 1
    except control.NotRunningError:
        text = "spasshd is not running: 'spasshd stop --open' takes its rules away now"
        events.say("note", text=text)
    print(f"not protected: {listed(ports)}")
    return 0
