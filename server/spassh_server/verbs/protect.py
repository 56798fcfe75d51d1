"""spasshd protect: drop ports, on trial until somebody who got in confirms it."""

from argparse import Namespace

from .. import config, control, events
from ..clock import booted_ms, monotonic_ms
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
    see_rewritable,
    trial_now,
)
from ..trial import Trial, clear_trial, write_trial
from ..userfiles import read_users

BUSY = "another verb is busy with what is protected"
BUSY_HINT = "try again when it is done"


def run(options: Namespace) -> int:
    """Begin a trial, or end one, or protect without any."""
    if not options.ports and not options.roll_back:
        events.error("no port was named", "such as 'spasshd protect tcp/22'")
        return 2
    settings = config.load(options.config)
    try:
        with alone(settings):
            # What was read before may have been changed meanwhile.
            settings = config.load(options.config)
            if options.roll_back:
                return _roll_back(settings)
            return _protect(settings, options)
    except BusyError:
        events.error(BUSY, BUSY_HINT)
        return 1


def _protect(settings: Config, options: Namespace) -> int:
    ports = tuple(port for port in options.ports if port not in settings.protect)
    problem, hint = _problem(settings, ports)
    if problem:
        events.error(problem, hint)
        return 1
    if options.now:
        return _for_good(settings, ports)
    try:
        under_way = trial_now(settings)
        if not ports:
            return _see(settings, options.ports, under_way)
        return _begin(settings, ports, options.confirm_within, under_way)
    except control.NotRunningError:
        events.error("spasshd is not running", control.NOT_RUNNING_HINT)
        return 3


def _problem(settings: Config, ports: Ports) -> tuple[str, str]:
    """Say what is in the way, and its remedy."""
    if settings.manage != "drop":
        what = 'manage is "accept": the drop is somebody else\'s'
        return what, f'write manage = "drop" in {settings.path}, and restart spasshd'
    for port in ports:
        if port not in settings.grant_ports:
            what = f"{port} is not in grant_ports, so nobody could be let in"
            return what, f'add "{port}" in {settings.path}, and restart spasshd'
    if not len(read_users(settings)[0]):
        return "there are no users, so nobody could be let in", "see 'spasshd user add'"
    return "", ""


def _see(settings: Config, ports: Ports, under_way: Trial | None) -> int:
    """See that the ports are dropped that the file protects."""
    control.ask(settings.run_dir, control.STATUS)
    if not is_in_force(settings, settings.protect, under_way):
        return 1
    print(f"protected already: {listed(ports)}")
    return 0


def _begin(
    settings: Config, ports: Ports, seconds: int, under_way: Trial | None
) -> int:
    """Drop the ports for so many seconds, and then no more."""
    if under_way is not None:
        left = (under_way.ends - monotonic_ms()) // 1000
        what = f"{listed(under_way.ports)} is on trial already, for {left} s more"
        events.error(what, "wait for that, or end it: 'spasshd protect --roll-back'")
        return 1
    if all(port.protocol_name != "tcp" for port in ports):
        what = f"no login comes through {listed(ports)}, so nobody could confirm it"
        events.error(what, "see --now")
        return 1
    control.ask(settings.run_dir, control.STATUS)
    # A trial is of these ports alone, and not of what was changed by hand as well.
    if not is_in_force(settings, settings.protect, None):
        return 1
    # To find that out when it is confirmed would be late.
    see_rewritable(settings, (*settings.protect, *ports))
    now = monotonic_ms()
    trial = Trial(ports, now, now + 1000 * seconds)
    write_trial(settings, trial, booted_ms())
    try:
        if have_applied(settings) and is_in_force(settings, settings.protect, trial):
            print(f"on trial for {seconds} s: {listed(ports)}")
            print("log in anew, and confirm it there with 'spasshd confirm'")
            return 0
    except BaseException:
        clear_trial(settings)
        raise
    clear_trial(settings)
    have_applied(settings)
    return 1


def _for_good(settings: Config, ports: Ports) -> int:
    """Drop the ports from now on."""
    now = rewrite(settings, lambda before: (*before, *ports))
    try:
        if not have_applied(settings):
            return 1
    except control.NotRunningError:
        events.say("note", text="spasshd is not running: dropped when it starts")
        return 0
    if not is_in_force(settings, now, trial_now(settings)):
        return 1
    print(f"protected: {listed(now)}")
    return 0


def _roll_back(settings: Config) -> int:
    """End the trial before its time; without one, see that there is none."""
    ports = end_trial(settings)
    try:
        if not have_applied(settings):
            return 1
    except control.NotRunningError:
        # What the kernel still drops of it, the kernel ends; nobody takes it up again.
        events.say("note", text="spasshd is not running: what is dropped stays so")
    print(f"rolled back: {listed(ports)}" if ports else "no trial is under way")
    return 0
