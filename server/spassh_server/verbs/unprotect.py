"""spasshd unprotect: do not drop these ports any more."""

from argparse import Namespace

from .. import config, control, events
from ..clock import booted_ms, monotonic_ms
from ..protecting import have_applied, listed, rewrite
from ..trial import clear_trial, read_trial


def run(options: Namespace) -> int:
    """Take ports out of what is protected, and of a trial that has one of them."""
    settings = config.load(options.config)
    ports = options.ports
    trial = read_trial(settings, booted_ms(), monotonic_ms())
    on_trial = trial is not None and not set(ports).isdisjoint(trial.ports)
    if on_trial:
        clear_trial(settings)
    elif set(ports).isdisjoint(settings.protect):
        print(f"not protected: {listed(ports)}")
        return 0
    rewrite(settings, lambda before: tuple(one for one in before if one not in ports))
    try:
        applied = have_applied(settings)
    except control.NotRunningError:
        text = "spasshd is not running: 'spasshd stop --open' takes its rules away now"
        events.say("note", text=text)
        applied = True
    if applied:
        print(f"not protected any more: {listed(ports)}")
    return 0 if applied else 1
