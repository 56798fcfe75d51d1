"""Keys that come and go one by one: invites, `--beside` and `user remove --key`."""

import fcntl
import os
import threading
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from unit.server.firewall_double import RecordingFirewall

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.invite import Invite, decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh_server import files
from spassh_server.key_tables import without_key

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli
from spassh_server.verbs import check, user_file, user_remove

Captured = pytest.CaptureFixture[str]


def own(number: int) -> str:
    """Return the public half of a key that a client has made."""
    return encode_key(PUBLIC, PrivateKey(bytes([0, number]).ljust(32, b"\0")).public)


class Spasshd:
    """`spasshd VERB ... --config PATH`, in this process."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self.path = directory / "spasshd.toml"
        self.users = directory / "users.d"
        self._capsys = capsys
        assert self("init", "--address", "192.0.2.1")[0] == 0

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def add(self, *words: str) -> Invite:
        code, out, err = self("user", "add", *words)
        assert (code, out.count("\n")) == (0, 1), err
        return decode_invite(out.strip())

    def text(self, name: str = "ada") -> str:
        return (self.users / f"{name}.toml").read_text()

    def tables(self, name: str = "ada") -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = tomllib.loads(self.text(name))["key"]
        return keys

    def publics(self, name: str = "ada") -> list[str]:
        return [key["public"] for key in self.tables(name)]


@pytest.fixture
def spasshd(tmp_path: Path, capsys: Captured) -> Spasshd:
    return Spasshd(tmp_path / "etc", capsys)


# Which keys are invites


def test_a_key_that_is_made_here_is_an_invite_until_it_is_replaced(
    spasshd: Spasshd,
) -> None:
    spasshd.add("ada")
    (key,) = spasshd.tables()
    assert key["invite"] is True
    assert spasshd("user", "list")[1] == "ada\ttcp/22\t15 s\t1 key\t1 invite\n"
    assert spasshd("user", "rotate", "ada")[0] == 0
    assert [one["invite"] for one in spasshd.tables()] == [True, True]
    assert spasshd("user", "list")[1] == "ada\ttcp/22\t15 s\t2 keys\t2 invites\n"


def test_a_key_that_the_client_has_made_is_none(spasshd: Spasshd) -> None:
    spasshd.add("ada", "--key", own(1))
    assert spasshd("user", "rotate", "ada", "--key", own(2))[0] == 0
    assert ["invite" in one for one in spasshd.tables()] == [False, False]
    assert spasshd("user", "list")[1] == "ada\ttcp/22\t15 s\t2 keys\n"


def test_check_names_who_still_has_the_key_of_an_invite(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "choose", lambda *_: (RecordingFirewall(), ""))
    spasshd.add("ada")
    spasshd.add("bob", "--key", own(1))
    spasshd.add("cat")
    path = spasshd.users / "cat.toml"
    path.write_text(path.read_text() + "expires = 2020-01-01\n")
    code, out, _ = spasshd("check")
    assert code == 0
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert notes == ["note: ada has the key of an invite: 'spassh enroll' replaces it"]
    assert spasshd("user", "list")[1].splitlines()[2] == (
        "cat\ttcp/22\t15 s\t1 key\t1 expired key"
    )


@pytest.mark.parametrize("value", ['"yes"', "1", "[true]"])
def test_an_invite_is_true_or_false(spasshd: Spasshd, value: str) -> None:
    spasshd.add("ada")
    text = spasshd.text().replace("invite = true", f"invite = {value}")
    (spasshd.users / "ada.toml").write_text(text)
    code, _, err = spasshd("user", "list")
    assert code == 1
    assert "invite: expected true or false" in err


@pytest.mark.parametrize("words", [("add", "ada"), ("rotate", "bob")])
def test_an_invite_may_end_by_itself(spasshd: Spasshd, words: tuple[str, str]) -> None:
    spasshd.add("bob", "--key", own(1))
    assert spasshd("user", *words, "--valid-for", "3")[0] == 0
    left = spasshd.tables(words[1])[-1]["expires"] - datetime.now(UTC)
    assert timedelta(days=3) - timedelta(minutes=5) < left <= timedelta(days=3)


def test_a_key_that_the_client_has_made_does_not_end_by_itself(
    spasshd: Spasshd,
) -> None:
    code, out, err = spasshd("user", "add", "ada", "--key", own(1), "--valid-for", "3")
    assert (code, out) == (2, "")
    assert "error: --valid-for is for a key that is made here\n" in err
    assert os.listdir(spasshd.users) == []


@pytest.mark.parametrize("days", ["0", "-1", "3651", "x"])
def test_the_days_of_an_invite_have_bounds(spasshd: Spasshd, days: str) -> None:
    with pytest.raises(SystemExit) as caught:
        spasshd("user", "add", "ada", f"--valid-for={days}")
    assert caught.value.code == 2


# One key more


def test_a_key_beside_another_is_added_and_the_other_stays_as_it_is(
    spasshd: Spasshd,
) -> None:
    old = spasshd.add("ada", "--valid-for", "3")
    before = spasshd.text()
    beside = ("--beside", encode_key(PUBLIC, old.client))
    new = spasshd.add("ada", "--key", own(1), *beside)
    assert (new.user, new.secret) == ("ada", b"")
    assert encode_key(PUBLIC, new.client) == own(1)
    assert new.psk != old.psk
    assert spasshd.text().startswith(before)
    assert spasshd.publics() == [encode_key(PUBLIC, old.client), own(1)]
    assert spasshd.tables()[1].keys() == {"public", "psk"}
    assert os.listdir(spasshd.users) == ["ada.toml"]
    # Whoever was interrupted does it again, also if the old key is gone by then.
    text = spasshd.text()
    assert spasshd.add("ada", "--key", own(1), *beside) == new
    assert spasshd.text() == text
    assert spasshd("user", "remove", "ada", "--key", beside[1])[0] == 0
    assert spasshd.add("ada", "--key", own(1), *beside) == new


FWKNOP = """\
ports = ["tcp/22"]
lifetime = 30

