"""Reading vector files (PROTOCOL.md section 11). Nothing here knows the protocol."""

from pathlib import Path
from typing import NamedTuple

NATIVE = Path(__file__).parent / "native"
NAMES = sorted(path.stem for path in NATIVE.glob("*.vec"))


class VectorFile(NamedTuple):
    """One vector: headers as they stand, and the packet."""

    headers: dict[str, str]
    packet: bytes

    def hex(self, key: str) -> bytes:
        """Return a header that is bytes in hex."""
        return bytes.fromhex(self.headers[key])

    def number(self, key: str, default: int = 0) -> int:
        """Return a header that is a decimal number."""
        return int(self.headers.get(key, default))


def load(name: str) -> VectorFile:
    """Read the vector file of this name."""
    text = (NATIVE / f"{name}.vec").read_text(encoding="ascii")
    head, _, body = text.partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    packet = bytes.fromhex(body)
    return VectorFile(headers, packet.ljust(int(headers.get("extend to", 0)), b"\0"))


AUTHENTIC = [name for name in NAMES if "request" in load(name).headers]
