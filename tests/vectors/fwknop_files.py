"""The packets that the real clients of fwknop 2.6 and 1.9 have made."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from spassh.protocol.fwknop.keys import Keys

_SHARED = Path(__file__).parents[3] / "shared"
FORMAT = _SHARED / "fwknop-format.md"
LEGACY = _SHARED / "vectors" / "fwknop-legacy.json"

KEY = bytes(range(32))
HMAC_KEY = bytes(range(0x40, 0x80))

KEYS = {
    "V1": Keys(KEY, HMAC_KEY),
    "V2": Keys(KEY, HMAC_KEY, "sha512"),
    "V3": Keys(b"shortpw", legacy=True),
    "V5": Keys(KEY, HMAC_KEY),
}
"""V4 has a mode of AES that we do not have."""


class Vector(NamedTuple):
    """One packet, and what is in it."""

    keys: Keys
    plain: bytes
    payload: bytes


def of_2_6() -> dict[str, Vector]:
    """Return the vectors of the format's description by their names."""
    found = re.findall(
        r"^\*\*(V\d)\*\*.*?^plain +(\S+)$.*?^packet +(\S+)$",
        FORMAT.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return {
        name: Vector(KEYS[name], plain.encode(), payload.encode())
        for name, plain, payload in found
        if name in KEYS
    }


def of_1_9() -> dict[str, Vector]:
    """Return the symmetric packets of 1.9, that of its HTTP form as one of UDP."""
    found = json.loads(LEGACY.read_text(encoding="utf-8"))["symmetric"]
    return {
        one["name"]: Vector(
            Keys(one["key"].encode(), legacy=True),
            one["plaintext"].encode(),
            one["wire"].replace("-", "+").replace("_", "/").encode()[http:],
        )
        for one in found
        for http in [one["name"] == "http"]
    }
