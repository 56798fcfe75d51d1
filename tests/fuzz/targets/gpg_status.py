"""What gpg prints is a signature whose line is there once, or a `RefusedError`.

The fingerprint that comes out is one, and the message was encrypted to our key.
"""

from collections.abc import Iterator

from unit.server.openpgp.test_status import GOOD, RECIPIENT

from spassh_server.openpgp.status import RefusedError, is_fingerprint, judge

RUNS = 10_000


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "good", GOOD.encode()
    yield "expired", GOOD.replace("GOODSIG", "EXPKEYSIG").encode()
    yield "signed around", "\n".join(reversed(GOOD.split("\n"))).encode()


def check(data: bytes) -> None:
    printed = data.decode("latin-1")
    try:
        found = judge(printed, RECIPIENT)
    except RefusedError:
        return
    lines = printed.split("\n")
    (valid,) = (line for line in lines if line.startswith("[GNUPG:] VALIDSIG "))
    assert is_fingerprint(found.fingerprint)
    assert valid.endswith(f" {found.fingerprint}")
    assert 0 <= found.time < 10**12
    assert any(
        line.startswith("[GNUPG:] DECRYPTION_KEY ") and RECIPIENT in line
        for line in lines
    )
