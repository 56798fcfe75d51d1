import os
import pty
import stat
from pathlib import Path

import pytest
from unit.client.parties import CLIENT, INVITE, KEYS, SERVER_KEYS, Home, invite

from spassh.errors import ProfileError, SpasshError, UsageError
from spassh.patterns import Wanted
from spassh.profile import Profile, find, load_keys, parse_profile, read_profile
from spassh.protocol import sealed_invite
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.invite import decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh.protocol.sealed_invite import seal_invite
from spassh.verbs import import_, passphrase
from spassh.verbs.import_ import MAX_INVITE_BYTES, render, run

OTHER_SERVER = PrivateKey(b"\4" * 32).public
OTHER_CLIENT = PrivateKey(b"\5" * 32).public


class Desk:
    """Where invites are imported from standard input."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.path = home.profiles / "server.example.toml"
        self._monkeypatch = monkeypatch

    def take(
        self,
        text: str | bytes,
        *names: str,
        force: bool = False,
        passphrase_file: str = "",
    ) -> None:
        """Import what standard input gives."""
        read, write = os.pipe()
        os.write(write, text.encode() if isinstance(text, str) else text)
        os.close(write)
        self._monkeypatch.setattr(import_, "_STDIN", read)
        try:
            run("-", list(names), force=force, passphrase_file=passphrase_file)
        finally:
            os.close(read)

    @property
    def profile(self) -> Profile:
        return read_profile(str(self.path))


@pytest.fixture
def desk(home: Home, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(home, monkeypatch)


def test_an_invite_becomes_a_profile_that_is_found(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.take(invite(port=4711), "SSH.example.", "192.0.2.1")
    for host in ("server.example", "ssh.example", "192.0.2.1"):
        profile = find(desk.home.path, Wanted(host))
        assert profile == desk.profile
    assert desk.profile.user == "alice"
    assert desk.profile.port == 4711
    assert load_keys(desk.profile, desk.home.path) == KEYS
    said = capsys.readouterr().out.splitlines()
    hosts = "server.example SSH.example. 192.0.2.1"
    assert said[0] == f"wrote {desk.path} for {hosts}"
    assert "        ProxyCommand spassh proxy --fdpass -- %h %p" in said


def test_only_the_user_can_read_what_is_written(desk: Desk) -> None:
    mask = os.umask(0)
    try:
        desk.take(invite())
    finally:
        os.umask(mask)
    for path, mode in (
        (Path(desk.home.path), 0o700),
        (desk.home.profiles, 0o700),
        (desk.path, 0o600),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert desk.home.names() == ["profiles/server.example.toml"]


@pytest.mark.parametrize("before", ["", "\n \t", "\r\n"])
@pytest.mark.parametrize("after", ["", "\n", " \r\n\n"])
def test_white_space_around_an_invite_does_not_matter(
    desk: Desk, before: str, after: str
) -> None:
    desk.take(before + invite() + after)
    assert desk.profile.hosts == ("server.example",)


def test_an_invite_can_come_in_a_file_that_is_to_be_removed(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my invite"
    file.write_text(invite() + "\n")
    run(str(file), [], force=False)
    assert desk.profile.hosts == ("server.example",)
    said = capsys.readouterr().out.splitlines()
    assert said[1] == f"the invite is as secret as a key: rm '{file}'"


def test_on_a_terminal_one_line_is_enough_and_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    master, slave = pty.openpty()
    monkeypatch.setattr(import_, "_STDIN", slave)
    os.write(master, invite().encode() + b"\n")
    run("-", [], force=False)
    os.close(master)
    os.close(slave)
    assert desk.profile.hosts == ("server.example",)
    assert capfd.readouterr().err == "spassh: paste the invite, then press Enter\n"


def test_the_name_of_the_file_does_not_depend_on_how_the_host_is_spelled(
    desk: Desk,
) -> None:
    desk.take(invite(address="Server.Example."))
    assert desk.profile.hosts == ("Server.Example.",)
    desk.take(invite(address="server.example"))
    assert desk.home.names() == ["profiles/server.example.toml"]


def test_the_same_invite_again_changes_nothing_and_says_so(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.take(invite(), "192.0.2.1")
    before = desk.path.stat()
    capsys.readouterr()
    desk.take(invite(), "192.0.2.1")
    desk.take(invite())
    assert desk.path.stat() == before
    said = f"nothing to do: {desk.path} has it all\n"
    assert capsys.readouterr().out == 2 * said


def test_the_same_invite_with_another_name_adds_it_and_says_so(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.take(invite(), "192.0.2.1", "2001:db8::1")
    capsys.readouterr()
    desk.take(invite(), "2001:DB8:0::1", "SERVER.example", "new.example")
    hosts = ("server.example", "192.0.2.1", "2001:db8::1", "new.example")
    assert desk.profile.hosts == hosts
    said = capsys.readouterr().out
    assert said.startswith(f"updated {desk.path} for {' '.join(hosts)}\n")


def test_a_new_invite_from_the_same_server_renews_the_keys(desk: Desk) -> None:
    desk.take(invite(), "192.0.2.1")
    text = desk.path.read_text()
    mine = 'timeout = 30\nname = "192.0.2.9"\nwidth = "flow"\nschedule = [0, 9]\n'
    desk.path.write_text(text + mine)
    desk.take(invite(psk=b"\6" * 32, port=4711))
    profile = desk.profile
    assert load_keys(profile, "").psk == b"\6" * 32
    assert profile.hosts == ("server.example", "192.0.2.1")
    assert (profile.port, profile.timeout) == (4711, 30)
    assert (profile.name, profile.width) == ("192.0.2.9", "flow")
    assert profile.schedule == (0, 9)


@pytest.mark.parametrize(
    ("changes", "owner"),
    [({"server": OTHER_SERVER}, "another server"), ({"user": "bob"}, "user alice")],
)
def test_the_profile_of_somebody_else_is_not_replaced_unasked(
    desk: Desk, changes: dict[str, object], owner: str
) -> None:
    desk.take(invite(), "192.0.2.1")
    before = desk.path.read_bytes()
    with pytest.raises(ProfileError) as caught:
        desk.take(invite(**changes))
    assert str(caught.value) == f"{desk.path}: belongs to {owner}"
    assert caught.value.hint == (
        f"'spassh import --force' replaces it, 'rm {desk.path}' forgets it"
    )
    assert desk.path.read_bytes() == before


@pytest.mark.parametrize("changes", [{"server": OTHER_SERVER}, {"user": "bob"}])
def test_by_force_it_is_and_what_the_invite_does_not_say_stays(
    desk: Desk, changes: dict[str, object]
) -> None:
    """The names above all: ssh would go past spassh, to a port that is shut."""
    desk.take(invite(), "192.0.2.1", "a.example")
    desk.path.write_text(desk.path.read_text() + "timeout = 30\n")
    desk.take(invite(**changes), "b.example", force=True)
    profile = desk.profile
    assert profile.hosts == ("server.example", "192.0.2.1", "a.example", "b.example")
    assert profile.timeout == 30
    expected = decode_invite(invite(**changes))
    assert profile.user == expected.user
    assert load_keys(profile, "").server == expected.server


def test_a_broken_profile_is_not_replaced_unasked(desk: Desk) -> None:
    path = desk.home.write("server.example.toml", "hosts = ]\n")
    with pytest.raises(ProfileError) as caught:
        desk.take(invite())
    assert str(caught.value) == f"{path}: is there already, and cannot be used"
    assert "not TOML" in caught.value.hint
    assert "spassh import --force" in caught.value.hint
    desk.take(invite(), force=True)
    assert desk.profile.hosts == ("server.example",)


def test_a_host_of_another_profile_is_not_taken_over(desk: Desk) -> None:
    other = desk.home.profile("other.toml", hosts='["192.0.2.1", "x"]')
    desk.home.write("broken.toml", "not toml")
    with pytest.raises(ProfileError) as caught:
        desk.take(invite(), "X", force=True)
    assert str(caught.value) == f"{other}: names 'x' already"
    assert caught.value.hint == f"take the host out of it, or: rm {other}"
    assert not desk.path.exists()


def test_an_invite_for_ones_own_key_leaves_the_secret_where_it_is(desk: Desk) -> None:
    desk.home.write_key()
    desk.take(invite(secret=b""))
    assert "secret" not in desk.path.read_text()
    assert load_keys(desk.profile, desk.home.path) == KEYS


def test_an_invite_for_ones_own_key_needs_one(desk: Desk) -> None:
    with pytest.raises(ProfileError) as caught:
        desk.take(invite(secret=b""))
    assert str(caught.value) == f"{desk.home.key}: there is no key"
    assert "spassh keygen" in caught.value.hint
    assert not os.path.exists(desk.home.path)


def test_an_invite_for_another_key_is_told_with_both(desk: Desk) -> None:
    desk.home.write_key()
    with pytest.raises(ProfileError) as caught:
        desk.take(invite(client=OTHER_CLIENT, secret=b""))
    theirs, ours = encode_key(PUBLIC, OTHER_CLIENT), encode_key(PUBLIC, CLIENT)
    assert str(caught.value) == (
        f"{desk.home.key}: the invite is for another key: {theirs}"
    )
    assert caught.value.hint == f"have the server make an invite for this one: {ours}"
    assert desk.home.names() == ["key"]


PASSPHRASE = "correct horse battery staple"  # noqa: S105 - of a test
SEALED = seal_invite(INVITE, PASSPHRASE, bytes(16))


def typing(monkeypatch: pytest.MonkeyPatch, *typed: str | None) -> list[str]:
    """Answer at the terminal; return where the prompts are written down."""
    answers, prompts = iter(typed), list[str]()

    def ask(prompt: str) -> str | None:
        prompts.append(prompt)
        return next(answers)

    monkeypatch.setattr(passphrase, "ask_password", ask)
    return prompts


def test_a_sealed_invite_takes_its_passphrase(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = typing(monkeypatch, PASSPHRASE)
    desk.take(f"\n {SEALED}\r\n", "192.0.2.1")
    assert desk.profile.hosts == ("server.example", "192.0.2.1")
    assert load_keys(desk.profile, desk.home.path) == KEYS
    assert prompts == ["passphrase of the invite: "]


def test_a_passphrase_may_be_typed_three_times(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prompts = typing(monkeypatch, "", "wrong", PASSPHRASE)
    desk.take(SEALED)
    assert desk.path.exists()
    assert len(prompts) == 3
    assert capfd.readouterr().err == 2 * "spassh: that is not it\n"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([None], "the invite takes a passphrase, and there is no terminal to ask"),
        (["a", "b", "c"], "the passphrase is wrong"),
        (["a", None], "the invite takes a passphrase, and there is no terminal to ask"),
    ],
)
def test_without_its_passphrase_a_sealed_invite_stays_shut(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str | None],
    message: str,
) -> None:
    typing(monkeypatch, *typed)
    with pytest.raises(SpasshError) as caught:
        desk.take(SEALED)
    assert str(caught.value).startswith(message)
    assert not os.path.exists(desk.home.path)


def test_a_damaged_sealed_invite_asks_for_no_passphrase(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = typing(monkeypatch)
    for text in (SEALED[:-1], SEALED.swapcase()[13:], SEALED[3:], "spassh-sealed-9-x"):
        with pytest.raises(SpasshError, match=r"^cannot read the invite: "):
            desk.take(text)
    assert prompts == []


def test_what_is_sealed_and_no_invite_is_not_asked_for_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = typing(monkeypatch, PASSPHRASE, PASSPHRASE)
    monkeypatch.setattr(sealed_invite, "encode_body", lambda _: bytes(3))
    with pytest.raises(SpasshError) as caught:
        desk.take(sealed_invite.seal_invite(INVITE, PASSPHRASE, bytes(16)))
    assert str(caught.value) == (
        "cannot read the invite: invite breaks a rule of its format"
    )
    assert len(prompts) == 1


def test_a_machine_that_is_too_small_for_scrypt_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    typing(monkeypatch, PASSPHRASE)
    monkeypatch.setattr(passphrase, "open_sealed", no_memory)
    with pytest.raises(SpasshError, match="not enough memory for a passphrase"):
        desk.take(SEALED)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nsecond line\n"])
def test_a_passphrase_comes_from_the_first_line_of_a_private_file(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    prompts = typing(monkeypatch)
    file = tmp_path / "passphrase"
    file.write_bytes(f"{PASSPHRASE}{end}".encode())
    file.chmod(0o644)
    with pytest.raises(ProfileError, match="other users can read or change it"):
        desk.take(SEALED, passphrase_file=str(file))
    file.chmod(0o600)
    desk.take(SEALED, passphrase_file=str(file))
    assert desk.path.exists()
    assert prompts == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read the invite: not an invite: it does not begin with"),
        ("hello\n", "cannot read the invite: not an invite"),
        (b"\xff\xfe", "cannot read the invite: not an invite"),
        ("spassh-invite-2-AAAA", "cannot read the invite: invite of another version"),
        (invite()[:-1], "cannot read the invite: "),
        (invite() + "x", "cannot read the invite: "),
        (invite() + " " + invite(), "cannot read the invite: "),
        (invite().swapcase(), "cannot read the invite: "),
        (invite() + " " * MAX_INVITE_BYTES, "no invite: longer than 4096 bytes"),
    ],
)
def test_what_is_no_invite_is_told_and_not_shown(
    desk: Desk, text: str | bytes, message: str
) -> None:
    with pytest.raises(SpasshError) as caught:
        desk.take(text)
    assert str(caught.value).startswith(message)
    assert invite()[30:60] not in str(caught.value) + caught.value.hint
    assert caught.value.exit_code == 1
    assert not os.path.exists(desk.home.path)


def test_a_file_that_is_not_there_is_told(home: Home) -> None:
    with pytest.raises(SpasshError) as caught:
        run("/nowhere/invite", [], force=False)
    assert str(caught.value) == "cannot read /nowhere/invite: no such file or directory"
    assert "paste it to 'spassh import'" in caught.value.hint


@pytest.mark.parametrize("name", ["", "two words", "-x", "[::1]", 'a"b', "a\nb"])
def test_what_is_no_host_is_told_before_the_invite_is_read(
    home: Home, name: str
) -> None:
    with pytest.raises(UsageError, match=r"^--host: not a host name or address: "):
        run("/nowhere/invite", [name], force=False)


def test_a_directory_that_cannot_be_made_is_told(desk: Desk) -> None:
    Path(desk.home.path).write_text("")
    with pytest.raises(SpasshError):
        desk.take(invite())


def test_a_file_that_cannot_be_written_leaves_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SpasshError) as caught:
        desk.take(invite())
    assert str(caught.value) == f"cannot write {desk.path}: no space left on device"
    assert caught.value.hint
    assert desk.home.names() == []


def test_a_failed_update_leaves_the_old_profile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.take(invite())
    before = desk.path.read_bytes()

    def rename(_: str, __: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(SpasshError, match="cannot write"):
        desk.take(invite(), "new.example")
    assert desk.path.read_bytes() == before
    assert desk.home.names() == ["profiles/server.example.toml"]


def test_a_linked_profile_stays_a_link(desk: Desk, tmp_path: Path) -> None:
    desk.take(invite())
    target = tmp_path / "elsewhere.toml"
    desk.path.rename(target)
    desk.path.symlink_to(target)
    desk.take(invite(), "new.example")
    assert desk.path.is_symlink()
    assert read_profile(str(target)).hosts == ("server.example", "new.example")


def test_what_is_written_is_what_is_read(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for timeout in (10, 99):
        for secret in ("", "spassh-secret-x"):
            profile = Profile(
                str(path),
                ("a", "fe80::1%eth0"),
                "alice",
                encode_key(PUBLIC, SERVER_KEYS.public),
                "spassh-psk-x",
                secret,
                4711,
                timeout,
            )
            hosts = ("a", "CORP\\user@b", '"x"@c')
            more = profile._replace(
                hosts=hosts, name="b", width="flow", schedule=(0, 500)
            )
            signing = profile._replace(
                format="gnupg", gnupg_key="AB" * 20, gnupg_server="CD" * 20
            )
            for one in (profile, more, signing):
                path.write_text(render(one))
                path.chmod(0o600)
                assert read_profile(str(path)) == one


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x7f", 'x"\nport = 1\n#', "\0"])
def test_no_string_of_a_profile_leaves_its_place(text: str) -> None:
    profile = Profile("/x.toml", ("a",), "alice", text, text, text)
    profile = profile._replace(next_secret=text, old_public=text)
    assert parse_profile("/x.toml", render(profile)) == profile
