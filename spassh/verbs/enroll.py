"""`spassh enroll`: from an SSH login that works to one through spassh.

Each step says what it did, and finds at the next time that it is done. So whoever is
interrupted, or has mended what was missing, does it all again.
"""

import os
import pwd
import socket
import sys
from collections.abc import Callable
from typing import Final

from ..errors import SpasshError, UnreachableError, UsageError, lower_reason
from ..knock import Knocker
from ..private import config_home
from ..profile import Profile, load_keys
from ..protocol.errors import TextFormError
from ..protocol.invite import Invite
from ..protocol.keys import PUBLIC, encode_key
from ..protocol.limits import MAX_NAME
from ..protocol.names import check_host, check_user
from ..proxy import Clocks
from ..resolve import Resolving
from ..ui import Tell, printable
from .import_ import store
from .keygen import ensure_key
from .remote import Spasshd
from .ssh import Settings, Ssh, Target
from .ssh_config import (
    include,
    include_lines,
    includes,
    user_config,
    write_blocks,
)
from .terminal import ask_password, confirm

# As at a login: some NATs change the ports of TCP and not those of UDP, and there only
# a knock that names no port helps. And a datagram may be lost.
_NARROW: Final = (True, False, True, False)


def run(target: Target, name: str, clocks: Clocks, tell: Tell, *, yes: bool) -> None:
    """Enroll with a server, and see that it lets us in.

    Args:
        target: how to log in to it now.
        name: the user's name for spasshd; empty chooses one.
        clocks: the time.
        tell: takes the story.
        yes: whether to write to ssh_config(5) without asking.

    Raises:
        SpasshError: a step failed. The steps before it stay done.
    """
    user = _check_name(name) if name else default_name()
    ssh = Ssh(target, clocks.monotonic, tell)
    settings = ssh.settings()
    address = _check_address(settings.host)
    home = config_home()
    public, is_new = ensure_key(home)
    _say(f"{'made a key' if is_new else 'using the key that is there'}: {public}")
    with ssh.session():
        _say(f"logged in to {target.host} as {settings.login}")
        spasshd = Spasshd(ssh, target.host, settings.login, ask_password)
        invite = spasshd.add(user, public, address)
        _check_invite(invite, user, public, address)
        _say(f"{target.host} knows the key as user {user}")
        profile, _ = store(invite, [target.host], home, force=False)
        _set_up_ssh(ssh, settings, home, yes=yes)
        _knock(spasshd, profile, home, settings, clocks.utc_ms)


def default_name() -> str:
    """Return the name of who runs this, and of this computer, as a user's name."""
    try:
        who = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        who = str(os.getuid())
    name = f"{who}-{socket.gethostname().partition('.')[0]}"
    letters = (
        one if one.isascii() and (one.isalnum() or one in "._-") else "-"
        for one in name
    )
    return check_user("".join(letters).lstrip(".-")[:MAX_NAME] or "client")


def _check_name(name: str) -> str:
    try:
        return check_user(name)
    except TextFormError as error:
        raise UsageError(f"--name: {error}", "such as alice-laptop") from error


def _check_address(host: str) -> str:
    try:
        return check_host(host)
    except TextFormError as error:
        raise UsageError(
            f"not a host: {host}", "this is the HostName of ssh_config(5)"
        ) from error


def _check_invite(invite: Invite, user: str, public: str, address: str) -> None:
    """See that the server has answered what was asked."""
    got = (invite.user, encode_key(PUBLIC, invite.client), invite.address)
    if got != (user, public, address) or invite.secret:
        raise SpasshError(
            f"the invite is for user {invite.user} at {invite.address}, and not the"
            " one that was asked for",
            "see what 'spasshd' is on the server",
        )


def _set_up_ssh(ssh: Ssh, settings: Settings, home: str, *, yes: bool) -> None:
    """Have ssh go through spassh, if it does not and the user agrees."""
    if settings.goes_through_spassh:
        _say("ssh goes through spassh already")
        return
    if settings.proxy:
        _say(f"ssh has a way of its own to this host, which stays: '{settings.proxy}'")
        _say("spassh has to be in it, or to stand before it: see spassh(1)")
        return
    path = write_blocks(home)
    config = user_config()
    if not includes(config, path):
        if not (yes or confirm(f"spassh: add an Include of {path} to {config}?")):
            _say(f"ssh goes through spassh with this at the end of {config}:")
            for line in include_lines(path).splitlines():
                _say(f"    {line}")
            return
        include(config, path)
        _say(f"added an Include of {path} to {config}")
    now = ssh.settings()
    if not now.goes_through_spassh:
        first = f"'{now.proxy}' comes first" if now.proxy else "see ssh -G"
        _say(f"ssh does not go through spassh to this host: {first}")


def _knock(
    spasshd: Spasshd,
    profile: Profile,
    home: str,
    settings: Settings,
    utc_ms: Callable[[], int],
) -> None:
    """Knock as a login does, and say what the server saw."""
    before = spasshd.running_status().counters
    keys = load_keys(profile, home)
    grew: dict[str, int] = {}
    for narrow in _NARROW:
        knocker = Knocker(
            profile, keys, settings.port, utc_ms, os.urandom, narrow=narrow
        )
        _knock_everywhere(
            knocker, profile.name or settings.host, settings.port, narrow=narrow
        )
        after = spasshd.running_status()
        grew = {
            name: count - before.get(name, 0)
            for name, count in after.counters.items()
            if name != "frames" and count > before.get(name, 0)
        }
        # Not every packet filter keeps whose a grant is.
        ours = [one for one in after.grants if one.user in {profile.user, ""}]
        if ours and "granted" in grew:
            for grant in ours:
                _say(
                    f"test knock: the server lets {grant.address} reach {grant.port}"
                    f" for {grant.seconds_left} s"
                )
            return
    raise spasshd.shut(grew, profile.port)


def _knock_everywhere(knocker: Knocker, host: str, port: int, *, narrow: bool) -> None:
    """Knock at every address of the host that there is a way to."""
    sent, problem = False, ""
    for address in Resolving(host, port).wait():
        try:
            # Nobody connects, so the port that was named is of no use.
            knocker.knock(address, narrow=narrow).close()
            sent = True
        except OSError as error:
            problem = problem or lower_reason(error)
    if not sent:
        raise UnreachableError(
            f"cannot reach {host}: {problem}",
            "see that the network is up, and that no firewall of this computer"
            " forbids it",
        )


def _say(text: str) -> None:
    # At once: ssh and sudo write to the same terminal.
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()
