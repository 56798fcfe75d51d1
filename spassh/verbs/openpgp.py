"""The user's OpenPGP key that signs requests, and the server's beside it."""

import os
import tempfile

from ..errors import SpasshError, UsageError
from ..profile import SIGNED, Profile
from ..signing import open_gnupg

_OPTION = "--gnupg"


class OwnKey:
    """A key of the user's, as gpg has it."""

    def __init__(self, keyid: str) -> None:
        """Look for the one secret key that `keyid` names and that can sign.

        Raises:
            UsageError: there is none, or more than one.
            ProfileError: there is no GnuPG here.
        """
        self._gpg = open_gnupg(_OPTION)
        keys = [
            key
            for key in self._gpg.list_keys(True, keys=[keyid])
            # Capital letters are what the key as a whole can do.
            if "S" in key["cap"]
        ]
        if len(keys) != 1:
            which = "more than one secret key" if keys else "no secret key"
            raise UsageError(
                f"{_OPTION}: {which} of {keyid} can sign",
                "'gpg --list-secret-keys' shows them: give a whole fingerprint",
            )
        self.fingerprint = str(keys[0]["fingerprint"])
        self.public = str(self._gpg.export_keys(self.fingerprint, minimal=True))
        """The public half, armoured."""

    def take(self, armoured: str, host: str) -> str:
        """Put the server's key among the user's; return its fingerprint.

        Raises:
            SpasshError: it is not one public key.
        """
        # Looked at first: gpg would take secret keys, and any number, from anybody.
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "key")
            with open(path, "w", encoding="ascii", errors="replace") as file:
                file.write(armoured)
            seen = self._gpg.scan_keys(path)
        found = [str(one.get("fingerprint", "")) for one in seen]
        if [one["type"] for one in seen] == ["pub"] and all(found):
            words = ["--import-options", "import-minimal"]
            taken = self._gpg.import_keys(armoured, extra_args=words).fingerprints
            if set(taken) == set(found):
                return found[0]
        raise SpasshError(
            f"no OpenPGP key came from {host}",
            "see there: gpg --homedir GNUPG_DIR --list-keys",
        )

    def sign(self, profile: Profile, server: str) -> Profile:
        """Return the profile with requests signed by this key for that one."""
        return profile._replace(
            format=SIGNED, gnupg_key=self.fingerprint, gnupg_server=server
        )


def check_signer(known: Profile, key: OwnKey, *, replaces: bool) -> None:
    """See that a profile which is there can get this key.

    Raises:
        UsageError: it signs with another, or its own key is being replaced.
    """
    if replaces:
        raise UsageError(
            f"{_OPTION}: {known.path} is to get another key",
            f"enroll without {_OPTION} first, and then with it",
        )
    if known.gnupg_key not in {"", key.fingerprint}:
        raise UsageError(
            f"{_OPTION}: {known.path} has another key to sign with",
            "'spassh forget' the profile, and enroll anew",
        )