[[key]]
format = "fwknop"
key = "an old passphrase"
hmac_key = "and another one"
"""


def came_from_fwknop(spasshd: Spasshd) -> None:
    """Make ada a user as `import-fwknop` does."""
    spasshd.path.write_text(f"fwknop = true\n{spasshd.path.read_text()}")
    path = spasshd.users / "ada.toml"
    path.write_text(FWKNOP)
    path.chmod(0o600)


def test_who_comes_from_fwknop_gets_a_key_beside_the_old_one(spasshd: Spasshd) -> None:
    came_from_fwknop(spasshd)
    code, out, err = spasshd("user", "add", "ada", "--key", own(1))
    invite = decode_invite(out.strip())
    assert (code, encode_key(PUBLIC, invite.client)) == (0, own(1))
    note = "the key of ada is beside those for packets of fwknop: they go on"
    assert note in err
    assert spasshd.text().startswith(FWKNOP)
    assert spasshd.tables()[1].keys() == {"public", "psk"}
    # Again it is the same key, and somebody else's is refused from now on.
    assert spasshd.add("ada", "--key", own(1)) == invite
    code, _, err = spasshd("user", "add", "ada", "--key", own(2))
    assert (code, "user 'ada' exists already" in err) == (1, True)
    assert len(spasshd.tables()) == 2


def test_who_comes_from_fwknop_gets_no_port_with_the_key(spasshd: Spasshd) -> None:
    text = spasshd.path.read_text()
    spasshd.path.write_text(text.replace('["tcp/22"]', '["tcp/22", "tcp/443"]'))
    came_from_fwknop(spasshd)
    code, _, err = spasshd("user", "add", "ada", "--key", own(1), "--port", "tcp/443")
    assert (code, "user 'ada' exists already" in err) == (1, True)
    assert spasshd.text() == FWKNOP
    spasshd.add("ada", "--key", own(1), "--port", "tcp/22")


def test_a_second_invite_can_be_made_for_the_same_user(spasshd: Spasshd) -> None:
    spasshd.add("ada", "--key", own(1))
    second = spasshd.add("ada", "--beside", own(1))
    assert spasshd.publics() == [own(1), encode_key(PUBLIC, second.client)]
    assert [one.get("invite", False) for one in spasshd.tables()] == [False, True]


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["ada", "--beside", own(9)], 1, "user 'ada' has no such key"),
        (["ada", "--beside", own(2)], 1, "user 'ada' has no such key"),
        (["eve", "--beside", own(1)], 1, "no file of user 'eve'"),
        (["ada", "--beside", "spassh-public-x"], 2, "--beside: damaged key"),
        (["ada", "--beside", own(1), "--port", "tcp/22"], 2, "--port: with --beside"),
        (["ada", "--beside", own(1), "--key", own(2)], 1, "the key belongs to user 'b"),
        (["ada", "--key", own(3)], 1, "user 'ada' exists already"),
    ],
)
def test_a_key_that_cannot_be_added_changes_nothing(
    spasshd: Spasshd, words: list[str], code: int, what: str
) -> None:
    spasshd.add("ada", "--key", own(1))
    spasshd.add("bob", "--key", own(2))
    before = spasshd.text()
    got, out, err = spasshd("user", "add", *words)
    assert (got, out) == (code, "")
    assert f"error: {what}" in err
    assert spasshd.text() == before
    assert sorted(os.listdir(spasshd.users)) == ["ada.toml", "bob.toml"]


# One key less


def test_one_key_is_taken_away_and_the_rest_of_the_file_stays(spasshd: Spasshd) -> None:
    spasshd.add("ada", "--key", own(1))
    path = spasshd.users / "ada.toml"
    path.write_text(f"{path.read_text()}\n# the laptop\n")
    before = spasshd.text()
    spasshd.add("ada", "--key", own(2), "--beside", own(1))
    assert spasshd("user", "remove", "ada", "--key", own(2)) == (0, "", "")
    assert spasshd.text() == before
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["ada", "--key", own(9)], 1, "user 'ada' has no such key"),
        (["bob", "--key", own(3)], 1, "it is the only key of user 'bob'"),
        (["eve", "--key", own(1)], 1, "no file of user 'eve'"),
        (["../ada", "--key", own(1)], 1, "no user '../ada'"),
        (["ada", "--key", "spassh-public-x"], 2, "--key: damaged key"),
    ],
)
def test_a_key_that_cannot_be_taken_away_changes_nothing(
    spasshd: Spasshd, words: list[str], code: int, what: str
) -> None:
    spasshd.add("ada", "--key", own(1))
    spasshd.add("ada", "--key", own(2), "--beside", own(1))
    spasshd.add("bob", "--key", own(3))
    before = spasshd.text()
    got, out, err = spasshd("user", "remove", *words)
    assert (got, out) == (code, "")
    assert f"error: {what}" in err
    assert spasshd.text() == before
    assert sorted(os.listdir(spasshd.users)) == ["ada.toml", "bob.toml"]


def inline(text: str) -> str:
    keys = tomllib.loads(text)["key"]
    tables = (f'{{public = "{one["public"]}", psk = "{one["psk"]}"}}' for one in keys)
    return f"key = [{', '.join(tables)}]\n"


def test_a_key_in_a_spelling_of_its_own_is_left_to_people(spasshd: Spasshd) -> None:
    spasshd.add("ada", "--key", own(1))
    spasshd.add("ada", "--key", own(2), "--beside", own(1))
    path = spasshd.users / "ada.toml"
    path.write_text(inline(path.read_text()))
    before = spasshd.text()
    code, out, err = spasshd("user", "remove", "ada", "--key", own(1))
    assert (code, out) == (1, "")
    assert f"error: {path}: the key cannot be taken out\n" in err
    for words in (("rotate", "ada"), ("add", "ada", "--beside", own(1))):
        code, out, err = spasshd("user", *words)
        assert (code, out) == (1, "")
        assert f"error: {path}:3: not valid TOML: Cannot mutate immutable" in err
    assert spasshd.text() == before


def test_what_looks_like_a_key_and_is_none_does_not_lead_to_another_key(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the text is like, no key goes but the one that was named."""
    spasshd.add("ada", "--key", own(1))
    spasshd.add("ada", "--key", own(2), "--beside", own(1))
    spasshd.add("ada", "--key", own(3), "--beside", own(1))
    before = spasshd.text()

    def another(text: str, number: int) -> str:
        return without_key(text, 1 + number % 2)

    monkeypatch.setattr(user_remove, "without_key", another)
    code, _, err = spasshd("user", "remove", "ada", "--key", own(1))
    assert code == 1
    assert "the key cannot be taken out" in err
    assert spasshd.text() == before


