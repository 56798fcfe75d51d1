"""A client that signs: what it sends is what the server demands, made by real gpg."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.openpgp import Home, Party, end_parties, party
from unit.client.parties import KEYS, NOW_MS, PROFILE, SERVER_KEYS, open_knock

from spassh.errors import ProfileError
from spassh.knock import Knocker
from spassh.profile import Profile
from spassh.protocol.limits import MAX_TEXT
from spassh.protocol.packet import ClientKeys
from spassh.protocol.request import TCP, Request
from spassh.protocol.signed import decode_text
from spassh.proxy import _plan
from spassh.schedule import SIGNED_GAPS, SIGNED_KNOCKS, SIGNED_WIDE_DIALS
from spassh.signing import Signer, open_gnupg
from spassh_server.openpgp.gpg import Gpg
from spassh_server.openpgp.message import Verdict

CLIENT_KEYS = ClientKeys(*KEYS)


@pytest.fixture(scope="module", autouse=True)
def _parties() -> Iterator[None]:
    yield
    end_parties()


def signing(who: Party, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Be the client of these two; return its profile."""
    monkeypatch.setenv("GNUPGHOME", who.client.path)
    return PROFILE._replace(
        format="gnupg", gnupg_key=who.signer, gnupg_server=who.recipient
    )


def opened(who: Party, datagram: bytes) -> Request:
    """Open a datagram as the server does."""
    signed = open_knock(datagram).signed
    assert signed is not None
    gpg = Gpg("/usr/bin/gpg", who.server.path)
    answer = gpg.open(1, signed.message, who.recipient)
    assert answer.verdict is Verdict.GOOD
    assert answer.fingerprint == who.signer
    return decode_text(answer.text, SERVER_KEYS.public, signed.ephemeral)


@pytest.mark.parametrize("kind", ["ed25519", "rsa3072"])
def test_a_knock_is_signed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    who = party(kind)
    profile = signing(who, monkeypatch)
    times = iter([NOW_MS] * 5)
    knocker = Knocker(profile, KEYS, 22, lambda: next(times), os.urandom, narrow=False)
    expected = Request(NOW_MS, TCP, 22)
    first = knocker._datagram(0)
    assert opened(who, first) == expected
    # No two are the same: the second is for another ephemeral key.
    second = knocker._datagram(0)
    assert second != first
    assert opened(who, second) == expected


def test_a_narrow_knock_signs_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    who = party("ed25519")
    profile = signing(who, monkeypatch)
    knocker = Knocker(profile, KEYS, 22, lambda: NOW_MS, os.urandom, narrow=True)
    port = knocker._ready_port
    assert port
    assert opened(who, knocker._datagram(port)).source_port == port


def test_who_types_a_passphrase_slowly_is_not_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    who = party("ed25519")
    profile = signing(who, monkeypatch)
    times = iter([NOW_MS, NOW_MS + 50_000, NOW_MS + 50_000])
    knocker = Knocker(profile, KEYS, 22, lambda: next(times), os.urandom, narrow=False)
    assert opened(who, knocker._datagram(0)).time == NOW_MS + 50_000


def test_rsa_4096_is_told_that_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = signing(party("rsa4096"), monkeypatch)
    with pytest.raises(ProfileError, match=r"the signed request has 1[0-9]{3} b"):
        Knocker(profile, KEYS, 22, lambda: NOW_MS, os.urandom)


def test_a_long_command_is_told_to_be_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = signing(party("ed25519"), monkeypatch)
    signer = Signer(profile)
    fits = Request(NOW_MS, command=("x" * 500,))
    assert len(signer.seal(fits, CLIENT_KEYS, bytes(33))) == 1200
    with pytest.raises(ProfileError) as caught:
        signer.seal(Request(NOW_MS, command=("x" * 1000,)), CLIENT_KEYS, bytes(33))
    assert caught.value.hint.startswith("send a shorter command")
    assert MAX_TEXT > 1000


