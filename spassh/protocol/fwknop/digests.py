"""The hash functions that fwknop knows, by the names of its configuration files."""

from __future__ import annotations

import hashlib
import hmac

from ..named_tuple import NamedTuple
from .unpadded import encode, length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final


class Digest(NamedTuple):
    """One hash function. It makes digests as well as HMACs."""

    name: str
    size: int
    """Bytes of its result."""

    @property
    def characters(self) -> int:
        """How many characters its result takes in a packet."""
        return length(self.size)

    def hash(self, data: bytes) -> bytes:
        """Return the digest of `data`, spelled as in a packet."""
        # MD5 and SHA-1 are checksums here, also where policy forbids them for more.
        return encode(hashlib.new(self.name, data, usedforsecurity=False).digest())

    def keyed(self, key: bytes) -> Callable[[bytes], bytes]:
        """Return what makes the HMAC (RFC 2104) of data, spelled as in a packet.

        OpenSSL takes longer to begin one than to make it, so it is begun here.
        """
        begun = hmac.new(key, digestmod=self.name)

        def tag(data: bytes) -> bytes:
            mac = begun.copy()
            mac.update(data)
            return encode(mac.digest())

        return tag

    def hmac(self, key: bytes, data: bytes) -> bytes:
        """Return the HMAC of `data`."""
        return self.keyed(key)(data)


DIGESTS: Final = {
    digest.name: digest
    for digest in (
        Digest("md5", 16),
        Digest("sha1", 20),
        Digest("sha256", 32),
        Digest("sha384", 48),
        Digest("sha512", 64),
        Digest("sha3_256", 32),
        Digest("sha3_512", 64),
    )
}
"""In the order in which a packet's digest is tried: nothing but its length tells which
it is, and two of them share each of the lengths 43 and 86."""

DEFAULT_DIGEST: Final = "sha256"
"""Of packets and of HMACs, unless both sides say otherwise."""


def matches(digest: bytes, data: bytes) -> bool:
    """Tell whether `digest` is that of `data`, by one of the functions."""
    return any(
        len(digest) == one.characters and hmac.compare_digest(one.hash(data), digest)
        for one in DIGESTS.values()
    )
