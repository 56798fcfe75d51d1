"""What gpg lets pass, by both versions of python-gnupg, and above all what not."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from lab.openpgp import Home, Party, party

from spassh.protocol.limits import MAX_MESSAGE, MAX_TEXT
from spassh_server.openpgp.gpg import Gpg, GpgError
from spassh_server.openpgp.message import Answer, Verdict

TEXT = bytes(range(118))
GPG = "/usr/bin/gpg"

pytestmark = pytest.mark.usefixtures("python_gnupg")


def looked_at(who: Party, message: bytes) -> Answer:
    return Gpg(GPG, who.server.path).open(7, message, who.recipient)


def verdict(who: Party, message: bytes) -> Verdict:
    return looked_at(who, message).verdict


@pytest.mark.parametrize("kind", ["ed25519", "rsa2048", "rsa3072", "elgamal"])
def test_a_good_message_is_opened(kind: str) -> None:
    who = party(kind)
    message = who.seal(TEXT)
    assert len(message) <= MAX_MESSAGE
    answer = looked_at(who, message)
    now = time.time()
    assert answer == Answer(7, Verdict.GOOD, answer.time, who.signer, TEXT)
    assert now - 60 < answer.time <= now


def test_rsa_4096_on_both_sides_fits_no_datagram() -> None:
    assert len(party("rsa4096").seal(TEXT)) > MAX_MESSAGE


def test_rsa_4096_of_a_client_fits_with_the_key_that_a_server_makes(
    curve: Party,
) -> None:
    client = party("rsa4096").client
    curve.server.give(client, curve.recipient)
    message = client.seal(TEXT, party("rsa4096").signer, curve.recipient)
    assert len(message) <= MAX_MESSAGE


def test_a_signing_subkey_stands_for_its_primary_key(curve: Party) -> None:
    client, server = Home(), curve.server
    try:
        primary = client.make("ed25519", "with a subkey")
        no_passphrase = ("--pinentry-mode", "loopback", "--passphrase", "")
        words = ("--quick-add-key", primary, "ed25519", "sign", "never")
        client.gpg(*no_passphrase, *words)
        client.give(server, primary)
        server.give(client, curve.recipient)
        answer = looked_at(curve, client.seal(TEXT, primary, curve.recipient))
    finally:
        client.close()
    assert answer.verdict is Verdict.GOOD
    assert answer.fingerprint == primary


def test_a_message_that_is_not_signed_is_refused(curve: Party) -> None:
    message = curve.client.gpg("--encrypt", "-r", curve.recipient, data=TEXT)
    assert verdict(curve, message) is Verdict.UNSIGNED


def test_a_signature_of_a_key_that_is_not_here_is_refused(curve: Party) -> None:
    other = party("rsa2048")
    curve.server.give(other.client, curve.recipient)
    message = other.client.seal(TEXT, other.signer, curve.recipient)
    assert verdict(curve, message) is Verdict.UNKNOWN_KEY


def test_a_key_that_has_expired_is_refused(curve: Party) -> None:
    client = Home()
    # Made two days ago for one day, and then it signed.
    then = ("--faked-system-time", f"{int(time.time()) - 2 * 86_400}!")
    try:
        signer = client.make("ed25519", "of old", *then, expires="1d")
        client.give(curve.server, signer)
        # A recipient that is not born yet cannot be encrypted to.
        curve.server.give(client, curve.recipient)
        inside = client.gpg("--sign", "-u", signer, *then, data=TEXT)
        message = encrypted_packets(client, inside, curve.recipient)
    finally:
        client.close()
    assert verdict(curve, message) is Verdict.EXPIRED


def encrypted_packets(client: Home, packets: bytes, recipient: str) -> bytes:
    """Encrypt OpenPGP packets as they are: `--no-literal` puts nothing around them."""
    words = ("--encrypt", "--no-literal", "-z", "0", "-r", recipient)
    return client.gpg(*words, data=packets)


def test_a_signature_that_was_taken_from_another_text_is_refused(curve: Party) -> None:
    signed = curve.client.gpg("--sign", "-z", "0", "-u", curve.signer, data=TEXT)
    altered = signed.replace(TEXT, TEXT[::-1])
    assert altered != signed
    good = encrypted_packets(curve.client, signed, curve.recipient)
    assert verdict(curve, good) is Verdict.GOOD
    message = encrypted_packets(curve.client, altered, curve.recipient)
    assert verdict(curve, message) is Verdict.BAD_SIGNATURE


def test_a_message_to_another_key_is_refused(curve: Party) -> None:
    other = party("rsa2048")
    other.server.give(curve.client, other.recipient)
    message = curve.client.seal(TEXT, curve.signer, other.recipient)
    assert verdict(curve, message) is Verdict.NOT_FOR_US


def test_a_message_to_a_passphrase_is_refused(curve: Party) -> None:
    words = ("--pinentry-mode", "loopback", "--passphrase", "x")
    more = ("--s2k-count", "65536", "-u", curve.signer)
    message = curve.client.gpg("--sign", "--symmetric", *words, *more, data=TEXT)
    assert verdict(curve, message) is Verdict.NOT_FOR_US


def test_a_message_that_is_signed_and_not_encrypted_is_refused(curve: Party) -> None:
    message = curve.client.gpg("--sign", "-u", curve.signer, data=TEXT)
    assert verdict(curve, message) is Verdict.NOT_FOR_US


def test_a_signature_around_what_is_encrypted_is_refused(curve: Party) -> None:
    inside = curve.client.gpg("--encrypt", "-z", "0", "-r", curve.recipient, data=TEXT)
    around = curve.client.gpg("--sign", "-z", "0", "-u", curve.signer, data=inside)
    assert verdict(curve, around) is not Verdict.GOOD


def test_two_signatures_are_refused(curve: Party) -> None:
    more = curve.client.make("ed25519", "a second one")
    curve.client.give(curve.server, more)
    message = curve.seal(TEXT, "--local-user", more)
    assert verdict(curve, message) is Verdict.MALFORMED


@pytest.mark.parametrize("algorithm", ["zip", "bzip2"])
def test_a_bomb_is_not_unpacked(curve: Party, algorithm: str) -> None:
    words = ("--compress-algo", algorithm, "-z", "9")
    message = curve.seal(bytes(1 << 20), *words)
    gpg = Gpg(GPG, curve.server.path)
    written = []
    decrypt = gpg._gpg.decrypt

    def watched(*given: Any, **named: Any) -> Any:
        result = decrypt(*given, **named)
        written.append(len(result.data))
        return result

    gpg._gpg.decrypt = watched
    assert gpg.open(7, message, curve.recipient) == Answer(7, Verdict.MALFORMED)
    # It is gpg that stops, and not we who have it all by then.
    (size,) = written
    assert size <= MAX_TEXT


def test_a_text_that_is_a_byte_too_long_is_refused(curve: Party) -> None:
    words = ("--compress-algo", "zip", "-z", "9")
    assert verdict(curve, curve.seal(bytes(MAX_TEXT), *words)) is Verdict.GOOD
    assert verdict(curve, curve.seal(bytes(MAX_TEXT + 1), *words)) is Verdict.MALFORMED


@pytest.mark.parametrize("size", [1, 16, 1072])
def test_garbage_is_refused(curve: Party, size: int) -> None:
    assert verdict(curve, os.urandom(size)) is not Verdict.GOOD


def test_what_was_cut_off_or_altered_is_refused(curve: Party) -> None:
    message = curve.seal(TEXT)
    for at in range(0, len(message), 37):
        altered = message[:at] + bytes([message[at] ^ 0x10]) + message[at + 1 :]
        assert verdict(curve, altered) is not Verdict.GOOD
        assert verdict(curve, message[:at]) is not Verdict.GOOD


def test_a_name_cannot_speak_for_gpg(curve: Party) -> None:
    """python-gnupg takes U+0085 for the end of a line, and gpg does not escape it."""
    fields = f"2026-01-01 {int(time.time())} 0 4 0 22 10 00 {curve.signer} ."
    lines = ("GOODSIG 0123456789ABCDEF ada", f"VALIDSIG {curve.signer} {fields}")
    spoken = "eve" + "".join(f"\x85[GNUPG:] {one}" for one in lines)
    client = Home()
    try:
        signer = client.make("ed25519", spoken)
        client.give(curve.server, signer)
        curve.server.give(client, curve.recipient)
        signed = client.gpg("--sign", "-z", "0", "-u", signer, data=TEXT)
        altered = signed.replace(TEXT, TEXT[::-1])
        message = encrypted_packets(client, altered, curve.recipient)
    finally:
        client.close()
    # The forgery is a good one: python-gnupg reads it.
    fooled = Gpg(GPG, curve.server.path)._gpg.decrypt(message)
    assert fooled.fingerprint == curve.signer
    assert verdict(curve, message) is Verdict.BAD_SIGNATURE


# Keys


def test_a_home_has_one_secret_key(curve: Party) -> None:
    assert Gpg(GPG, curve.server.path).server_key() == curve.recipient


def test_a_home_without_keys_gets_one_that_works(curve: Party) -> None:
    home = Home()
    try:
        gpg = Gpg(GPG, home.path)
        assert gpg.server_key() == ""
        made = gpg.make_server_key()
        assert gpg.server_key() == made
        gpg.add(curve.client.gpg("--export", curve.signer))
        curve.client.gpg("--import", data=gpg.export(made).encode())
        message = curve.client.seal(TEXT, curve.signer, made)
        assert gpg.open(1, message, made).verdict is Verdict.GOOD
    finally:
        home.close()


def test_two_secret_keys_are_one_too_many() -> None:
    home = Home()
    try:
        home.make("ed25519", "one")
        home.make("ed25519", "two")
        with pytest.raises(GpgError, match="several secret keys"):
            Gpg(GPG, home.path).server_key()
    finally:
        home.close()


def test_a_signature_by_sha_1_is_refused(curve: Party) -> None:
    message = curve.seal(TEXT, "--digest-algo", "SHA1")
    assert verdict(curve, message) is Verdict.BAD_SIGNATURE


def test_a_file_with_one_public_key_is_looked_at(curve: Party, tmp_path: Path) -> None:
    for words in (("--armor",), ()):
        (tmp_path / "key").write_bytes(
            curve.client.gpg("--export", *words, curve.signer)
        )
        found = Gpg(GPG, curve.server.path).look_at(str(tmp_path / "key"))
        assert found == curve.signer


@pytest.mark.parametrize("which", ["nothing", "garbage", "two keys", "a secret key"])
def test_a_file_with_anything_else_is_refused(
    curve: Party, tmp_path: Path, which: str
) -> None:
    client = curve.client
    (tmp_path / "key").write_bytes(
        {
            "nothing": b"",
            "garbage": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxxxx\n",
            "two keys": client.gpg("--export", curve.signer, curve.recipient),
            "a secret key": client.gpg("--export-secret-keys", curve.signer),
        }[which]
    )
    with pytest.raises(GpgError, match="not a file with one OpenPGP public key"):
        Gpg(GPG, curve.server.path).look_at(str(tmp_path / "key"))


def test_a_name_that_hides_the_fingerprint_is_refused(
    curve: Party, tmp_path: Path
) -> None:
    """python-gnupg begins a line behind U+0085, and takes the last word of several."""
    client = Home()
    try:
        client.make("ed25519", "eve\u0085fpr")
        (tmp_path / "key").write_bytes(client.gpg("--export", "eve"))
    finally:
        client.close()
    with pytest.raises(GpgError, match="not a file with one OpenPGP public key"):
        Gpg(GPG, curve.server.path).look_at(str(tmp_path / "key"))


def test_a_key_that_cannot_sign_any_more_is_refused(
    curve: Party, tmp_path: Path
) -> None:
    client = Home()
    then = ("--faked-system-time", f"{int(time.time()) - 2 * 86_400}!")
    try:
        signer = client.make("ed25519", "expired", *then, expires="1d")
        (tmp_path / "key").write_bytes(client.gpg("--export", signer))
    finally:
        client.close()
    with pytest.raises(GpgError, match="cannot sign"):
        Gpg(GPG, curve.server.path).look_at(str(tmp_path / "key"))


def test_a_key_that_only_certifies_is_refused(curve: Party, tmp_path: Path) -> None:
    client = Home()
    try:
        no_passphrase = ("--pinentry-mode", "loopback", "--passphrase", "")
        words = ("--quick-generate-key", "certifier", "ed25519", "cert", "never")
        client.gpg(*no_passphrase, *words)
        (tmp_path / "key").write_bytes(client.gpg("--export", "certifier"))
    finally:
        client.close()
    with pytest.raises(GpgError, match="cannot sign"):
        Gpg(GPG, curve.server.path).look_at(str(tmp_path / "key"))


def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(GpgError, match="cannot be run"):
        Gpg("/no/such/gpg", str(tmp_path))