def test_standard_input_is_left_to_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither gpg nor python-gnupg reads a byte of it."""
    profile = signing(party("ed25519"), monkeypatch)
    ours, theirs = socket.socketpair()
    before = os.dup(0)
    with ours, theirs:
        ours.send(b"SSH-2.0-x\r\n")
        os.dup2(theirs.fileno(), 0)
        try:
            Signer(profile).seal(Request(NOW_MS, TCP, 22), CLIENT_KEYS, bytes(33))
        finally:
            os.dup2(before, 0)
            os.close(before)
        assert theirs.recv(100) == b"SSH-2.0-x\r\n"


def test_the_terminal_is_named_to_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    signing(party("ed25519"), monkeypatch)
    monkeypatch.delenv("GPG_TTY", raising=False)
    controller, terminal = os.openpty()
    before = os.dup(2)
    os.dup2(terminal, 2)
    try:
        open_gnupg("/x")
        assert os.environ["GPG_TTY"] == os.ttyname(terminal)
    finally:
        os.dup2(before, 2)
        for fd in (before, controller, terminal):
            os.close(fd)
        monkeypatch.delenv("GPG_TTY")


def test_a_signing_client_knocks_seldom_and_dials_later() -> None:
    profile = PROFILE._replace(format="gnupg")
    plan = _plan(profile)
    assert (plan.knocks, plan.gaps, plan.wide_dials) == (
        SIGNED_KNOCKS,
        SIGNED_GAPS,
        SIGNED_WIDE_DIALS,
    )
    assert plan.dials(0) == (SIGNED_GAPS[0],)
    assert _plan(profile._replace(schedule=(0, 100))).knocks == (0.0, 0.1)
    assert _plan(PROFILE).gaps != SIGNED_GAPS


_PINENTRY = """\
#!/bin/sh
echo "$(readlink /proc/$$/fd/0)" >{note}
echo OK
while read -r word rest; do
    case "$word" in
        GETPIN) {answer} ;;
        BYE) echo OK; exit ;;
        *) echo OK ;;
    esac
done
"""


class TestAPassphrase:
    """The agent asks for it by a program of its own, and not on what ssh reads."""

    @pytest.fixture
    def locked(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Iterator[tuple[Home, Profile]]:
        home = Home()
        words = ("--pinentry-mode", "loopback", "--passphrase", "secret")
        key = ("--quick-generate-key", "ada", "ed25519", "sign", "never")
        home.gpg(*words, *key)
        party("ed25519").server.give(home, party("ed25519").recipient)
        program = tmp_path / "pinentry"
        Path(home.path, "gpg-agent.conf").write_text(f"pinentry-program {program}\n")
        # The agent of whoever has made the key still knows the passphrase.
        home.stop()
        monkeypatch.setenv("GNUPGHOME", home.path)
        yield (
            home,
            PROFILE._replace(
                format="gnupg",
                gnupg_key=home.fingerprint("ada"),
                gnupg_server=party("ed25519").recipient,
            ),
        )
        home.close()

    def asks(self, tmp_path: Path, answer: str) -> None:
        program = tmp_path / "pinentry"
        note = tmp_path / "note"
        program.write_text(_PINENTRY.format(note=note, answer=answer))
        program.chmod(0o755)

    def test_is_asked_for_by_the_agent(
        self, locked: tuple[Home, Profile], tmp_path: Path
    ) -> None:
        self.asks(tmp_path, "echo D secret; echo OK")
        request = Request(NOW_MS, TCP, 22)
        assert len(Signer(locked[1]).seal(request, CLIENT_KEYS, bytes(33))) == 1200
        # It was asked for through a pipe of the agent's.
        assert (tmp_path / "note").read_text().startswith(("pipe:", "socket:"))
        # The agent remembers it: nobody is asked for each knock.
        (tmp_path / "note").unlink()
        Signer(locked[1]).seal(request, CLIENT_KEYS, bytes(33))
        assert not (tmp_path / "note").exists()

    def test_that_is_not_given_is_told(
        self, locked: tuple[Home, Profile], tmp_path: Path
    ) -> None:
        self.asks(tmp_path, "echo ERR 83886179 cancelled")
        with pytest.raises(ProfileError, match=r"gpg does not sign: .*[Cc]ancelled"):
            Signer(locked[1]).seal(Request(NOW_MS, TCP, 22), CLIENT_KEYS, bytes(33))
