"""`spassh enroll`, with a server that is made up and a home that is real."""

import _socket
import os
import pwd
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.openpgp import Home as Home_
from lab.openpgp import Party, end_parties, party
from unit.client.fake_ssh import FakeSsh
from unit.client.parties import CLIENT, NOW_MS, Gate, Home, invite, open_knock

from spassh.cli import main
from spassh.errors import ProfileError, SpasshError, UnreachableError, UsageError
from spassh.profile import load_keys, read_profile
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PUBLIC, encode_key
from spassh.protocol.names import check_user
from spassh.protocol.request import TCP
from spassh.proxy import Clocks
from spassh.ui import silent
from spassh.verbs import enroll
from spassh.verbs.ssh import Target

KEY = encode_key(PUBLIC, CLIENT)
GRANT = {"user": "ada", "address": "192.0.2.2", "port": "tcp/22", "seconds_left": 14}
CLOCKS = Clocks(lambda: 0.0, lambda: NOW_MS)

Captured = pytest.CaptureFixture[str]


class Scene:
    """A client who has a key, and a server that lets it enroll as ada."""

    def __init__(self, home: Home, fake_ssh: FakeSsh, gate: Gate) -> None:
        self.home = home
        self.ssh = fake_ssh
        self.gate = gate
        home.write_key()
        self.profile = home.profiles / "127.0.0.1.toml"
        self.invite = invite(
            user="ada", address="127.0.0.1", port=gate.knock_port, secret=b""
        )

    def accept(self, *grants: dict[str, Any], **counters: int) -> None:
        """Let the server take the user, and see this when we have knocked."""
        self.ssh.answer(self.invite + "\n")
        self.ssh.status(granted=1, frames=7)
        self.ssh.status(*grants, **({"granted": 2, "frames": 8} | counters))

    def enroll(self, *, yes: bool = True) -> None:
        enroll.run(Target("server", "root"), "ada", CLOCKS, silent, yes=yes)

    def fail(self) -> SpasshError:
        with pytest.raises(SpasshError) as caught:
            self.enroll()
        assert self.ssh.is_over()
        return caught.value

    def files(self) -> dict[str, bytes]:
        paths = [Path(self.home.path) / name for name in self.home.names()]
        return {str(path): path.read_bytes() for path in (*paths, self.ssh.config)}


@pytest.fixture
def scene(
    home: Home, fake_ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setattr(enroll, "user_config", lambda: str(fake_ssh.config))
    monkeypatch.setattr(enroll, "confirm", lambda _: None)
    with Gate() as gate:
        yield Scene(home, fake_ssh, gate)


def test_each_step_is_done_and_told(scene: Scene, capsys: Captured) -> None:
    scene.accept(GRANT)
    scene.enroll()
    assert scene.ssh.commands == [
        f"env LC_ALL=C spasshd user add ada --key {KEY} --address 127.0.0.1",
        "env LC_ALL=C spasshd status --json",
        "env LC_ALL=C spasshd status --json",
    ]
    profile = read_profile(str(scene.profile))
    assert (profile.hosts, profile.user) == (("127.0.0.1", "server"), "ada")
    assert load_keys(profile, scene.home.path).psk
    ours = f"{scene.home.path}/ssh_config"
    assert f'    Include "{ours}"\n' in scene.ssh.config.read_text()
    assert capsys.readouterr().out.splitlines() == [
        f"using the key that is there: {KEY}",
        "logged in to server as root",
        "server knows the key as user ada",
        f"wrote {scene.profile} for 127.0.0.1 server",
        f"added an Include of {ours} to {scene.ssh.config}",
        "test knock: the server lets 192.0.2.2 reach tcp/22 for 14 s",
    ]
    assert scene.ssh.is_over()


def test_the_knock_is_that_of_a_login(scene: Scene) -> None:
    scene.ssh.settings(port="2222")
    scene.accept(GRANT)
    scene.enroll()
    assert scene.gate.collect() == 1
    request = open_knock(scene.gate.knocks[0]).request
    assert (request.protocol, request.port) == (TCP, 2222)
    assert request.source_port == scene.gate.ports[0]


def test_to_do_it_again_changes_nothing(scene: Scene, capsys: Captured) -> None:
    scene.accept(GRANT)
    scene.enroll()
    before = scene.files()
    scene.accept(GRANT)
    scene.enroll(yes=False)
    assert scene.files() == before
    said = capsys.readouterr().out
    assert f"nothing to do: {scene.profile} has it all\n" in said
    assert "ssh goes through spassh already\n" in said


def test_a_key_is_made_if_there_is_none(scene: Scene, capsys: Captured) -> None:
    scene.home.key.unlink()
    scene.ssh.answer("", "spasshd: error: not yet\n", 1)
    scene.fail()
    said = capsys.readouterr().out
    made = re.search(r"^made a key: (spassh-public-\S+)$", said, re.MULTILINE)
    assert made
    assert f"--key {made[1]} " in scene.ssh.commands[0]
    scene.ssh.answer("", "spasshd: error: not yet\n", 1)
    scene.fail()
    assert f"using the key that is there: {made[1]}\n" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [None, False])
