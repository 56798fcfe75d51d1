"""Every size and bound of the protocol, in one place (PROTOCOL.md section 2)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


PROTOCOL_VERSION: Final = 1

DEFAULT_KNOCK_PORT: Final = 62201
"""UDP destination port of a datagram unless both sides say otherwise."""

TAG_SIZE: Final = 4
EPHEMERAL_SIZE: Final = 32
STATIC_SIZE: Final = 32 + 16
AEAD_TAG_SIZE: Final = 16
MAC_SIZE: Final = 16
KEY_SIZE: Final = 32
"""X25519 secret and public keys, and the pre-shared key, in bytes."""

OVERHEAD: Final = TAG_SIZE + EPHEMERAL_SIZE + STATIC_SIZE + AEAD_TAG_SIZE + MAC_SIZE

ACCESS_DATAGRAM: Final = 192
"""Bytes of every datagram that asks for access."""
COMMAND_DATAGRAM: Final = 1200
"""Bytes of every datagram with a command: fits the IPv6 minimum MTU of 1280."""
DATAGRAM_SIZES: Final = (ACCESS_DATAGRAM, COMMAND_DATAGRAM)

ACCESS_PAYLOAD: Final = ACCESS_DATAGRAM - OVERHEAD
COMMAND_PAYLOAD: Final = COMMAND_DATAGRAM - OVERHEAD

SIGNED_HEADER: Final = 12
"""Bytes of version, flags, time and length before the OpenPGP message of a signed
request."""
MAX_MESSAGE: Final = COMMAND_PAYLOAD - SIGNED_HEADER
"""Most bytes of that message: room for keys of RSA 3072, and not for RSA 4096."""
BINDING_SIZE: Final = 16 + 2 * KEY_SIZE
"""Bytes of what a signed text is bound to: label, server and ephemeral key."""
MAX_TEXT: Final = BINDING_SIZE + COMMAND_PAYLOAD
"""Most bytes of a signed text, whatever the message makes of them."""

RANDOMNESS_SIZE: Final = EPHEMERAL_SIZE + 1
"""Random bytes that one datagram consumes: the ephemeral secret and a spare bit."""

WINDOW_MS: Final = 60_000
"""A datagram is fresh while its time is at most this far from the server's clock."""

MAX_LIFETIME: Final = 86_400
"""Longest lifetime, in seconds, that a request may ask for."""

MAX_ARGUMENTS: Final = 64
"""Most arguments, the program's name among them, that a command may have."""

MAX_NAME: Final = 32
"""Longest user name in bytes (what useradd(8) allows)."""

SCRYPT_COST: Final = 1 << 17
SCRYPT_BLOCK_SIZE: Final = 8
SCRYPT_PARALLELISM: Final = 1
"""What one try of a passphrase costs: N, r and p of RFC 7914. That is 128 MiB and about
half a second, which OWASP recommends as well, and the smallest servers still have. A
sealed invite does not say them, so that none can ask its reader for more; what they are
is part of its version."""

SALT_SIZE: Final = 16

MAX_PASSPHRASE: Final = 1024
"""Most bytes of a passphrase in UTF-8."""
