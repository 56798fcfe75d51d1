"""`spasshd user add --gnupg`: the user's key comes in, and the server's goes out."""

import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.openpgp import Home, Party, end_parties, party
from unit.server.child import needs_root
from unit.server.kernel import needs_landlock

from spassh.protocol.invite import decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh_server import config
from spassh_server.accounts import find_account
from spassh_server.openpgp import home
from spassh_server.openpgp.gpg import Gpg
from spassh_server.openpgp.home import _has_agent
from spassh_server.openpgp.message import Verdict
from spassh_server.userfiles import read_users

pytest.importorskip("scapy.libs.winpcapy")
pytest.importorskip("gnupg", reason="python-gnupg is not installed")

from spassh_server import cli

pytestmark = needs_root

KEY = encode_key(PUBLIC, bytes(range(1, 33)))


class Spasshd:
    """The verbs, and a place for the home that the listener's account can enter."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = directory / "spasshd.toml"
        self._capsys = capsys
        assert self("init", "--address", "server.example")[0] == 0
        self.place = tempfile.mkdtemp(prefix="spg")
        os.chmod(self.place, 0o755)  # noqa: S103 - as /var/lib is
        self.gnupg_dir = f"{self.place}/gnupg"
        text = self.path.read_text()
        place = f'gnupg_dir = "{self.gnupg_dir}"'
        self.path.write_text(text.replace('gnupg_dir = "gnupg"', place))

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def add(self, name: str, file: str, *words: str) -> tuple[int, str, str]:
        return self("user", "add", name, "--gnupg", file, *words)

    def user_file(self, name: str) -> str:
        return (self.path.parent / "users.d" / f"{name}.toml").read_text()

    def signers(self, name: str) -> frozenset[str]:
        users, problems = read_users(config.load(str(self.path)))
        assert problems == []
        return users.by_name[name].gnupg

    def close(self) -> None:
        shutil.rmtree(self.place)


@pytest.fixture
def spasshd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Spasshd]:
    made = Spasshd(tmp_path / "etc", capsys)
    yield made
    assert not _has_agent(made.gnupg_dir)
    made.close()


@pytest.fixture(scope="module")
def curve() -> Iterator[Party]:
    yield party("ed25519")
    end_parties()


@pytest.fixture
def file(curve: Party, tmp_path: Path) -> str:
    path = tmp_path / "ada.asc"
    path.write_bytes(curve.client.gpg("--export", "--armor", curve.signer))
    return str(path)


def test_a_user_is_added_who_signs(spasshd: Spasshd, curve: Party, file: str) -> None:
    code, out, err = spasshd.add("ada", file)
    assert (code, err) == (
        0,
        'spasshd: note text="user ada is taken over when spasshd starts"\n',
    )
    invite, armoured = out.split("\n", 1)
    assert decode_invite(invite).user == "ada"
    assert spasshd.signers("ada") == {curve.signer}
    status = os.stat(spasshd.gnupg_dir)
    account = find_account(config.load(str(spasshd.path)))
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (account.uid, 0o700)
    # What comes out is what opens what the client seals for it.
    client = Home()
    try:
        client.gpg("--import", data=curve.client.gpg("--export-secret-keys"))
        client.gpg("--import", data=armoured.encode())
        recipient = client.fingerprint("spasshd")
        message = client.seal(b"text", curve.signer, recipient)
    finally:
        client.close()
    place = Home(spasshd.gnupg_dir)
    answer = Gpg("/usr/bin/gpg", place.path).open(1, message, recipient)
    place.stop()
    assert (answer.verdict, answer.fingerprint) == (Verdict.GOOD, curve.signer)


@needs_landlock
def test_what_was_left_in_the_home_writes_nothing_outside_of_it(
    spasshd: Spasshd, file: str
) -> None:
    """A helper that was taken over can have written the options of gpg's agent."""
    spasshd.add("ada", file)
    os.chmod(spasshd.place, 0o777)  # noqa: S103 - what the account may write
    log = Path(spasshd.place) / "log"
    (Path(spasshd.gnupg_dir) / "gpg-agent.conf").write_text(f"log-file {log}\n")
    assert spasshd.add("bob", file)[0] == 0
    assert not log.exists()


def test_there_is_one_key_of_the_server(spasshd: Spasshd, file: str) -> None:
    first = spasshd.add("ada", file)[1].split("\n", 1)[1]
    second = spasshd.add("bob", file)[1].split("\n", 1)[1]
    assert first == second
    assert first.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")


