"""spasshd revoke and flush: take grants back before they end by themselves."""

import os
from argparse import Namespace
from ipaddress import ip_address

from spassh.protocol.errors import TextFormError
from spassh.protocol.names import check_user

from .. import config, control, events
from ..addresses import grantable, text
from ..clock import wall_clock
from ..config import Config
from ..firewall import FirewallError
from ..firewall.select import choose
from ..lock import is_alive
from ..userfiles import read_users, user_path


def run(options: Namespace) -> int:
    """Take back the grants of a user or of an address, or all; say how many."""
    settings = config.load(options.config)
    try:
        # Nothing is all for the daemon. An empty word on the command line is a mistake.
        target = "" if options.target is None else _spelled(options.target)
    except TextFormError as error:
        events.error(error, "give the name of a user, or an address")
        return 2
    request = control.render_revoke(target, sessions=options.kill)
    try:
        answer = control.ask(settings.run_dir, request)
    except control.NotRunningError:
        if is_alive(settings):
            hint = "grants may live on: 'spasshd status' shows those in the kernel"
            events.error("spasshd does not answer", hint)
            return 1
        hint = f"{control.NOT_RUNNING_HINT}; 'spasshd stop --open' removes all"
        events.error("spasshd is not running", hint)
        return 3
    if "error" in answer:
        events.error(answer["error"])
        return 1
    grants, sessions = answer.get("grants"), answer.get("sessions")
    if type(grants) is not int or type(sessions) is not int:
        events.error("spasshd does not know this verb", "restart it: it is older")
        return 1
    print(f"grants taken back: {grants}")
    if options.kill:
        print(f"connections ended: {sessions}")
        if answer.get("forgotten"):
            events.say(
                "note",
                text=f"{target} came from more addresses than are remembered:"
                " some connections may go on",
            )
    return _check(settings, target, grants + sessions) if target else 0


def _is_unknown(settings: Config, target: str) -> bool:
    """Tell whether `target` is the name of nobody, neither here nor let in."""
    if _is_address(target) or target in read_users(settings)[0].by_name:
        return False
    # A file that is broken belongs to somebody all the same.
    return not os.path.lexists(user_path(settings, target))


def _check(settings: Config, target: str, taken_back: int) -> int:
    """See for ourselves: a listener that was taken over would say what we like."""
    if not taken_back and _is_unknown(settings, target):
        # Success would hide a typing error, in an emergency most of all.
        events.error(
            f"no user is called {target}, and nothing was taken back",
            "'spasshd user list' shows the users",
        )
        return 1
    try:
        firewall, _ = choose(settings.backend, settings.firewall, wall_clock)
        left = [
            active
            for active in firewall.grants()
            if target in {active.user, text(active.grant.address)}
        ]
    except FirewallError as error:
        events.error(error, error.hint)
        return 1
    if left:
        events.error(
            f"{target} still has live grants: {len(left)}",
            "is that user's key still there? 'spasshd user remove' takes it away",
        )
        return 1
    if target in read_users(settings)[0].by_name:
        remedy = f"'spasshd user remove {target}' ends that"
        events.say("note", text=f"{target} may knock again: {remedy}")
    return 0


def _is_address(target: str) -> bool:
    try:
        ip_address(target)
    except ValueError:
        return False
    return True


def _spelled(target: str) -> str:
    """Return an address in its one spelling, or the name of a user as it is.

    Raises:
        TextFormError: it is neither.
    """
    try:
        address = ip_address(target).packed
    except ValueError:
        return check_user(target)
    if not grantable(address):
        raise TextFormError(f"not an address of one host: {target!r}")
    return text(address)
