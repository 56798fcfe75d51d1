"""spasshd stop: end the daemon, and with --open take the firewall rules away."""

import os
from argparse import Namespace

from .. import config, control, events
from ..clock import wall_clock
from ..daemon import take_lock
from ..firewall import FirewallError
from ..firewall.select import BACKENDS, choose


def run(options: Namespace) -> int:
    """Stop the daemon if it runs, and wait until it has gone."""
    settings = config.load(options.config)
    try:
        control.ask(settings.run_dir, control.STOP)
        os.close(take_lock(settings, wait=True))
    except control.NotRunningError:
        if not options.open:
            events.error("spasshd is not running")
            return 3
    if not options.open:
        return 0
    status = 0
    # Every back end that works here: the configuration may have changed since.
    for name in BACKENDS:
        try:
            choose(name, settings.firewall, wall_clock)[0].remove()
        except FirewallError as error:
            if settings.backend == name:
                events.error(error, error.hint)
                status = 1
    return status
