"""Keys as text: one word, with its kind and a checksum (PROTOCOL.md section 7.1)."""

from binascii import a2b_base64, b2a_base64

from .errors import TextFormError
from .hashing import blake2s
from .limits import KEY_SIZE

PUBLIC = "spassh-public-"
SECRET = "spassh-secret-"  # noqa: S105 - a prefix, not a secret
PSK = "spassh-psk-"

_CHECKSUM_SIZE = 4


def armour(data: bytes) -> str:
    """Spell bytes in base64url without padding (RFC 4648 section 5)."""
    text = b2a_base64(data, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def unarmour(text: str) -> bytes:
    """Read base64url without padding back, accepting its one canonical spelling only.

    Raises:
        TextFormError: `text` is not what `armour` would write.
    """
    spelled = text.replace("-", "+").replace("_", "/")
    try:
        data = a2b_base64(spelled + "=" * (-len(spelled) % 4))
    except ValueError as error:
        raise TextFormError("damaged") from error
    if armour(data) != text:
        raise TextFormError("damaged")
    return data


def checksum(kind: str, data: bytes) -> bytes:
    """Return 4 bytes that catch a typing error, and one kind pasted for another."""
    return blake2s(kind.encode("ascii") + data, digest_size=_CHECKSUM_SIZE).digest()


def cut_in_prefix(prefix: str, text: str) -> bool:
    """Tell whether `text` lost its end or its beginning within `prefix`."""
    begins_late = any(text.startswith(prefix[at:]) for at in range(1, len(prefix) - 1))
    return bool(text) and (prefix.startswith(text) or begins_late)


def encode_key(kind: str, key: bytes) -> str:
    """Spell a 32-byte key as text: its kind, then base64url of key and checksum."""
    return kind + armour(key + checksum(kind, key))


def decode_key(kind: str, text: str) -> bytes:
    """Read the 32 bytes of a key of this kind.

    Raises:
        TextFormError: `text` is another kind, damaged, or no key at all. The message
            never contains the text, which may be a secret.
    """
    whole = text.startswith(kind)
    if not whole and not cut_in_prefix(kind, text):
        raise TextFormError(f"expected a key that begins with '{kind}'")
    try:
        data = unarmour(text[len(kind) :]) if whole else b""
    except TextFormError:
        # However it was damaged, the remedy is the same, and so is the message.
        data = b""
    key = data[:KEY_SIZE]
    if len(data) != KEY_SIZE + _CHECKSUM_SIZE or data[KEY_SIZE:] != checksum(kind, key):
        raise TextFormError("damaged key: copy it again, whole")
    return key