def test_without_a_yes_ssh_config_is_not_touched_and_the_lines_are_printed(
    scene: Scene,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool | None,
) -> None:
    monkeypatch.setattr(enroll, "confirm", lambda _: answer)
    scene.accept(GRANT)
    scene.enroll(yes=False)
    assert not scene.ssh.config.exists()
    said = capsys.readouterr().out
    assert (
        f"ssh goes through spassh with this at the end of {scene.ssh.config}:\n"
        f'    Host *\n        Include "{scene.home.path}/ssh_config"\n'
    ) in said
    assert "test knock: the server lets" in said


def test_a_yes_at_the_terminal_is_enough(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def agree(question: str) -> bool:
        questions.append(question)
        return True

    monkeypatch.setattr(enroll, "confirm", agree)
    scene.accept(GRANT)
    scene.enroll(yes=False)
    assert "Include" in scene.ssh.config.read_text()
    (question,) = questions
    assert str(scene.ssh.config) in question


def test_another_proxy_stays_and_is_told(scene: Scene, capsys: Captured) -> None:
    scene.ssh.settings(proxyjump="bastion")
    scene.accept(GRANT)
    scene.enroll()
    said = "ssh has a way of its own to this host, which stays: 'bastion'\n"
    assert said in capsys.readouterr().out
    assert not scene.ssh.config.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "bob"},
        {"address": "192.0.2.9"},
        {"client": PrivateKey(b"\5" * 32).public},
        {"secret": b"\5" * 32},
    ],
)
def test_an_invite_that_was_not_asked_for_is_not_taken(
    scene: Scene, changes: dict[str, object]
) -> None:
    asked = {"user": "ada", "address": "127.0.0.1", "secret": b""}
    scene.ssh.answer(invite(**(asked | changes)) + "\n")
    assert str(scene.fail()).startswith("the invite is for user ")
    assert not scene.profile.exists()


def test_a_profile_of_another_server_stays(scene: Scene) -> None:
    before = scene.home.profile("127.0.0.1.toml", user='"bob"').read_bytes()
    scene.ssh.answer(scene.invite + "\n")
    error = scene.fail()
    assert isinstance(error, ProfileError)
    assert scene.profile.read_bytes() == before
    assert not scene.ssh.config.exists()


def test_a_daemon_that_does_not_run_is_told_when_all_else_is_done(
    scene: Scene,
) -> None:
    scene.ssh.answer(scene.invite + "\n")
    scene.ssh.answer('{"running": false, "grants": []}\n', "", 3)
    assert str(scene.fail()) == "spasshd on server is not running"
    assert scene.profile.exists()
    assert scene.ssh.config.exists()


def test_a_knock_that_nobody_saw_is_sent_again_each_time_another_way(
    scene: Scene,
) -> None:
    scene.ssh.answer(scene.invite + "\n")
    for frames in range(5):
        scene.ssh.status(granted=1, frames=frames)
    error = scene.fail()
    assert str(error) == "no knock arrived at server"
    assert f"UDP to its port {scene.gate.knock_port}" in error.hint
    assert scene.gate.collect() == 4
    ports = [open_knock(one).request.source_port for one in scene.gate.knocks]
    assert [bool(port) for port in ports] == [True, False, True, False]


@pytest.mark.parametrize(
    ("counters", "seen", "hint"),
    [
        ({"stale": 1}, "stale 1", "see that the clocks"),
        ({"refused": 2, "busy": 1}, "busy 1, refused 2", "see the user's ports"),
        ({"unauthentic": 1}, "unauthentic 1", "restart spasshd there"),
        ({"failed": 1}, "failed 1", "see the log of spasshd there"),
    ],
)
def test_a_knock_that_is_not_granted_is_told_with_the_reason(
    scene: Scene, counters: dict[str, int], seen: str, hint: str
) -> None:
    scene.ssh.answer(scene.invite + "\n")
    scene.ssh.status(granted=1)
    for _ in range(4):
        scene.ssh.status(GRANT, granted=1, frames=9, **counters)
    error = scene.fail()
    assert str(error) == f"server did not let the knock in: {seen}"
    assert error.hint.startswith(hint)


