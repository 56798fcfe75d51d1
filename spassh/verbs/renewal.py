"""A key takes the place of another, and at no time is there none that works.

These are the steps, and what is known of them on both sides when they are done:

    step                              the profile           the server
    before                            old                   old
    the new key is written down       old, `next_secret`    old
    the server adds it                old, `next_secret`    old and new
    it knocks, and is let in          old, `next_secret`    old and new
    the profile takes it              new, `old_public`     old and new
    the server forgets the old one    new, `old_public`     new
    after                             new                   new

Whoever is interrupted does the steps again from where the server adds the new key: each
may be done twice, and the old key is never forgotten before the new one is proven. The
client's own key is in a file of its own, and so never a `next_secret`.
"""

from ..errors import ProfileError, SpasshError
from ..profile import Profile, profile_paths, read_profile
from ..protocol.errors import TextFormError
from ..protocol.invite import Invite
from ..protocol.keys import PSK, PUBLIC, decode_key, encode_key
from .import_ import save
from .keygen import public_key
from .proof import Prover, told
from .remote import Spasshd
from .saying import say


class Renewal:
    """Changes the keys of profiles at one server."""

    def __init__(
        self, spasshd: Spasshd, prover: Prover, home: str, address: str, host: str
    ) -> None:
        """Change them by `spasshd`; `address` and `host` are how it and ssh call it."""
        self._spasshd = spasshd
        self._prover = prover
        self._home = home
        self._address = address
        self._host = host

    def replace(self, profile: Profile) -> None:
        """Put `next_secret` of `profile` in the place of its key, or go on with that.

        Without a `next_secret` it is the client's own key. The profile is as it is on
        disk, but for its hosts.

        Raises:
            SpasshError: a step failed. To do it all again goes on with it.
        """
        # All of them have to be read in the end, so mistakes are told now.
        read_all(self._home)
        new, old_public = self._under_way(profile)
        public = public_key(new, self._home)
        invite = self._spasshd.add(profile.user, public, self._address, old_public)
        check_invite(invite, profile.user, public, self._address)
        if encode_key(PUBLIC, invite.server) != profile.server:
            raise ProfileError(
                profile.path,
                "belongs to another server",
                "see that ssh and the profile mean the same host",
            )
        new = new._replace(
            psk=encode_key(PSK, invite.psk), port=invite.port, old_public=old_public
        )
        say(f"{self._host} knows the new key as well: {public}")
        # Also if it was proven before: who knows what has become of it meanwhile.
        for grant in self._prover.prove(new):
            say(told(grant))
        save(new)
        say(f"{new.path} has the new key")
        self._forget_old(new)

    def _under_way(self, profile: Profile) -> tuple[Profile, str]:
        """Return the profile as it is to be, and the public key that it had before."""
        if profile.old_public:
            _check_old_public(profile)
            return profile, profile.old_public
        new = profile._replace(secret=profile.next_secret, invite=False, next_secret="")
        return new, public_key(profile, self._home)

    def _forget_old(self, profile: Profile) -> None:
        """Have everybody forget the key before that of `profile`, which is proven."""
        for other in read_all(self._home):
            if other.path == profile.path or other.server != profile.server:
                continue
            if public_key(other, self._home) != profile.old_public:
                continue
            # It had the same key at the same server, and would be shut out there.
            save(other._replace(secret=profile.secret, psk=profile.psk, invite=False))
            say(f"{other.path} had the old key, and has the new one")
        # Somebody may have put the old key back into the profile.
        if public_key(profile, self._home) != profile.old_public:
            self._spasshd.remove_key(profile.user, profile.old_public)
            say(f"{self._host} has forgotten the old key: {profile.old_public}")
        save(profile._replace(old_public=""))


def _check_old_public(profile: Profile) -> None:
    try:
        decode_key(PUBLIC, profile.old_public)
    except TextFormError as error:
        raise ProfileError(
            profile.path,
            f"'old_public': {error}",
            "take the line out; that key stays until it is removed on the server",
        ) from error


def read_all(home: str) -> list[Profile]:
    """Read every profile.

    Raises:
        ProfileError: one cannot be used, so that nobody knows which key it has.
    """
    profiles = []
    for path in profile_paths(home):
        try:
            profiles.append(read_profile(path))
        except FileNotFoundError:
            continue  # It was there a moment ago, or it is a link to nowhere.
    return profiles


def check_invite(invite: Invite, user: str, public: str, address: str) -> None:
    """See that the server has answered what was asked.

    Raises:
        SpasshError: it has not.
    """
    got = (invite.user, encode_key(PUBLIC, invite.client), invite.address)
    if got != (user, public, address) or invite.secret:
        raise SpasshError(
            f"the invite is for user {invite.user} at {invite.address}, and not the"
            " one that was asked for",
            "see what 'spasshd' is on the server",
        )
