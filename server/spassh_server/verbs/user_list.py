"""spasshd user list: who may do what."""

from argparse import Namespace

from .. import config, events
from ..userfiles import read_users


def run(options: Namespace) -> int:
    """Print a line for each user: name, ports, longest lifetime, keys."""
    settings = config.load(options.config)
    users, problems = read_users(settings)
    for user in users.by_name.values():
        ports = ",".join(sorted(map(str, user.ports)))
        keys = f"{len(user.keys)} key" + "s" * (len(user.keys) != 1)
        print(f"{user.name}\t{ports}\t{user.max_lifetime} s\t{keys}")
    for problem in problems:
        events.error(problem, problem.hint)
    return 1 if problems else 0