@pytest.mark.parametrize("armoured", [True, False])
def test_the_key_may_come_on_standard_input(
    spasshd: Spasshd, curve: Party, monkeypatch: pytest.MonkeyPatch, *, armoured: bool
) -> None:
    words = ("--armor",) if armoured else ()
    data = curve.client.gpg("--export", *words, curve.signer)
    # A password that sudo did not want comes before it.
    data = b"password\n" * armoured + data
    stdin = io.TextIOWrapper(io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert spasshd.add("ada", "-")[0] == 0
    assert spasshd.signers("ada") == {curve.signer}


def test_who_is_there_already_signs_from_now_on(
    spasshd: Spasshd, curve: Party, file: str
) -> None:
    before = spasshd("user", "add", "ada", "--key", KEY)[1]
    assert spasshd.signers("ada") == frozenset()
    text = spasshd.user_file("ada")
    for _ in range(2):
        code, out, _ = spasshd.add("ada", file, "--key", KEY)
        assert code == 0
        assert out.startswith(before)
        assert spasshd.signers("ada") == {curve.signer}
        assert spasshd.user_file("ada").endswith(text)


def test_who_signs_with_another_key_goes_on_with_that(
    spasshd: Spasshd, curve: Party, file: str, tmp_path: Path
) -> None:
    spasshd.add("ada", file, "--key", KEY)
    before = spasshd.user_file("ada")
    (tmp_path / "other").write_bytes(curve.server.gpg("--export", curve.recipient))
    code, out, err = spasshd.add("ada", str(tmp_path / "other"), "--key", KEY)
    assert (code, out) == (1, "")
    assert "user 'ada' signs with another OpenPGP key" in err
    assert spasshd.user_file("ada") == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file or directory"),
        (b"", "not a file with one OpenPGP public key"),
        (b"garbage", "not a file with one OpenPGP public key"),
        (bytes(65_537), "the OpenPGP key has more than 65536 bytes"),
    ],
)
def test_a_file_that_has_no_key_adds_nobody(
    spasshd: Spasshd, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    code, out, err = spasshd.add("ada", str(path))
    assert (code, out) == (1, "")
    assert expected in err
    assert "hint: " in err
    assert not (spasshd.path.parent / "users.d" / "ada.toml").exists()


def test_a_key_whose_name_hides_its_fingerprint_adds_nobody(
    spasshd: Spasshd, tmp_path: Path
) -> None:
    """There would be a user who does not have to sign."""
    eve = Home()
    try:
        eve.make("ed25519", "eve\u0085fpr")
        (tmp_path / "eve").write_bytes(eve.gpg("--export", "--armor", "eve"))
    finally:
        eve.close()
    code, out, err = spasshd.add("eve", str(tmp_path / "eve"))
    assert (code, out) == (1, "")
    assert "not a file with one OpenPGP public key" in err
    assert not (spasshd.path.parent / "users.d" / "eve.toml").exists()


_SERVER = (
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
)


@pytest.mark.parametrize(
    "answer",
    [
        f'{"A" * 40}"]\nany_address = true\ngnupg = ["{"A" * 40}\n{_SERVER}',
        f'{"A" * 39}"\n{_SERVER}',
        f"\n{_SERVER}",
        f"{'A' * 40}\n\x1b[2J{_SERVER}",
        f"{'A' * 40}\n{_SERVER}\x1b[2J{_SERVER}",
        f"{'A' * 40}\n",
    ],
)
def test_what_the_account_says_is_not_believed(
    spasshd: Spasshd, file: str, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Whoever has taken the listener over is that account, and so traces its gpg."""
    monkeypatch.setattr(home, "_add", lambda *_: answer)
    code, out, err = spasshd.add("ada", file)
    assert (code, out) == (1, "")
    assert f"gpg does not work in {spasshd.gnupg_dir}" in err
    assert not (spasshd.path.parent / "users.d" / "ada.toml").exists()


def test_beside_another_key_the_user_signs_as_before(
    spasshd: Spasshd, file: str
) -> None:
    code, _, err = spasshd.add("ada", file, "--beside", KEY)
    assert code == 2
    assert "--gnupg: with --beside, the user signs as before" in err


def test_a_home_of_somebody_else_is_told(spasshd: Spasshd, file: str) -> None:
    os.mkdir(spasshd.gnupg_dir, 0o700)
    code, out, err = spasshd.add("ada", file)
    assert (code, out) == (1, "")
    what = f"gnupg_dir {spasshd.gnupg_dir} is no directory of the listener's account"
    assert f"spasshd: error: {what}\n" in err
    assert "hint: chown -R " in err
