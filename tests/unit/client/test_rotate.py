"""Keys that are replaced: by `spassh rotate`, and by `spassh enroll` of an invite.

The server is a model, and so is the ssh to it; profiles, keys and knocks are real.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.client.fake_ssh import FakeSsh
from unit.client.model_server import ModelServer, stands_for
from unit.client.parties import (
    CLIENT,
    CLIENT_SECRET,
    NOW_MS,
    PSK_BYTES,
    SERVER_KEYS,
    Gate,
    Home,
    invite,
)

from spassh.cli import main
from spassh.errors import ProfileError, SpasshError
from spassh.profile import Profile, load_keys, read_profile
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.proxy import Clocks
from spassh.ui import silent
from spassh.verbs import enroll, import_, keygen, renewal, rotate, writing
from spassh.verbs.ssh import Target

CLOCKS = Clocks(lambda: 0.0, lambda: NOW_MS)
INVITED = b"invited".ljust(32, b"\7")
OTHER_SERVER = encode_key(PUBLIC, PrivateKey(b"\4" * 32).public)

Captured = pytest.CaptureFixture[str]


class PowerCut(BaseException):
    """The end of the program, at any place in it."""


class Scene:
    """A client with profiles, and the server that they are for."""

    def __init__(self, home: Home, ssh: FakeSsh, gate: Gate) -> None:
        self.home = home
        self.ssh = ssh
        self.gate = gate
        self.server = ModelServer(gate)

    def profile(self, name: str = "127.0.0.1", /, **fields: str) -> Path:
        port = str(self.gate.knock_port)
        fields = {"hosts": f'["{name}", "x.{name}"]', "port": port} | fields
        return self.home.profile(f"{name}.toml", **fields)

    def own(self) -> Path:
        """Have the profile use the client's own key, which the server knows."""
        self.home.write_key()
        self.server.add_key(CLIENT_SECRET)
        return self.profile(secret="")

    def invited(self) -> Path:
        """Have the profile use the key of an invite."""
        self.server.add_key(INVITED)
        secret = f'"{encode_key(SECRET, INVITED)}"'
        return self.profile(secret=secret, invite="true")

    def rotate(self) -> None:
        rotate.run(Target("127.0.0.1", "root"), CLOCKS, silent)

    def enroll(self, name: str = "") -> None:
        target = Target("127.0.0.1", "root")
        enroll.run(target, name, CLOCKS, silent, yes=True)

    def read(self, name: str = "127.0.0.1") -> Profile:
        return read_profile(str(self.home.profiles / f"{name}.toml"))

    def lets_in(self, name: str = "127.0.0.1") -> bool:
        return self.server.lets_in(self.read(name), self.home.path)

    def publics(self) -> set[bytes]:
        return set(self.server.keys)

    def public(self, name: str = "127.0.0.1") -> bytes:
        return PrivateKey(load_keys(self.read(name), self.home.path).secret).public

    def cut_power(self, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
        """End the program when as many things have begun or ended."""
        left = moment

        def begun(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCut

        def watched(really: Callable[..., None]) -> Callable[..., None]:
            def write(*words: str) -> None:
                begun("write")
                really(*words)
                begun("written")

            return write

        self.server.begun = begun
        monkeypatch.setattr(import_, "replace_file", watched(writing.replace_file))
        monkeypatch.setattr(keygen, "create_file", watched(writing.create_file))


@pytest.fixture
def scene(
    home: Home, fake_ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setattr(enroll, "user_config", lambda: str(fake_ssh.config))
    with Gate() as gate:
        made = Scene(home, fake_ssh, gate)
        for verb in (enroll, rotate):
            monkeypatch.setattr(verb, "Spasshd", stands_for(made.server))
        yield made


# What it does


def test_a_fresh_key_takes_the_place_of_the_old_one(
    scene: Scene, capsys: Captured
) -> None:
    path = scene.own()
    scene.rotate()
    profile = scene.read()
    new = scene.public()
    assert scene.publics() == {new} != {CLIENT}
    assert scene.lets_in()
    assert profile.secret
    assert (profile.next_secret, profile.old_public, profile.invite) == ("", "", False)
    assert capsys.readouterr().out.splitlines() == [
        "logged in to 127.0.0.1 as root",
        f"127.0.0.1 knows the new key as well: {encode_key(PUBLIC, new)}",
        "test knock: the server lets 192.0.2.2 reach tcp/22 for 14 s",
        f"{path} has the new key",
        f"127.0.0.1 has forgotten the old key: {encode_key(PUBLIC, CLIENT)}",
        f"no profile needs {scene.home.key} any more",
    ]
    assert scene.ssh.is_over()
    assert scene.home.names() == ["key", "profiles/127.0.0.1.toml"]


def test_each_time_the_key_is_another_one(scene: Scene) -> None:
    scene.own()
    seen = {scene.public()}
    for _ in range(3):
        scene.rotate()
        seen.add(scene.public())
        assert scene.publics() == {scene.public()}
    assert len(seen) == 4


def test_what_somebody_has_set_stays(scene: Scene) -> None:
    scene.server.add_key(CLIENT_SECRET)
    scene.profile(timeout="30", width='"flow"', schedule="[0, 9]")
    before = scene.read()
    scene.rotate()
    after = scene.read()
    assert after._replace(secret=before.secret, psk=before.psk) == before


def test_an_invite_is_used_once(scene: Scene, capsys: Captured) -> None:
    """Whoever has seen it on its way is not let in any more."""
    path = scene.invited()
    scene.enroll()
    assert scene.publics() == {scene.public()}
    assert PrivateKey(INVITED).public not in scene.publics()
    profile = scene.read()
    assert (profile.secret, profile.invite, profile.old_public) == ("", False, "")
    assert profile.user == "alice"
    assert scene.lets_in()
    said = capsys.readouterr().out
    made = re.search(r"^made a key: (spassh-public-\S+)$", said, re.MULTILINE)
    assert made
    assert made[1] == encode_key(PUBLIC, scene.public())
    old = encode_key(PUBLIC, PrivateKey(INVITED).public)
    assert f"127.0.0.1 has forgotten the old key: {old}\n" in said
    assert f"{path} has the new key\n" in said
    assert "Include" in scene.ssh.config.read_text()

    # And to do it again is harmless, now as before.
    before = path.read_bytes()
    scene.enroll()
    assert path.read_bytes() == before
    assert f"nothing to do: {path} has it all\n" in capsys.readouterr().out


def test_an_invite_that_calls_the_server_otherwise_is_found_by_its_names(
    scene: Scene,
) -> None:
    """Its file has the name of the invite, and keeps it."""
    scene.server.add_key(INVITED)
    secret = f'"{encode_key(SECRET, INVITED)}"'
    hosts = '["server.example", "127.0.0.1"]'
    scene.profile("server.example", hosts=hosts, secret=secret, invite="true")
    scene.enroll()
    scene.enroll()
    assert scene.home.names() == ["key", "profiles/server.example.toml", "ssh_config"]
    assert scene.lets_in("server.example")
    assert scene.read("server.example").hosts == ("server.example", "127.0.0.1")


def test_an_invite_is_replaced_by_the_key_that_is_there(scene: Scene) -> None:
    scene.home.write_key()
    scene.invited()
    scene.enroll("alice")
    assert scene.publics() == {CLIENT}


def test_an_invite_belongs_to_its_user(scene: Scene) -> None:
    scene.invited()
    with pytest.raises(ProfileError) as caught:
        scene.enroll("bob")
    assert str(caught.value).endswith("127.0.0.1.toml: belongs to user alice")
    assert caught.value.hint.startswith("leave --name out")
    assert scene.ssh.commands == []


def test_a_rotated_key_is_that_of_the_next_enrolment(
    scene: Scene, capsys: Captured
) -> None:
    """Not the client's own, which it has just been taken out of use for."""
    path = scene.own()
    scene.rotate()
    before = path.read_bytes()
    scene.enroll()
    assert path.read_bytes() == before
    said = capsys.readouterr().out
    assert f"using the key of {path}: {encode_key(PUBLIC, scene.public())}\n" in said
    assert scene.publics() == {scene.public()}


def test_an_imported_invite_is_known_for_one(scene: Scene, capsys: Captured) -> None:
    file = scene.home.write("invite", invite(address="127.0.0.1"))
    import_.run(str(file), [], force=False)
    assert scene.read().invite
    said = capsys.readouterr().out
    assert "'spassh enroll 127.0.0.1' replaces it by one of your own\n" in said
    assert main_says(["show", "127.0.0.1"], capsys)
    assert ", from an invite\n" in main_says(["show", "127.0.0.1"], capsys)


def main_says(words: list[str], capsys: Captured) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["spassh", *words])
        assert main() == 0
    return capsys.readouterr().out


# Who else has the key


def test_other_profiles_with_the_key_at_this_server_get_the_new_one(
    scene: Scene, capsys: Captured
) -> None:
    """Else they would be shut out: the server forgets the key that they have."""
    scene.own()
    other = scene.profile("192.0.2.7", secret="", timeout="30")
    scene.rotate()
    assert scene.lets_in()
    assert scene.lets_in("192.0.2.7")
    assert scene.read("192.0.2.7").timeout == 30
    said = f"{other} had the old key, and has the new one\n"
    assert said in capsys.readouterr().out


def test_profiles_of_other_servers_keep_the_key(scene: Scene, capsys: Captured) -> None:
    scene.own()
    other = scene.profile("192.0.2.7", secret="", server=f'"{OTHER_SERVER}"')
    before = other.read_bytes()
    scene.rotate()
    assert other.read_bytes() == before
    assert scene.home.key.exists()
    said = f"{scene.home.key} stays: it is the key of {other} as well\n"
    assert said in capsys.readouterr().out


def test_profiles_of_other_users_at_this_server_keep_their_key(scene: Scene) -> None:
    scene.own()
    secret = f'"{encode_key(SECRET, b"9" * 32)}"'
    other = scene.profile("192.0.2.7", secret=secret)
    before = other.read_bytes()
    scene.rotate()
    assert other.read_bytes() == before


def test_a_profile_that_cannot_be_read_stops_it_before_anything_is_done(
    scene: Scene,
) -> None:
    """It may have the same key."""
    path = scene.own()
    before = path.read_bytes()
    broken = scene.home.write("broken.toml", "hosts = [")
    with pytest.raises(ProfileError) as caught:
        scene.rotate()
    assert str(caught.value).startswith(f"{broken}: not TOML")
    assert path.read_bytes() == before
    assert scene.publics() == {CLIENT}


# When it fails


def test_a_key_that_nobody_saw_knock_is_not_taken(scene: Scene) -> None:
    scene.own()
    scene.server.deaf = True
    with pytest.raises(SpasshError, match=r"^no knock arrived at server$"):
        scene.rotate()
    assert scene.public() == CLIENT
    assert scene.lets_in()
    assert CLIENT in scene.publics()
    scene.server.deaf = False
    scene.rotate()
    assert scene.publics() == {scene.public()} != {CLIENT}


def test_that_somebody_else_is_let_in_does_not_prove_a_key(scene: Scene) -> None:
    """Or the same user by the old key, whose grant lives on for some seconds."""
    scene.own()
    scene.server.deaf = scene.server.busy = True
    with pytest.raises(SpasshError) as caught:
        scene.rotate()
    assert str(caught.value) == "server did not let the knock in: granted 4"
    assert caught.value.hint.startswith("that was somebody else")
    assert scene.public() == CLIENT
    assert CLIENT in scene.publics()


def test_a_server_that_cannot_say_what_it_accepted_proves_nothing(scene: Scene) -> None:
    scene.own()
    scene.server.forgetful = True
    with pytest.raises(SpasshError, match="did not let the knock in"):
        scene.rotate()
    assert scene.public() == CLIENT


def test_another_server_at_this_address_is_not_believed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.own()
    before = scene.read()
    really = scene.server.add

    def add(*words: str) -> object:
        return really(*words)._replace(server=PrivateKey(b"\4" * 32).public)

    monkeypatch.setattr(scene.server, "add", add)
    with pytest.raises(ProfileError, match="belongs to another server"):
        scene.rotate()
    assert scene.read()._replace(next_secret="") == before


def test_without_a_profile_there_is_nothing_to_rotate(scene: Scene) -> None:
    with pytest.raises(ProfileError, match=r"no profile names '127\.0\.0\.1'"):
        scene.rotate()
    assert len(scene.ssh.told) == 1


@pytest.mark.parametrize("key", ["psk", "secret", "server"])
def test_a_damaged_profile_is_told_and_left_as_it_is(scene: Scene, key: str) -> None:
    fields = {"hosts": '["127.0.0.1"]'} | {key: "'spassh-\"x'"}
    path = scene.home.profile(**fields)
    before = path.read_bytes()
    with pytest.raises(ProfileError, match=f"'{key}': "):
        scene.rotate()
    assert path.read_bytes() == before
    assert len(scene.ssh.told) == 1


def test_an_old_key_that_is_none_is_told(scene: Scene) -> None:
    scene.own()
    scene.profile(secret="", old_public='"a b"')
    with pytest.raises(ProfileError, match="'old_public': expected a key"):
        scene.rotate()


def test_an_old_key_that_was_put_back_is_not_taken_away(scene: Scene) -> None:
    scene.own()
    scene.profile(secret="", old_public=f'"{encode_key(PUBLIC, CLIENT)}"')
    scene.rotate()
    assert scene.publics() == {CLIENT}
    assert scene.lets_in()
    assert scene.read().old_public == ""


# When it is interrupted

MOMENTS = 24
"""More than there are: the last ones are behind the end."""


def begin(scene: Scene, verb: str) -> None:
    """Have a key to be replaced, which another profile for the same server shares."""
    if verb == "rotate":
        scene.own()
    else:
        scene.invited()
        scene.home.write_key()
    shared = scene.read()
    scene.profile(
        "192.0.2.7",
        secret=f'"{shared.secret}"' if shared.secret else "",
        invite="true" if shared.invite else "",
    )


@pytest.mark.parametrize("moment", range(1, MOMENTS))
@pytest.mark.parametrize("verb", ["rotate", "enroll"])
@pytest.mark.parametrize("again", ["rotate", "enroll"])
def test_whatever_is_interrupted_a_key_works_and_to_do_it_again_heals(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    again: str,
    moment: int,
) -> None:
    begin(scene, verb)
    old = scene.public()
    with monkeypatch.context() as patch:
        scene.cut_power(patch, moment)
        try:
            getattr(scene, verb)()
        except PowerCut:
            is_cut = True
        else:
            is_cut = False
    for name in ("127.0.0.1", "192.0.2.7"):
        assert scene.lets_in(name), name
    scene.server.begun = lambda _: None
    if not is_cut:
        assert moment > 12
        assert scene.publics() == {scene.public()} != {old}
        return
    getattr(scene, again)()
    for name in ("127.0.0.1", "192.0.2.7"):
        assert scene.lets_in(name), name
    profile = scene.read()
    assert (profile.next_secret, profile.old_public, profile.invite) == ("", "", False)
    if again == verb:
        assert scene.publics() == {scene.public()}
    # The other verb may leave the client's own key there, and never that of an invite.
    assert scene.public() in scene.publics() <= {scene.public(), CLIENT}


def test_there_are_no_more_moments_than_were_tried(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in ("rotate", "enroll"):
        with monkeypatch.context() as patch:
            scene.server.keys.clear()
            begin(scene, verb)
            scene.cut_power(patch, MOMENTS - 1)
            getattr(scene, verb)()
            scene.server.begun = lambda _: None


def test_a_rotation_that_was_interrupted_is_shown(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    scene.own()
    scene.server.deaf = True
    with pytest.raises(SpasshError):
        scene.rotate()
    said = main_says(["show", "127.0.0.1"], capsys)
    assert "rotation   was interrupted: 'spassh rotate' goes on with it\n" in said
    assert "spassh-secret-" not in said


def test_what_has_become_of_the_new_key_meanwhile_is_seen(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is forgotten because of a proof that is an hour old."""
    scene.own()
    laptop = b"9" * 32
    scene.server.add_key(laptop)
    with monkeypatch.context() as patch:
        cut = RuntimeError("the power is cut")

        def remove_key(*_: str) -> None:
            raise cut

        patch.setattr(scene.server, "remove_key", remove_key)
        with pytest.raises(RuntimeError):
            scene.rotate()
    assert scene.read().old_public
    # The server's files come back from a backup.
    scene.server.keys.clear()
    scene.server.add_key(CLIENT_SECRET)
    scene.server.add_key(laptop)
    scene.rotate()
    assert scene.lets_in()
    assert scene.publics() == {scene.public(), PrivateKey(laptop).public}


def test_no_second_key_is_left_behind_when_it_goes_on(scene: Scene) -> None:
    scene.own()
    scene.server.deaf = True
    for _ in range(3):
        with pytest.raises(SpasshError):
            scene.rotate()
    assert len(scene.publics()) == 2


def test_an_invite_taken_in_anew_ends_what_was_under_way(scene: Scene) -> None:
    scene.own()
    scene.server.deaf = True
    with pytest.raises(SpasshError):
        scene.rotate()
    assert scene.read().next_secret
    file = scene.home.write("invite", invite(address="127.0.0.1", secret=INVITED))
    import_.run(str(file), [], force=False)
    assert scene.read().next_secret == ""
    assert load_keys(scene.read(), "").secret == INVITED


def test_the_same_invite_again_leaves_what_is_under_way(scene: Scene) -> None:
    path = scene.own()
    scene.server.deaf = True
    with pytest.raises(SpasshError):
        scene.rotate()
    before = path.read_bytes()
    again = invite(address="127.0.0.1", port=scene.gate.knock_port, secret=b"")
    file = scene.home.write("invite", again)
    import_.run(str(file), [], force=False)
    assert path.read_bytes() == before


def test_the_command_line_says_it_all(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scene.own()
    scene.ssh.settings(user="ann")
    words = ["rotate", "-v", "-p", "2222", "ann@127.0.0.1"]
    monkeypatch.setattr("sys.argv", ["spassh", *words])
    monkeypatch.setattr("spassh.cli._utc_ms", lambda: NOW_MS)
    assert main() == 0
    said = capfd.readouterr()
    assert "logged in to 127.0.0.1 as ann\n" in said.out
    assert "ms: running " in said.err
    for told in scene.ssh.told:
        assert "-p 2222 -l ann" in " ".join(told["argv"])


def test_the_keys_of_the_model_are_those_of_the_profiles(scene: Scene) -> None:
    """Of the tests above: what is let in there is what is let in here."""
    scene.own()
    assert scene.lets_in()
    assert scene.server.keys == {CLIENT: PSK_BYTES}
    scene.server.keys[CLIENT] = bytes(32)
    assert not scene.lets_in()
    assert encode_key(PSK, PSK_BYTES) == scene.read().psk
    assert encode_key(PUBLIC, SERVER_KEYS.public) == scene.read().server
    assert renewal.read_all(scene.home.path) == [scene.read()]
