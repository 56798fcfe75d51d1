"""An invite under a passphrase, for a way on which others can read it (section 7.3)."""

from unicodedata import normalize

from .crypto import decrypt, encrypt
from .errors import TextFormError, Unauthentic
from .invite import PREFIX as PLAIN_PREFIX
from .invite import Invite, checked_body, decode_body, encode_body
from .keys import armour, checksum, cut_in_prefix
from .limits import (
    AEAD_TAG_SIZE,
    KEY_SIZE,
    MAX_PASSPHRASE,
    SALT_SIZE,
    SCRYPT_BLOCK_SIZE,
    SCRYPT_COST,
    SCRYPT_PARALLELISM,
)
from .named_tuple import NamedTuple

PREFIX = "spassh-sealed-1-"


class WrongPassphraseError(TextFormError):
    """The invite is whole, and another passphrase opens it."""


class SealedInvite(NamedTuple):
    """What is known without the passphrase: nothing, but that the text is whole."""

    salt: bytes
    box: bytes


def is_sealed(text: str) -> bool:
    """Tell whether `text` is meant to be a sealed invite, whole or not."""
    if text.startswith("spassh-sealed-"):
        return True
    # The beginning that both kinds have in common says nothing.
    return cut_in_prefix(PREFIX, text) and not cut_in_prefix(PLAIN_PREFIX, text)


def seal_invite(invite: Invite, passphrase: str, salt: bytes) -> str:
    """Spell `invite` as one line of text, without the newline, under `passphrase`.

    Takes 128 MiB of memory, and about half a second. `salt` is 16 random bytes that
    were used for nothing else.

    Raises:
        TextFormError: a name or the port is not valid, or nobody could type this.
    """
    key = _stretch(passphrase, salt)
    # The nonce may be zero: with its own salt, the key encrypts nothing else.
    body = salt + encrypt(key, PREFIX.encode("ascii"), encode_body(invite))
    return PREFIX + armour(body + checksum(PREFIX, body))


def decode_sealed(text: str) -> SealedInvite:
    """Read a sealed invite, which still takes its passphrase.

    Raises:
        TextFormError: none, damaged, or of a version we do not know.
    """
    body = checked_body(PREFIX, text, SALT_SIZE + AEAD_TAG_SIZE)
    return SealedInvite(body[:SALT_SIZE], body[SALT_SIZE:])


def open_sealed(sealed: SealedInvite, passphrase: str) -> Invite:
    """Open the invite. Takes 128 MiB of memory, and about half a second.

    Raises:
        WrongPassphraseError: another passphrase opens it, or somebody has forged it.
        TextFormError: what is inside is no invite, or nobody could type this.
    """
    key = _stretch(passphrase, sealed.salt)
    try:
        body = decrypt(key, PREFIX.encode("ascii"), sealed.box)
    except Unauthentic as error:
        raise WrongPassphraseError("wrong passphrase") from error
    return decode_body(body)


def spelled_passphrase(passphrase: str) -> bytes:
    """Return the bytes of a passphrase: the same for all ways to type a letter.

    Raises:
        TextFormError: it is empty or too long, or no text.
    """
    try:
        spelled = normalize("NFC", passphrase).encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextFormError("a passphrase is text in UTF-8") from error
    if not 0 < len(spelled) <= MAX_PASSPHRASE:
        raise TextFormError(f"a passphrase has 1 to {MAX_PASSPHRASE} bytes")
    return spelled


def _stretch(passphrase: str, salt: bytes) -> bytes:
    # Not at the top: whoever seals nothing does not wait for it.
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    scrypt = Scrypt(salt, KEY_SIZE, SCRYPT_COST, SCRYPT_BLOCK_SIZE, SCRYPT_PARALLELISM)
    return scrypt.derive(spelled_passphrase(passphrase))
