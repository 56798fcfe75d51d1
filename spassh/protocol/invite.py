"""An invite: all that a client needs to know of a server, in one line (section 7.2)."""

from struct import Struct

from .crypto import PrivateKey
from .errors import TextFormError
from .keys import armour, checksum, cut_in_prefix, unarmour
from .named_tuple import NamedTuple
from .names import check_host, check_user

PREFIX = "spassh-invite-1-"

_CARRIES_SECRET = 0x01

# flags, knock port, server's public key, pre-shared key, client's key
_FIXED = Struct("!BH32s32s32s")
_CHECKSUM_SIZE = 4


class Invite(NamedTuple):
    """What the server tells a new client. As secret as the keys in it."""

    user: str
    address: str
    """The name or address under which the client reaches the server."""
    port: int
    """The UDP port to knock at."""
    server: bytes
    """The server's public key, 32 bytes."""
    psk: bytes
    """The pre-shared key of this client and this server, 32 bytes."""
    client: bytes
    """The client's public key, 32 bytes."""
    secret: bytes = b""
    """The client's secret key if the server made it, else empty."""


def encode_invite(invite: Invite) -> str:
    """Spell `invite` as one line of text, without the newline.

    Raises:
        TextFormError: a name or the port in it is not valid.
    """
    body = encode_body(invite)
    return PREFIX + armour(body + checksum(PREFIX, body))


def encode_body(invite: Invite) -> bytes:
    """Return the bytes of `invite` that the text form spells.

    Raises:
        TextFormError: a name or the port in it is not valid.
    """
    if not 0 < invite.port < 1 << 16:
        raise TextFormError(f"not a UDP port: {invite.port}")
    body = _FIXED.pack(
        _CARRIES_SECRET if invite.secret else 0,
        invite.port,
        invite.server,
        invite.psk,
        invite.secret or invite.client,
    )
    for name in (check_user(invite.user), check_host(invite.address)):
        spelled = name.encode("ascii")
        body += bytes([len(spelled)]) + spelled
    return body


def decode_invite(text: str) -> Invite:
    """Read an invite back.

    Raises:
        TextFormError: not an invite, damaged, or of a version we do not know. The
            message never contains the text, which holds secrets.
    """
    return decode_body(checked_body(PREFIX, text, _FIXED.size))


def checked_body(prefix: str, text: str, least: int) -> bytes:
    """Return the bytes, at least so many, that `text` spells behind `prefix`.

    Raises:
        TextFormError: it does not, is damaged, or of a version we do not know.
    """
    whole = text.startswith(prefix)
    if not whole and not cut_in_prefix(prefix, text):
        if text.startswith(prefix.rstrip("0123456789-") + "-"):
            raise TextFormError("invite of another version: update spassh")
        raise TextFormError(f"not an invite: it does not begin with '{prefix}'")
    try:
        data = unarmour(text[len(prefix) :]) if whole else b""
    except TextFormError:
        # However it was damaged, the remedy is the same, and so is the message.
        data = b""
    body, check = data[:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
    if len(body) < least or checksum(prefix, body) != check:
        raise TextFormError("damaged invite: copy it again, whole")
    return body


def decode_body(body: bytes) -> Invite:
    """Read back what `encode_body` has made.

    Raises:
        TextFormError: it breaks a rule of the format.
    """
    if len(body) < _FIXED.size:
        raise TextFormError("invite breaks a rule of its format")
    flags, port, server, psk, key = _FIXED.unpack_from(body)
    user, rest = _name(body[_FIXED.size :])
    address, rest = _name(rest)
    if rest or flags & ~_CARRIES_SECRET or not port:
        raise TextFormError("invite breaks a rule of its format")
    secret = key if flags & _CARRIES_SECRET else b""
    public = PrivateKey(secret).public if secret else key
    return Invite(
        check_user(user), check_host(address), port, server, psk, public, secret
    )


def _name(field: bytes) -> tuple[str, bytes]:
    end = 1 + (field[0] if field else 0)
    if len(field) < end:
        raise TextFormError("invite breaks a rule of its format")
    return field[1:end].decode("ascii", "replace"), field[end:]
