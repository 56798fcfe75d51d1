"""spasshd stop: end the daemon, and with --open take the firewall rules away."""

import os
from argparse import Namespace

from .. import config, control, events
from ..clock import wall_clock
from ..config import Config
from ..doctor.service import ask_systemd
from ..firewall import FirewallError
from ..firewall.left_behind import NotPermittedError
from ..firewall.select import with_rules
from ..lock import is_alive
from ..salvage import salvage
from ..toml import ConfigError
from ..trial import clear_trial

_PATIENCE = 30
"""Seconds for both programs to end: a granter may be busy with the firewall."""
_MOMENT = 3
"""Seconds for a granter to notice that its listener was killed."""


def run(options: Namespace) -> int:
    """Stop the daemon if it runs, and wait until it has gone."""
    if options.open and os.geteuid() != 0:
        events.error("the packet filter takes root", "run this as root")
        return 1
    settings = _load(options)
    running = True
    try:
        control.ask(settings.run_dir, control.STOP)
    except control.NotRunningError:
        running = False
    if is_alive(settings, _PATIENCE if running else _MOMENT):
        events.error(
            "spasshd does not end" if running else "spasshd does not answer",
            "end its processes, then take the rules away with 'spasshd stop --open'",
        )
        return 1
    if not running and not options.open:
        events.error("spasshd is not running")
        return 3
    if not running and ask_systemd().may_start_again:
        text = "a unit that starts spasshd again closes the ports: 'systemctl stop' it"
        events.say("note", text=text)
    return _open(settings) if options.open else 0


def _load(options: Namespace) -> Config:
    """Read the configuration; to open the ports, as much of it as can be read.

    Whoever is locked out by a mistake in it must not have to find that first.
    """
    try:
        return config.load(options.config)
    except ConfigError as error:
        if not options.open:
            raise
        events.error(error, error.hint)
        settings = salvage(options.config)
        text = f"taking away what belongs to firewall_name {settings.firewall_name}"
        events.say("note", text=text)
        return settings


def _open(settings: Config) -> int:
    # Before all else: a daemon that is started now must not go on with a trial.
    clear_trial(settings)
    status = 0
    try:
        # All of them: the configuration may have changed since.
        firewalls = with_rules(settings.backend, settings.firewall, wall_clock)
    except FirewallError as error:
        events.error(error, error.hint)
        return 5 if isinstance(error, NotPermittedError) else 1  # EXIT_NOT_PERMITTED
    for firewall in firewalls:
        try:
            firewall.remove()
        except FirewallError as error:
            hint = error.hint or f"does all that {firewall.name} needs work here?"
            events.error(f"{firewall.name}: {error}", hint)
            status = 1
    return status
