"""spasshd check: every mistake that can be found without starting the daemon."""

from argparse import Namespace
from typing import Any

from .. import config, control, events
from ..answer import daemon_state
from ..clock import now_ms, wall_clock
from ..config import Config
from ..firewall import FirewallError
from ..firewall.select import choose
from ..mistakes import (
    begun_without_gpg,
    find_problems,
    foreign_state,
    missing_interfaces,
    unusable_widths,
    unused_formats,
    with_open_invites,
    without_gpg,
)
from ..userfiles import read_users
from ..users import User, lax_keys


def run(options: Namespace) -> int:
    """Print what is right; errors go to standard error and make the status 1."""
    settings = config.load(options.config)
    problems = find_problems(settings)
    users, broken = read_users(settings)
    for problem in problems + broken:
        events.error(problem, problem.hint)
    if problems or broken:
        return 1
    print(f"configuration: {settings.path}")
    print(f"users: {len(users)}")
    protected = ", ".join(map(str, settings.protect)) or "nothing"
    print(f"protected: {protected}")
    print(f"interfaces: {', '.join(settings.interfaces)}")
    captured = (f"udp/{settings.knock_port}", *map(str, settings.fwknop_transports))
    print(f"captured: {', '.join(captured)}")
    for warning in foreign_state(settings):
        print(f"warning: {warning}")
    for name in missing_interfaces(settings):
        print(f"note: no interface '{name}' now: 'spasshd run' waits for it")
    everybody = list(users.by_name.values())
    for warning in without_gpg(settings, everybody):
        print(f"warning: {warning}")
    if refused := begun_without_gpg(settings, everybody, _state(settings)):
        what = f"spasshd runs without gpg, and refuses what {refused} signs"
        print(f"warning: {what}: restart it, or see in its log why")
    for warning in lax_keys(everybody):
        print(f"warning: {warning}")
    for note in unused_formats(settings, everybody):
        print(f"note: {note}")
    for name in with_open_invites(everybody, now_ms()):
        print(f"note: {name} has the key of an invite: 'spassh enroll' replaces it")
    return _check_firewall(settings, everybody)


def _state(settings: Config) -> dict[str, Any] | None:
    """Return what the daemon answers, if one of this version runs."""
    try:
        return daemon_state(settings)
    except (control.NotRunningError, control.NoAnswerError):
        return None


def _check_firewall(settings: Config, users: list[User]) -> int:
    try:
        firewall, why = choose(settings.backend, settings.firewall, wall_clock)
        warnings = firewall.warnings() + unusable_widths(firewall, users)
    except FirewallError as error:
        events.error(error, error.hint)
        return 1
    print(f"firewall: {firewall.name} ({why})")
    print(f"widths: {', '.join(width.label for width in sorted(firewall.widths))}")
    for warning in warnings:
        print(f"warning: {warning}")
    return 0