# Two at once


@pytest.mark.parametrize("first", ["add", "rotate", "remove"])
def test_what_two_verbs_write_at_once_is_not_lost(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Clients change their keys by themselves, and two may do so at the same time."""
    spasshd.add("ada", "--key", own(1))
    spasshd.add("ada", "--key", own(2), "--beside", own(1))
    waits = threading.Event()
    really_lock = fcntl.flock
    other = threading.Thread(
        target=cli.main,
        args=[["user", "add", "ada", "--key", own(3), "--beside", own(1)]],
    )

    def flock(fd: int, operation: int) -> None:
        if threading.current_thread() is other:
            waits.set()
        really_lock(fd, operation)

    def replace(path: str, text: str) -> None:
        if threading.current_thread() is not other:
            # Right between reading and writing.
            other.start()
            assert waits.wait(60)
        files.replace(path, text)

    monkeypatch.setattr(cli, "DEFAULT_PATH", str(spasshd.path))
    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(user_file, "replace", replace)
    words = {
        "add": ("add", "ada", "--key", own(4), "--beside", own(1)),
        "rotate": ("rotate", "ada", "--key", own(4)),
        "remove": ("remove", "ada", "--key", own(2)),
    }
    assert spasshd("user", *words[first])[0] == 0
    other.join()
    expected = {own(1), own(2), own(3), own(4)}
    if first == "remove":
        expected -= {own(2), own(4)}
    assert set(spasshd.publics()) == expected
