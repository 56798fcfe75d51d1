"""spasshd protect: drop ports, on trial until somebody who got in confirms it."""

from argparse import Namespace

from .. import config, control, events
from ..clock import booted_ms, monotonic_ms
from ..config import Config
from ..protecting import Ports, have_applied, listed, rewrite
from ..trial import Trial, clear_trial, read_trial, write_trial
from ..userfiles import read_users


def run(options: Namespace) -> int:
    """Begin a trial, or end one, or protect without any."""
    settings = config.load(options.config)
    if options.roll_back:
        return _roll_back(settings)
    if not options.ports:
        events.error("no port was named", "such as 'spasshd protect tcp/22'")
        return 2
    ports = tuple(port for port in options.ports if port not in settings.protect)
    problem, hint = _problem(settings, ports)
    if problem:
        events.error(problem, hint)
        return 1
    if not ports:
        print(f"protected already: {listed(options.ports)}")
        return 0
    if options.now:
        return _protect(settings, ports)
    return _begin(settings, ports, options.confirm_within)


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


def _begin(settings: Config, ports: Ports, seconds: int) -> int:
    """Drop the ports for so many seconds, and then no more."""
    ends = monotonic_ms() + 1000 * seconds
    write_trial(settings, Trial(ports, monotonic_ms(), ends), booted_ms())
    try:
        applied = have_applied(settings)
    except control.NotRunningError:
        clear_trial(settings)
        events.error("spasshd is not running", "start it with 'spasshd run'")
        return 3
    if not applied:
        clear_trial(settings)
        return 1
    # Who begins a connection from now on has come through the drop.
    write_trial(settings, Trial(ports, monotonic_ms(), ends), booted_ms())
    print(f"on trial for {seconds} s: {listed(ports)}")
    print("log in anew, and confirm it there with 'spasshd confirm'")
    return 0


def _protect(settings: Config, ports: Ports) -> int:
    """Drop the ports from now on."""
    now = rewrite(settings, lambda before: (*before, *ports))
    print(f"protected: {listed(now)}")
    try:
        return 0 if have_applied(settings) else 1
    except control.NotRunningError:
        events.say("note", text="spasshd is not running: dropped when it starts")
    return 0


def _roll_back(settings: Config) -> int:
    """End the trial before its time."""
    trial = read_trial(settings, booted_ms(), monotonic_ms())
    clear_trial(settings)
    if trial is None:
        print("no trial is under way")
        return 0
    try:
        applied = have_applied(settings)
    except control.NotRunningError:
        # It ends by itself, and nobody takes it up again.
        left = (trial.ends - monotonic_ms()) // 1000
        events.say("note", text=f"spasshd is not running: it ends in {left} s")
        return 0
    if applied:
        print(f"rolled back: {listed(trial.ports)}")
    return 0 if applied else 1
