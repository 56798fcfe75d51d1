"""`spassh show`: what is known of a server, without the secrets."""

import sys

from ..fwknop_way import ICMP
from ..private import config_home
from ..profile import SIGNED, Profile, load_keys, own_key_path
from .keygen import public_half
from .lookup import profile_for


def run(host: str) -> None:
    """Print the profile for `host`, one thing in each line.

    Raises:
        SpasshError: there is none, or it or a key cannot be used.
    """
    home = config_home()
    profile = profile_for(home, host)
    schedule = " ".join(map(str, profile.schedule))
    lines = {
        "profile": profile.path,
        "hosts": " ".join(profile.hosts),
        "name": profile.name or "as ssh says",
        "user": profile.user,
        **_keys(profile, home),
        "knocks at": _where(profile),
        "width": profile.width,
        "timeout": f"{profile.timeout} s",
        "schedule": f"{schedule} ms" if schedule else "the usual one",
    }
    if profile.format == SIGNED:
        lines["signed by"] = f"{profile.gnupg_key}, for {profile.gnupg_server}"
    elif profile.fwknop and profile.fwknop.signer:
        fwknop = profile.fwknop
        lines["signed by"] = f"{fwknop.signer}, for {fwknop.recipient}"
    if profile.is_changing:
        lines["rotation"] = "was interrupted: 'spassh rotate' goes on with it"
    width = max(map(len, lines))
    for name, value in lines.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def _where(profile: Profile) -> str:
    """Return what the knock goes to."""
    if not profile.fwknop:
        return f"{profile.transport}/{profile.port}"
    way = profile.fwknop.way
    if way.transport == ICMP:
        return ICMP
    return f"{way.transport}/{'any port' if way.rand_port else profile.port}"


def _keys(profile: Profile, home: str) -> dict[str, str]:
    """Return what can be said of both sides' keys."""
    if profile.fwknop:
        shared = profile.fwknop.keys
        hmac = f"HMAC {shared.hmac_digest}" if shared.hmac else "without an HMAC"
        return {"server": "an fwknopd", "client": f"keys of fwknop, {hmac}"}
    keys = load_keys(profile, home)
    where = profile.path if profile.secret else own_key_path(home)
    invited = ", from an invite" if profile.invite else ""
    return {
        "server": profile.server,
        "client": f"{public_half(keys.secret)}, in {where}{invited}",
    }
