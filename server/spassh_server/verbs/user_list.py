"""spasshd user list: who may do what."""

from argparse import Namespace

from .. import config, events
from ..clock import now_ms
from ..userfiles import read_users
from ..users import User


def run(options: Namespace) -> int:
    """Print a line for each user: name, ports, longest lifetime, keys, and more."""
    settings = config.load(options.config)
    users, problems = read_users(settings)
    for user in users.by_name.values():
        ports = ",".join(sorted(map(str, user.ports)))
        keys = f"{len(user.all_keys)} key" + "s" * (len(user.all_keys) != 1)
        fields = [user.name, ports, f"{user.max_lifetime} s", keys]
        print("\t".join(fields + _extras(user, now_ms())))
    for problem in problems:
        events.error(problem, problem.hint)
    return 1 if problems else 0


def _extras(user: User, now: int) -> list[str]:
    """Say what is unusual about a user."""
    extras = []
    if user.not_before > now:
        extras.append("not yet allowed")
    if user.expires and user.expires <= now:
        extras.append("expired")
    old = sum(1 for key in user.all_keys if key.expires and key.expires <= now)
    if old:
        extras.append(f"{old} expired key" + "s" * (old != 1))
    invites = sum(1 for key in user.keys if key.is_open_invite(now))
    if invites:
        extras.append(f"{invites} invite" + "s" * (invites != 1))
    of_fwknop = len(user.fwknop) + len(user.fwknop_gnupg)
    if of_fwknop:
        extras.append(f"{of_fwknop} of fwknop")
    if user.commands:
        names = ",".join(command.name for command in user.commands)
        extras.append(f"commands {names}")
    return extras
