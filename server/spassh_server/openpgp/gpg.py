"""gpg by python-gnupg, for one GnuPG home: to open messages, and to look after keys.

Every call runs gpg and waits for it. So this is for the helper's workers and for verbs.
"""

import logging
from typing import Any, Final

from spassh.protocol.limits import MAX_TEXT

from .message import Answer, Verdict
from .status import RefusedError, is_fingerprint, judge

_OPTIONS: Final = (
    # What the home's gpg.conf says must not weaken what is said here.
    "--no-options",
    # The keys that count are pinned by their fingerprints, and no others.
    *("--trust-model", "always"),
    "--no-auto-check-trustdb",
    # Nor is anybody asked for a passphrase: what takes one is not for us.
    *("--pinentry-mode", "error"),
    # Nobody is asked for keys that are not here.
    *("--no-auto-key-locate", "--no-auto-key-retrieve", "--disable-dirmngr"),
)
_ENCODING: Final = "latin-1"
"""Every byte is a character: nothing that gpg prints is an error of ours."""

_SERVER_KEY: Final = """\
%no-protection
Key-Type: EDDSA
Key-Curve: ed25519
Key-Usage: sign
Subkey-Type: ECDH
Subkey-Curve: cv25519
Subkey-Usage: encrypt
Name-Real: spasshd
Expire-Date: 0
%commit
"""


class GpgError(Exception):
    """gpg, python-gnupg or a key is not as it has to be. `hint` names the remedy."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Gpg:
    """One gpg and one home."""

    def __init__(self, path: str, home: str) -> None:
        """Take the program at `path`, and the keys in the directory `home`.

        Raises:
            GpgError: one of them cannot be used, or python-gnupg is not installed.
        """
        # What it logs of failures would come from strangers and go to standard error.
        logging.getLogger("gnupg").disabled = True
        try:
            import gnupg
        except ImportError as error:
            raise GpgError(
                "python-gnupg is not installed",
                "apt install python3-gnupg, or pip install 'spassh[gnupg]'",
            ) from error
        try:
            self._gpg: Any = gnupg.GPG(
                gpgbinary=path, gnupghome=home, options=list(_OPTIONS)
            )
        except (OSError, ValueError) as error:
            raise GpgError(
                f"{path} cannot be run for {home}", "apt install gpg gpg-agent"
            ) from error
        self._gpg.encoding = _ENCODING

    def server_key(self) -> str:
        """Return the fingerprint of the server's key; empty if there is none.

        Raises:
            GpgError: there are several.
        """
        keys = self._gpg.list_keys(True)
        if len(keys) > 1:
            raise GpgError(
                "there are several secret keys in gnupg_dir", "leave the server's alone"
            )
        return str(keys[0]["fingerprint"]) if keys else ""

    def make_server_key(self) -> str:
        """Make a key without a passphrase, and return its fingerprint.

        Raises:
            GpgError: gpg does not.
        """
        fingerprint = str(self._gpg.gen_key(_SERVER_KEY))
        if not fingerprint:
            raise GpgError(
                "gpg makes no key in gnupg_dir",
                "its path must be short, for the agent's socket is there",
            )
        return fingerprint

    def export(self, fingerprint: str) -> str:
        """Return a public key, armoured, without what others say of it."""
        return str(self._gpg.export_keys(fingerprint, minimal=True))

    def look_at(self, path: str) -> str:
        """Return the fingerprint of the one public key in a file that can sign.

        Raises:
            GpgError: there is no such key, or more than one.
        """
        keys = self._gpg.scan_keys(path)
        if not keys and "[GNUPG:] KEYEXPIRED" in getattr(keys, "stderr", ""):
            # Of such a key, gpg 2.2 shows nothing where there is no trust database.
            raise GpgError(
                "the OpenPGP key in the file cannot sign", "it has expired: renew it"
            )
        (key,) = keys if len(keys) == 1 else [{"type": ""}]
        # U+0085 in a name begins a line for python-gnupg, and the last word counts:
        # without a fingerprint, the user would not have to sign anything.
        if key["type"] != "pub" or not is_fingerprint(key.get("fingerprint", "")):
            raise GpgError(
                "not a file with one OpenPGP public key",
                "write one with 'gpg --export --armor KEYID'",
            )
        # Capital letters are what the key as a whole can do, by a key that is good now.
        if "S" not in key["cap"] or key["trust"] in {"e", "r", "i", "d"}:
            raise GpgError(
                f"the OpenPGP key {key['fingerprint']} cannot sign",
                "see with 'gpg --list-keys' that it has not expired",
            )
        return str(key["fingerprint"])

    def add(self, data: bytes) -> None:
        """Take public keys in.

        Raises:
            GpgError: gpg does not.
        """
        arguments = ["--import-options", "import-minimal"]
        if not self._gpg.import_keys(data, extra_args=arguments).fingerprints:
            raise GpgError("gpg does not import the OpenPGP key")

    def open(self, number: int, message: bytes, recipient: str) -> Answer:
        """Decrypt a message for the key `recipient`, and see who has signed it."""
        result = self._gpg.decrypt(message, extra_args=["--max-output", str(MAX_TEXT)])
        try:
            signature = judge(getattr(result, "stderr", ""), recipient)
        except RefusedError as error:
            if error.verdict is Verdict.UNSIGNED and result.returncode:
                # gpg stopped in the middle: the text is longer than it may write.
                return Answer(number, Verdict.MALFORMED)
            return Answer(number, error.verdict)
        seen = result.pubkey_fingerprint, result.sig_timestamp
        agreed = seen == (signature.fingerprint, str(signature.time))
        if not (result.ok and result.valid and agreed) or len(result.data) > MAX_TEXT:
            return Answer(number, Verdict.MALFORMED)
        return Answer(
            number,
            Verdict.GOOD,
            signature.time,
            signature.fingerprint,
            bytes(result.data),
        )
