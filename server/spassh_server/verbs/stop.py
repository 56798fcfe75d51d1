"""spasshd stop: end the daemon, and with --open take the firewall rules away."""

import os
from argparse import Namespace

from .. import config, control, events
from ..clock import wall_clock
from ..config import Config
from ..daemon import take_lock
from ..firewall import FirewallError
from ..firewall.select import BACKENDS, choose


def run(options: Namespace) -> int:
    """Stop the daemon if it runs, and wait until it has gone."""
    settings = config.load(options.config)
    running = True
    try:
        control.ask(settings.run_dir, control.STOP)
    except control.NotRunningError:
        running = False
    if running:
        os.close(take_lock(settings, wait=True))
    elif _is_alive(settings):
        events.error(
            "spasshd does not answer",
            "end its processes, then take the rules away with 'spasshd stop --open'",
        )
        return 1
    elif not options.open:
        events.error("spasshd is not running")
        return 3
    return _open(settings) if options.open else 0


def _is_alive(settings: Config) -> bool:
    """Tell whether some daemon holds the lock, though it does not answer."""
    try:
        os.close(take_lock(settings, wait=False))
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _open(settings: Config) -> int:
    status = 0
    # Every back end that works here: the configuration may have changed since.
    for name in BACKENDS:
        try:
            firewall, _ = choose(name, settings.firewall, wall_clock)
        except FirewallError as error:
            # What does not work here has no rules of ours, unless it was asked for.
            if settings.backend == name:
                events.error(error, error.hint)
                status = 1
            continue
        try:
            firewall.remove()
        except FirewallError as error:
            events.error(f"{name}: {error}", error.hint)
            status = 1
    return status
