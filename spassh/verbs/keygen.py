"""`spassh keygen`: a key pair whose secret half never leaves this computer."""

import os
import sys

from ..errors import ProfileError
from ..private import config_home, shell_word
from ..profile import Profile, load_own_key, own_key_path
from ..protocol.crypto import PrivateKey
from ..protocol.errors import TextFormError
from ..protocol.keys import PUBLIC, SECRET, decode_key, encode_key
from ..protocol.limits import KEY_SIZE
from .writing import TakenError, create_file, make_directory


def run() -> None:
    """Make the key, and print its public half alone on standard output.

    Raises:
        SpasshError: there is a key already, or it cannot be written.
    """
    home = config_home()
    path = own_key_path(home)
    public, is_new = ensure_key(home)
    if not is_new:
        # What was wanted is most likely its public half.
        raise ProfileError(
            path,
            f"there is a key already: {public}",
            f"to make another: mv {shell_word(path)} {shell_word(path + '.old')}",
        )
    sys.stdout.write(public + "\n")


def ensure_key(home: str) -> tuple[str, bool]:
    """Return the public half of the key, and whether it was made just now.

    Raises:
        SpasshError: there is one that cannot be used, or it cannot be written.
    """
    secret = os.urandom(KEY_SIZE)
    make_directory(home)
    try:
        create_file(own_key_path(home), encode_key(SECRET, secret) + "\n")
    except TakenError:
        return public_half(load_own_key(home)), False
    return public_half(secret), True


def public_half(secret: bytes) -> str:
    """Spell the public key that belongs to a secret one."""
    return encode_key(PUBLIC, PrivateKey(secret).public)


def public_key(profile: Profile, home: str) -> str:
    """Spell the public key that a profile knocks with.

    Raises:
        ProfileError: the secret one is missing or damaged.
    """
    if not profile.secret:
        return public_half(load_own_key(home))
    try:
        return public_half(decode_key(SECRET, profile.secret))
    except TextFormError as error:
        raise ProfileError(
            profile.path, f"'secret': {error}", "import the invite again"
        ) from error
