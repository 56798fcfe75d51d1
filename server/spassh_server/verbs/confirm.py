"""spasshd confirm: make what is on trial last, in a login that came through it."""

from argparse import Namespace

from .. import config, control, events
from ..addresses import text
from ..clock import booted_ms, monotonic_ms
from ..config import Config
from ..login import find_login, processes_above
from ..protecting import have_applied, listed, rewrite
from ..trial import Trial, clear_trial, on_trial, read_trial

_ANEW = "log in anew through spassh, and say 'spasshd confirm' there"


def run(options: Namespace) -> int:
    """Confirm the trial; every refusal leaves it as it is, and so it ends."""
    settings = config.load(options.config)
    now = monotonic_ms()
    trial = read_trial(settings, booted_ms(), now)
    ports = on_trial(settings, trial)
    if trial is None or not ports:
        events.error("nothing is on trial", "begin with 'spasshd protect PORT'")
        return 1
    try:
        problem = _doubt(settings, trial, now)
    except control.NotRunningError:
        events.error("spasshd is not running", "the trial ends by itself")
        return 3
    if problem:
        events.error(problem, _ANEW)
        return 1
    after = rewrite(settings, lambda before: (*before, *ports))
    clear_trial(settings)
    if not have_applied(settings):
        return 1
    print(f"protected: {listed(after)}")
    return 0


def _doubt(settings: Config, trial: Trial, now: int) -> str:
    """Say why this login proves nothing, or nothing if it does."""
    login = find_login(processes_above(), trial.ports, now)
    if login is None:
        return f"this is no login through {listed(trial.ports)}"
    if login.began < trial.begun:
        return "this login is older than the trial, so it proves nothing"
    answer = control.ask(settings.run_dir, control.render_proof(login.address))
    if answer.get("proved") is not True:
        return f"no knock let {text(login.address)} in since the trial began"
    return ""
