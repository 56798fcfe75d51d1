"""`spassh enroll`: from an SSH login that works to one through spassh.

Each step says what it did, and finds at the next time that it is done. So whoever is
interrupted, or has mended what was missing, does it all again.
"""

import os
import pwd
import socket

from ..errors import ProfileError, SpasshError, UsageError
from ..patterns import Wanted
from ..private import config_home
from ..profile import Profile
from ..protocol.errors import TextFormError
from ..protocol.limits import MAX_NAME
from ..protocol.names import check_user
from ..proxy import Clocks
from ..ui import Tell
from .import_ import check_others, merged, save, store
from .keygen import ensure_key, public_key
from .lookup import named_profile
from .openpgp import OwnKey, check_signer
from .proof import Prover, told
from .remote import Spasshd
from .renewal import Renewal, check_invite
from .rotate import check_address
from .saying import say
from .ssh import Settings, Ssh, Target
from .ssh_config import (
    include,
    include_lines,
    includes,
    program,
    user_config,
    write_blocks,
)
from .terminal import ask_password, confirm


def run(
    target: Target,
    name: str,
    clocks: Clocks,
    tell: Tell,
    *,
    yes: bool,
    gnupg: str = "",
) -> None:
    """Enroll with a server, and see that it lets us in.

    Args:
        target: how to log in to it now.
        name: the user's name for spasshd; empty chooses one.
        clocks: the time.
        tell: takes the story.
        yes: whether to write to ssh_config(5) without asking.
        gnupg: which OpenPGP key signs the requests; empty for none.

    Raises:
        SpasshError: a step failed. The steps before it stay done.
    """
    user = _check_name(name) if name else ""
    ssh = Ssh(target, clocks.monotonic, tell)
    settings = ssh.settings()
    address = check_address(settings.host)
    home = config_home()
    known = named_profile(home, Wanted(settings.host, target.host))
    replaces = known is not None and (known.invite or known.is_changing)
    if known and replaces and user not in {"", known.user}:
        raise ProfileError(
            known.path,
            f"belongs to user {known.user}",
            "leave --name out: whose key is replaced keeps the name",
        )
    openpgp = OwnKey(gnupg) if gnupg else None
    if known and openpgp:
        check_signer(known, openpgp, replaces=replaces)
    user = user or (known.user if known else default_name())
    public = _ready_key(known, home)
    if known and not settings.proxy:
        # Who has imported an invite has a way in, of which ssh knows nothing yet.
        ssh.go_through(program())
    with ssh.session():
        say(f"logged in to {target.host} as {settings.login}")
        spasshd = Spasshd(ssh, target.host, settings.login, ask_password)
        prover = Prover(spasshd, settings, home, clocks.utc_ms)
        if known and replaces:
            known = known._replace(
                hosts=merged(known.hosts, (settings.host, target.host))
            )
            check_others(home, known)
            Renewal(spasshd, prover, home, address, target.host).replace(known)
            _set_up_ssh(ssh, settings, home, yes=yes)
            return
        signed = None
        if openpgp:
            signed = spasshd.add_signing(user, public, address, openpgp.public)
        invite = signed.invite if signed else spasshd.add(user, public, address)
        check_invite(invite, user, public, address)
        say(f"{target.host} knows the key as user {user}")
        path = known.path if known else ""
        server = openpgp.take(signed.openpgp, target.host) if openpgp and signed else ""
        profile, _ = store(invite, [target.host], home, force=False, path=path)
        if openpgp:
            profile = openpgp.sign(profile, server)
            save(profile)
            say(f"{profile.path} has requests signed by {profile.gnupg_key}")
        _set_up_ssh(ssh, settings, home, yes=yes)
        if signed and signed.must_restart:
            raise SpasshError(
                f"spasshd on {target.host} has begun without gpg",
                "there: systemctl restart spasshd; and then enroll again",
            )
        for grant in prover.knock(profile):
            say(told(grant))


def _ready_key(known: Profile | None, home: str) -> str:
    """Return the public key to enroll with, if it is known, and say what it is.

    That is the client's own, unless the profile has another that came in no invite.
    """
    if known and known.is_changing:
        say(f"going on with what was interrupted: {known.path}")
        return ""
    if known and known.secret and not known.invite:
        public = public_key(known, home)
        say(f"using the key of {known.path}: {public}")
        return public
    public, is_new = ensure_key(home)
    say(f"{'made a key' if is_new else 'using the key that is there'}: {public}")
    return public


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


def _set_up_ssh(ssh: Ssh, settings: Settings, home: str, *, yes: bool) -> None:
    """Have ssh go through spassh, if it does not and the user agrees."""
    if settings.goes_through_spassh:
        say("ssh goes through spassh already")
        return
    if settings.proxy:
        say(f"ssh has a way of its own to this host, which stays: '{settings.proxy}'")
        say("spassh has to be in it, or to stand before it: see spassh(1)")
        return
    path = write_blocks(home)
    config = user_config()
    if not includes(config, path):
        if not (yes or confirm(f"spassh: add an Include of {path} to {config}?")):
            say(f"ssh goes through spassh with this at the end of {config}:")
            for line in include_lines(path).splitlines():
                say(f"    {line}")
            say("'spassh enroll --yes' adds it")
            return
        include(config, path)
        say(f"added an Include of {path} to {config}")
    now = ssh.settings()
    if not now.goes_through_spassh:
        first = f"'{now.proxy}' comes first" if now.proxy else "see ssh -G"
        say(f"ssh does not go through spassh to this host: {first}")
