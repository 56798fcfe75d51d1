"""GnuPG homes with keys of every kind.

A home's path is short, because its agent has a socket in it. Keys take seconds to be
made, so those of a `Party` are files: `PYTHONPATH=.:tests python -m lab.openpgp` writes
them anew.
"""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

import pytest

KINDS: Final = {
    "ed25519": ("EDDSA", "Key-Curve: ed25519", "ECDH", "Subkey-Curve: cv25519"),
    "rsa2048": ("RSA", "Key-Length: 2048", "RSA", "Subkey-Length: 2048"),
    "rsa3072": ("RSA", "Key-Length: 3072", "RSA", "Subkey-Length: 3072"),
    "rsa4096": ("RSA", "Key-Length: 4096", "RSA", "Subkey-Length: 4096"),
    "elgamal": ("DSA", "Key-Length: 2048", "ELG-E", "Subkey-Length: 2048"),
}
"""Primary key and subkey: what each is, and how large."""

_KEY: Final = """\
%no-protection
Key-Type: {}
{}
Key-Usage: sign
Subkey-Type: {}
{}
Subkey-Usage: encrypt
Name-Real: {name}
Expire-Date: {expires}
%commit
"""


class Home:
    """A GnuPG home of its own."""

    def __init__(self, path: str = "") -> None:
        if shutil.which("gpg") is None:
            pytest.skip("gpg is not installed: apt install gpg gpg-agent")
        self.path = path or tempfile.mkdtemp(prefix="spg")

    def gpg(self, *words: str, data: bytes = b"", check: bool = True) -> bytes:
        """Run gpg here, and return what it writes."""
        argv = ["gpg", "--homedir", self.path, "--batch", "--quiet", "--no-options"]
        done = subprocess.run(
            [*argv, "--trust-model", "always", *words],
            input=data,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if check and done.returncode:
            raise AssertionError(done.stderr.decode(errors="replace"))
        return done.stdout

    def make(self, kind: str, name: str, *more: str, expires: str = "0") -> str:
        """Make a key of that kind; return its fingerprint."""
        text = _KEY.format(*KINDS[kind], name=name, expires=expires)
        self.gpg("--full-generate-key", *more, data=text.encode())
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.gpg("--with-colons", "--list-keys", f"={name}").decode()
        (found, *_) = (line for line in lines.splitlines() if line.startswith("fpr"))
        return found.split(":")[9]

    def give(self, other: "Home", fingerprint: str) -> None:
        """Have another home know a public key of this one."""
        other.gpg("--import", data=self.gpg("--export", "--armor", fingerprint))

    def seal(self, text: bytes, signer: str, recipient: str, *more: str) -> bytes:
        """Sign and encrypt, as the client does."""
        words = ("--local-user", signer, "--recipient", recipient, "-z", "0")
        return self.gpg("--sign", "--encrypt", *words, *more, data=text)

    def copy(self, path: str) -> "Home":
        """Return a copy of this home in a directory that is not there yet."""
        shutil.copytree(self.path, path, ignore=shutil.ignore_patterns("S.*"))
        os.chmod(path, 0o700)
        return Home(path)

    def stop(self) -> None:
        """End the agent."""
        argv = ["gpgconf", "--homedir", self.path, "--kill", "all"]
        subprocess.run(argv, check=False, capture_output=True, timeout=60)

    def close(self) -> None:
        """End the agent, and remove the home."""
        self.stop()
        shutil.rmtree(self.path, ignore_errors=True)


KEYS: Final = Path(__file__).parents[1] / "vectors" / "openpgp"
"""A secret key in each file, without a passphrase."""


class Party:
    """The server's home and a client's, who know each other, for one kind of keys."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.server, self.client = Home(), Home()
        for home, name in ((self.server, "spasshd"), (self.client, "ada")):
            home.gpg("--import", str(KEYS / f"{kind}-{name}.asc"))
        self.recipient = self.server.fingerprint("spasshd")
        self.signer = self.client.fingerprint("ada")
        self.server.give(self.client, self.recipient)
        self.client.give(self.server, self.signer)

    def seal(self, text: bytes, *more: str) -> bytes:
        return self.client.seal(text, self.signer, self.recipient, *more)

    def close(self) -> None:
        self.server.close()
        self.client.close()


_made: list[Party] = []


@cache
def party(kind: str) -> Party:
    """Return the two homes for a kind of keys; `end_parties` ends them."""
    _made.append(Party(kind))
    return _made[-1]


def end_parties() -> None:
    """Remove every home that `party` has made."""
    while _made:
        _made.pop().close()
    party.cache_clear()


def _write_keys() -> None:
    """Make a pair of keys of each kind, and write them."""
    KEYS.mkdir(exist_ok=True)
    for kind in KINDS:
        for name in ("spasshd", "ada"):
            home = Home()
            home.make(kind, name)
            text = home.gpg("--export-secret-keys", "--armor", name)
            (KEYS / f"{kind}-{name}.asc").write_bytes(text)
            home.close()


if __name__ == "__main__":
    _write_keys()
