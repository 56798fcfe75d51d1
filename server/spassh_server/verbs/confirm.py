"""spasshd confirm: make what is on trial last, in a login that came through it."""

from argparse import Namespace

from .. import config, control, events
from ..addresses import text
from ..config import Config
from ..login import connections_above, find_login
from ..protecting import (
    BusyError,
    alone,
    have_applied,
    is_in_force,
    listed,
    rewrite,
    trial_now,
)
from ..trial import Trial, clear_trial
from .protect import BUSY, BUSY_HINT

_ANEW = "log in anew through spassh, and say 'spasshd confirm' there"


def run(options: Namespace) -> int:
    """Confirm the trial; every refusal leaves it as it is, and so it ends."""
    settings = config.load(options.config)
    try:
        with alone(settings):
            return _confirm(config.load(options.config))
    except BusyError:
        events.error(BUSY, BUSY_HINT)
        return 1


def _confirm(settings: Config) -> int:
    trial = trial_now(settings)
    if trial is None:
        events.error("nothing is on trial", "begin with 'spasshd protect PORT'")
        return 1
    try:
        problem = _doubt(settings, trial)
    except control.NotRunningError:
        events.error("spasshd is not running", "the trial ends by itself")
        return 3
    if problem:
        events.error(problem, _ANEW)
        return 1
    # The listener has told what the granter said of the login; this the kernel says.
    if not is_in_force(settings, settings.protect, trial):
        return 1
    after = rewrite(settings, lambda before: (*before, *trial.ports))
    clear_trial(settings)
    try:
        if not have_applied(settings):
            return 1
    except control.NotRunningError:
        events.say("note", text="spasshd is not running: dropped when it starts")
    print(f"protected: {listed(after)}")
    return 0


def _doubt(settings: Config, trial: Trial) -> str:
    """Say why this login proves nothing, or nothing if it does."""
    login = find_login(connections_above(), trial.ports)
    if login is None:
        return f"this is no login through {listed(trial.ports)}"
    answer = control.ask(settings.run_dir, control.render_proof(login))
    if answer.get("proved") is not True:
        return (
            f"no knock has let this login from {text(login.address)} in"
            " since the trial began"
        )
    return ""