def test_a_grant_of_somebody_else_is_not_shown(scene: Scene, capsys: Captured) -> None:
    bob = GRANT | {"user": "bob", "address": "192.0.2.3"}
    nobody = GRANT | {"user": "", "address": "192.0.2.4"}
    scene.accept(bob, GRANT, nobody)
    scene.enroll()
    said = re.findall(r"lets (\S+) reach", capsys.readouterr().out)
    assert said == ["192.0.2.2", "192.0.2.4"]


def test_a_grant_of_somebody_else_is_none_of_ours(scene: Scene) -> None:
    scene.ssh.answer(scene.invite + "\n")
    scene.ssh.status(granted=1)
    for _ in range(4):
        scene.ssh.status(GRANT | {"user": "bob"}, granted=2, refused=1)
    error = scene.fail()
    assert str(error) == "server did not let the knock in: granted 1, refused 1"


def test_no_way_to_the_server_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 22, 0, 0))
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: [nowhere])
    scene.accept(GRANT)
    assert isinstance(scene.fail(), UnreachableError)


def test_an_interruption_ends_the_session_and_leaves_what_is_done(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(enroll, "confirm", interrupted)
    scene.accept(GRANT)
    with pytest.raises(KeyboardInterrupt):
        scene.enroll(yes=False)
    assert scene.ssh.is_over()
    assert scene.profile.exists()


def test_the_command_line_says_it_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["enroll", "-v", "--yes", "-p", "2222", "--name", "ada", "ann@server"]
    monkeypatch.setattr(sys, "argv", ["spassh", *words])
    scene.ssh.settings(user="ann")
    scene.accept(GRANT)
    assert main() == 0
    said = capfd.readouterr()
    assert "logged in to server as ann\n" in said.out
    story = "ms: running on the server: env LC_ALL=C sudo -n spasshd user add ada"
    assert story in said.err
    for told in scene.ssh.told:
        assert "-p 2222 -l ann" in " ".join(told["argv"])


def test_a_host_name_that_no_profile_can_have_is_told(scene: Scene) -> None:
    scene.ssh.settings(hostname="sérver")
    with pytest.raises(UsageError, match="not a host: sérver"):
        scene.enroll()


@pytest.mark.parametrize(
    ("who", "host", "name"),
    [
        ("ann", "laptop.example.org", "ann-laptop"),
        ("ann", "my laptop", "ann-my-laptop"),
        (".ann", "läptop", "ann-l-ptop"),
        ("a" * 40, "laptop", "a" * 32),
        ("---", "", "client"),
    ],
)
def test_the_name_is_made_of_login_and_computer(
    monkeypatch: pytest.MonkeyPatch, who: str, host: str, name: str
) -> None:
    account = pwd.struct_passwd((who, "x", 1, 1, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: account)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert enroll.default_name() == check_user(name)


def test_a_computer_that_does_not_know_who_we_are_has_a_name_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert enroll.default_name().startswith(f"{os.getuid()}-")


@pytest.fixture(scope="module")
def curve() -> Iterator[Party]:
    yield party("ed25519")
    end_parties()


class TestSigning:
    """`--gnupg` gives one key away, and takes one in."""

    @pytest.fixture(autouse=True)
    def mine(self, curve: Party, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home_]:
        home = Home_()
        home.gpg("--import", data=curve.client.gpg("--export-secret-keys"))
        monkeypatch.setenv("GNUPGHOME", home.path)
        yield home
        home.close()

    def accept(self, scene: Scene, curve: Party) -> None:
        theirs = curve.server.gpg("--export", "--armor", curve.recipient).decode()
        scene.ssh.answer(f"welcome\n{scene.invite}\n{theirs}")
        scene.ssh.status(granted=1)
        scene.ssh.status(GRANT, granted=2)

    def enroll(self, keyid: str) -> None:
        target = Target("server", "root")
        enroll.run(target, "ada", CLOCKS, silent, yes=True, gnupg=keyid)

    def test_is_set_up_on_both_sides(
        self, scene: Scene, curve: Party, mine: Home_, capsys: Captured
    ) -> None:
        self.accept(scene, curve)
        self.enroll("ada")
        assert scene.ssh.commands[0] == (
            f"env LC_ALL=C spasshd user add ada --key {KEY} --address 127.0.0.1"
            " --gnupg -"
        )
        given = scene.ssh.told[2]["stdin"] or scene.ssh.told[1]["stdin"]
        assert given.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        profile = read_profile(str(scene.profile))
        keys = (profile.format, profile.gnupg_key, profile.gnupg_server)
        assert keys == ("gnupg", curve.signer, curve.recipient)
        assert mine.fingerprint("spasshd") == curve.recipient
        said = capsys.readouterr().out
        assert f"has requests signed by {curve.signer}\n" in said
        # The knock that follows is a signed one.
        assert scene.gate.collect() == 1
        assert open_knock(scene.gate.knocks[0]).signed is not None

    def test_of_the_first_who_signs_takes_a_restart_there(
        self, scene: Scene, curve: Party
    ) -> None:
        theirs = curve.server.gpg("--export", "--armor", curve.recipient).decode()
        note = 'spasshd: note text="restart spasshd: it has begun without gpg, and"\n'
        scene.ssh.answer(f"{scene.invite}\n{theirs}", note)
        with pytest.raises(SpasshError, match="has begun without gpg"):
            self.enroll("ada")
        assert read_profile(str(scene.profile)).format == "gnupg"
        assert "Include" in scene.ssh.config.read_text()
        assert scene.gate.collect() == 0

    def test_may_be_done_again(self, scene: Scene, curve: Party) -> None:
        for _ in range(2):
            self.accept(scene, curve)
            self.enroll(curve.signer)
            assert read_profile(str(scene.profile)).gnupg_key == curve.signer

    def test_without_it_the_profile_signs_as_before(
        self, scene: Scene, curve: Party
    ) -> None:
        self.accept(scene, curve)
        self.enroll(curve.signer)
        scene.accept(GRANT)
        scene.enroll()
        assert read_profile(str(scene.profile)).gnupg_key == curve.signer

    def test_with_a_password_of_sudo_comes_after_that(
        self, scene: Scene, curve: Party, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(enroll, "ask_password", lambda _: "secret")
        scene.ssh.settings(user="ann")
        scene.ssh.answer("", "sudo: a password is required\n", 1)
        self.accept(scene, curve)
        self.enroll(curve.signer)
        given = [one for one in scene.ssh.passwords if one.startswith("secret\n-----B")]
        assert len(given) == 1

    def test_with_another_key_than_the_profiles_is_refused(
        self, scene: Scene, curve: Party, mine: Home_
    ) -> None:
        self.accept(scene, curve)
        self.enroll(curve.signer)
        other = mine.make("ed25519", "another")
        with pytest.raises(UsageError, match="has another key to sign with"):
            self.enroll(other)

    def test_of_an_invite_comes_after_its_key_is_replaced(self, scene: Scene) -> None:
        scene.home.profile(
            "127.0.0.1.toml", hosts='["127.0.0.1"]', user='"ada"', invite="true"
        )
        with pytest.raises(UsageError, match="is to get another key"):
            self.enroll("ada")

    def test_by_a_name_that_two_have_is_refused(
        self, scene: Scene, mine: Home_
    ) -> None:
        mine.make("ed25519", "ada too")
        with pytest.raises(UsageError, match="more than one secret key of ada can"):
            self.enroll("ada")
        assert scene.ssh.commands == []

    def test_by_a_key_that_nobody_has_is_refused(self, scene: Scene) -> None:
        with pytest.raises(UsageError, match="no secret key of bob can sign"):
            self.enroll("bob")
        assert scene.ssh.commands == []

    @pytest.mark.parametrize("which", ["a secret key", "two keys", "no fingerprint"])
    def test_by_a_server_that_gives_more_takes_nothing_in(
        self, scene: Scene, mine: Home_, which: str
    ) -> None:
        """gpg would have its secret key among those that the user signs with."""
        before = mine.gpg("--list-keys"), mine.gpg("--list-secret-keys")
        eve = Home_()
        try:
            eve.make("ed25519", "eve\u0085fpr" if which == "no fingerprint" else "eve")
            if which == "two keys":
                eve.make("ed25519", "mallory")
            words = ("--export-secret-keys",) if "secret" in which else ("--export",)
            theirs = eve.gpg(*words, "--armor").decode().replace("PRIVATE", "PUBLIC")
        finally:
            eve.close()
        scene.ssh.answer(f"{scene.invite}\n{theirs}")
        with pytest.raises(SpasshError, match="no OpenPGP key came from server"):
            self.enroll("ada")
        assert (mine.gpg("--list-keys"), mine.gpg("--list-secret-keys")) == before
        assert not scene.profile.exists()

    @pytest.mark.parametrize("answer", ["", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"])
    def test_by_a_server_that_gives_no_key_is_told(
        self, scene: Scene, answer: str
    ) -> None:
        scene.ssh.answer(f"{scene.invite}\n{answer}")
        with pytest.raises(SpasshError, match="no OpenPGP key came from server"):
            self.enroll("ada")
        assert not scene.profile.exists()
