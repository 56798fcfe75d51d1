"""Which status lines of gpg are those of a good message: each rule alone."""

import pytest

from spassh_server.openpgp.message import Verdict
from spassh_server.openpgp.status import RefusedError, Signature, judge

RECIPIENT = "D934D11FA1F67F6BD1C299DB9C3BBD3B842F52D7"
SUBKEY = "93F88F45E0CB81BEC3CC8A3027F1CEDB6B580066"
SIGNER = "2B9B6B1C82B73D7D50CE0578634C3E9B725D4BC3"

GOOD = f"""\
[GNUPG:] ENC_TO 27F1CEDB6B580066 18 0
[GNUPG:] DECRYPTION_KEY {SUBKEY} {RECIPIENT} u
gpg: encrypted with 255-bit ECDH key, ID 27F1CEDB6B580066, created 2026-11-28
[GNUPG:] BEGIN_DECRYPTION
[GNUPG:] DECRYPTION_INFO 2 9 0
[GNUPG:] PLAINTEXT 62 1795839818 t
[GNUPG:] PLAINTEXT_LENGTH 118
[GNUPG:] NEWSIG
[GNUPG:] SIG_ID d8djAi8gzgH0vLX+i/meB8lWdmI 2026-11-28 1795839818
[GNUPG:] GOODSIG 634C3E9B725D4BC3 client
[GNUPG:] VALIDSIG {SIGNER} 2026-11-28 1795839818 0 4 0 22 10 00 {SIGNER}
[GNUPG:] DECRYPTION_OKAY
[GNUPG:] GOODMDC
[GNUPG:] END_DECRYPTION
"""


def verdict(printed: str, recipient: str = RECIPIENT) -> Verdict:
    with pytest.raises(RefusedError) as caught:
        judge(printed, recipient)
    return caught.value.verdict


def line(word: str) -> str:
    (found,) = (one for one in GOOD.splitlines(True) if one.split()[1] == word)
    return found


def test_a_good_message_says_whose_it_is_and_of_when() -> None:
    assert judge(GOOD, RECIPIENT) == Signature(SIGNER, 1_795_839_818)


@pytest.mark.parametrize("digest", ["1", "2", "3", "", "x", "08"])
def test_a_digest_that_can_be_forged_is_no_good_signature(digest: str) -> None:
    printed = GOOD.replace(" 22 10 00 ", f" 22 {digest} 00 ")
    assert verdict(printed) is Verdict.BAD_SIGNATURE


@pytest.mark.parametrize(
    "word",
    [
        "DECRYPTION_KEY",
        "BEGIN_DECRYPTION",
        "PLAINTEXT",
        "NEWSIG",
        "GOODSIG",
        "VALIDSIG",
        "DECRYPTION_OKAY",
        "GOODMDC",
        "END_DECRYPTION",
    ],
)
def test_each_line_is_there_once(word: str) -> None:
    for printed in (
        GOOD.replace(line(word), ""),
        GOOD.replace(line(word), line(word) * 2),
    ):
        with pytest.raises(RefusedError):
            judge(printed, RECIPIENT)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("EXPSIG", Verdict.EXPIRED),
        ("EXPKEYSIG", Verdict.EXPIRED),
        ("REVKEYSIG", Verdict.EXPIRED),
        ("BADSIG", Verdict.BAD_SIGNATURE),
        ("ERRSIG", Verdict.BAD_SIGNATURE),
        ("NO_PUBKEY", Verdict.UNKNOWN_KEY),
        ("DECRYPTION_FAILED", Verdict.MALFORMED),
        ("BADMDC", Verdict.MALFORMED),
        ("NODATA", Verdict.MALFORMED),
        ("UNEXPECTED", Verdict.MALFORMED),
        ("FAILURE", Verdict.MALFORMED),
    ],
)
def test_one_bad_line_is_enough(word: str, expected: Verdict) -> None:
    assert verdict(GOOD + f"[GNUPG:] {word} 634C3E9B725D4BC3\n") is expected


def test_another_key_of_ours_is_not_the_servers() -> None:
    assert verdict(GOOD, SIGNER) is Verdict.NOT_FOR_US


def test_the_signature_is_inside_of_what_is_encrypted() -> None:
    signature = line("VALIDSIG")
    outside = GOOD.replace(signature, "") + signature
    assert verdict(outside) is Verdict.MALFORMED


def test_the_primary_key_of_a_subkey_counts() -> None:
    printed = GOOD.replace(f"VALIDSIG {SIGNER}", f"VALIDSIG {SUBKEY}")
    assert judge(printed, RECIPIENT).fingerprint == SIGNER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f" 10 00 {SIGNER}", f" 10 {SIGNER}"),
        (f" 10 00 {SIGNER}", f" 10 00 0 {SIGNER}"),
        (f" 10 00 {SIGNER}", f" 10 00 {SIGNER[1:]}"),
        (f" 10 00 {SIGNER}", f" 10 00 {SIGNER.lower()}"),
        ("2026-11-28 1795839818 0 4", "2026-11-28 20261128T000000 0 4"),
        ("2026-11-28 1795839818 0 4", "2026-11-28 -1 0 4"),
        ("2026-11-28 1795839818 0 4", "2026-11-28 9999999999999 0 4"),
    ],
)
def test_a_signature_is_spelled_as_gpg_does(old: str, new: str) -> None:
    assert old in GOOD
    assert verdict(GOOD.replace(old, new)) is Verdict.MALFORMED


@pytest.mark.parametrize("end", ["\x85", "\x0b", "\x0c", "\x1c", "\u2028", "\r"])
def test_only_a_newline_ends_a_line(end: str) -> None:
    """python-gnupg begins a line behind each of these."""
    forged = GOOD.replace(line("VALIDSIG"), "").replace(
        " client\n", f" client{end}{line('VALIDSIG')}"
    )
    assert verdict(forged) is Verdict.MALFORMED


@pytest.mark.parametrize("printed", ["", "\n", "[GNUPG:] \n", "gpg: no\n"])
def test_nothing_is_no_good_message(printed: str) -> None:
    assert verdict(printed) is Verdict.NOT_FOR_US
