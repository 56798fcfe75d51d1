"""The verbs that need neither a network nor a firewall, through the command line."""

import os
import socket
import stat
from pathlib import Path

import pytest
from unit.server.firewall_double import RecordingFirewall

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.invite import Invite, decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh_server import config
from spassh_server.firewall import FirewallError

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli
from spassh_server.doctor.sockets import Listener, Session
from spassh_server.lock import take_lock
from spassh_server.ports import Port
from spassh_server.verbs import check, init, status

Captured = pytest.CaptureFixture[str]


class Spasshd:
    """`spasshd VERB ... --config PATH`, in this process."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self.directory = directory
        self.path = directory / "spasshd.toml"
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def spasshd(tmp_path: Path, capsys: Captured) -> Spasshd:
    made = Spasshd(tmp_path / "etc", capsys)
    assert made("init", "--protect", "tcp/2222")[0] == 0
    return made


@pytest.fixture
def _firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(*_: object) -> tuple[RecordingFirewall, str]:
        return RecordingFirewall(), "the test says so"

    for verb in (check, status):
        monkeypatch.setattr(verb, "choose", choose)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_keys_and_a_configuration_that_nobody_else_can_read(
    spasshd: Spasshd,
) -> None:
    assert mode(spasshd.path) == mode(spasshd.directory / "server.key") == 0o600
    assert mode(spasshd.directory / "users.d") == 0o700
    settings = config.load(str(spasshd.path))
    assert [str(port) for port in settings.protect] == ["tcp/2222"]
    assert settings.grant_ports == settings.protect


@pytest.mark.parametrize(
    ("taken", "port"),
    [
        ([], 62201),
        ([Port(6, 62201), Port(17, 62202)], 62201),
        ([Port(17, 62201)], 62202),
        ([Port(17, 62201), Port(17, 62202)], 62203),
        ([Port(17, one) for one in range(62201, 65536)], 62201),
        (PermissionError(13, "Permission denied", "/proc/net/udp"), 62201),
    ],
    ids=repr,
)
def test_init_takes_no_port_that_a_program_of_the_host_has(
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    taken: list[Port] | Exception,
    port: int,
) -> None:
    """It will be dropped: by an fwknopd that listens there nobody would get in."""

    def read_sockets(_: object) -> tuple[list[Listener], list[Session]]:
        if isinstance(taken, Exception):
            raise taken
        return [Listener(one, bytes(4), "fwknopd") for one in taken], []

    monkeypatch.setattr(init, "read_sockets", read_sockets)
    spasshd = Spasshd(tmp_path / "etc", capsys)
    code, _, err = spasshd("init")
    assert code == 0
    assert config.load(str(spasshd.path)).knock_port == port
    note = f"knock_port is {port}: a program of this host has the usual one"
    assert (note in err) is (port != 62201)


def test_init_makes_no_directory_that_others_can_write(
    tmp_path: Path, capsys: Captured
) -> None:
    spasshd = Spasshd(tmp_path / "new" / "etc", capsys)
    mask = os.umask(0)
    try:
        assert spasshd("init")[0] == 0
    finally:
        os.umask(mask)
    assert mode(tmp_path / "new") == mode(spasshd.directory) == 0o755
    assert mode(spasshd.directory / "users.d") == 0o700


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["user"],
        ["user", "add"],
        ["user", "rotate"],
        ["init"],
        ["run"],
        ["revoke"],
        ["flush"],
        ["explain"],
    ],
    ids=" ".join,
)
def test_help_fits_a_terminal_and_begins_with_a_capital_letter(
    words: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([*words, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    description = lines[lines.index("") + 1]
    assert description[0].isupper()


@pytest.mark.parametrize("left", ["spasshd.toml", "server.key"])
def test_init_overwrites_nothing(spasshd: Spasshd, left: str) -> None:
    before = (spasshd.directory / left).read_bytes()
    for name in {"spasshd.toml", "server.key"} - {left}:
        (spasshd.directory / name).unlink()
    code, out, err = spasshd("init")
    assert (code, out) == (1, "")
    assert f"{left} exists already" in err
    assert sorted(os.listdir(spasshd.directory)) == sorted([left, "users.d"])
    assert (spasshd.directory / left).read_bytes() == before


def test_init_that_fails_half_way_leaves_no_key(
    spasshd: Spasshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(init, "_configuration", full)
    spasshd.path = tmp_path / "other" / "spasshd.toml"
    assert spasshd("init")[0] == 1
    assert os.listdir(tmp_path / "other") == ["users.d"]


def test_two_configurations_share_neither_table_nor_mark_with_the_standard_one(
    spasshd: Spasshd,
) -> None:
    settings = config.load(str(spasshd.path))
    assert settings.firewall_name != "spassh"
    assert settings.mark != config.DEFAULT_MARK


def add(spasshd: Spasshd, name: str, *words: str) -> Invite:
    code, out, err = spasshd("user", "add", name, *words)
    assert (code, out.count("\n")) == (0, 1), err
    return decode_invite(out.strip())


def test_an_invite_has_all_that_the_client_needs(spasshd: Spasshd) -> None:
    invite = add(spasshd, "alice", "--address", "server.example.org")
    assert (invite.user, invite.address) == ("alice", "server.example.org")
    assert invite.secret
    assert mode(spasshd.directory / "users.d" / "alice.toml") == 0o600
    assert spasshd("user", "list")[1] == "alice\ttcp/2222\t15 s\t1 key\t1 invite\n"


def test_the_users_file_never_has_the_secret_key(spasshd: Spasshd) -> None:
    add(spasshd, "alice")
    text = (spasshd.directory / "users.d" / "alice.toml").read_text()
    assert "spassh-secret-" not in text


def test_a_clients_own_key_makes_an_invite_without_a_secret(spasshd: Spasshd) -> None:
    public = add(spasshd, "alice").client
    assert spasshd("user", "remove", "alice")[0] == 0
    invite = add(spasshd, "bob", "--key", encode_key(PUBLIC, public))
    assert (invite.client, invite.secret) == (public, b"")


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["alice"], 1, "user 'alice' exists already"),
        (["../alice"], 2, "not a user name: '../alice'"),
        (["bob", "--key", "spassh-public-x"], 2, "--key: damaged key: copy it"),
        (["bob", "--key", encode_key(PUBLIC, bytes(32))], 2, "--key: not a usable key"),
        (["bob", "--address", "a b"], 2, "not a host name"),
        (
            ["bob", "--port", "tcp/2222", "--port", "tcp/80"],
            1,
            "error: --port: tcp/80 is not in grant_ports of /",
        ),
    ],
)
def test_a_user_who_cannot_be_added_leaves_no_trace(
    spasshd: Spasshd, words: list[str], code: int, what: str
) -> None:
    add(spasshd, "alice")
    got, out, err = spasshd("user", "add", *words)
    assert (got, out) == (code, "")
    assert what in err
    assert os.listdir(spasshd.directory / "users.d") == ["alice.toml"]


@pytest.mark.parametrize("words", [("add", "bob"), ("remove", "alice")])
def test_a_daemon_that_does_not_confirm_a_change_is_an_error(
    spasshd: Spasshd, words: tuple[str, str]
) -> None:
    add(spasshd, "alice")
    run_dir = spasshd.directory / "run"
    run_dir.mkdir()
    lock = take_lock(config.load(str(spasshd.path)), 0)
    code, _, err = spasshd("user", *words)
    os.close(lock)
    assert code == 1
    assert "error: spasshd does not answer" in err


def test_a_key_has_one_user(spasshd: Spasshd) -> None:
    public = encode_key(PUBLIC, add(spasshd, "alice").client)
    code, out, err = spasshd("user", "add", "bob", "--key", public)
    assert (code, out) == (1, "")
    assert "belongs to user 'alice' already" in err
    assert "hint: 'spasshd user remove alice' first" in err


def test_the_same_user_with_the_same_key_gets_the_same_invite(spasshd: Spasshd) -> None:
    """Whoever was interrupted on the way to the client just does it again."""
    public = encode_key(PUBLIC, PrivateKey(b"\5" * 32).public)
    words = ("--key", public, "--address", "server.example.org")
    first = add(spasshd, "alice", *words)
    file = spasshd.directory / "users.d" / "alice.toml"
    before = file.read_bytes()
    code, out, err = spasshd("user", "add", "alice", *words, "--port", "tcp/2222")
    assert (code, decode_invite(out.strip())) == (0, first)
    assert 'note text="user alice has this key already: nothing was added"' in err
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["alice.toml"]


def test_a_user_of_the_configuration_gets_the_invite_again_as_well(
    spasshd: Spasshd,
) -> None:
    public = encode_key(PUBLIC, PrivateKey(b"\5" * 32).public)
    first = add(spasshd, "alice", "--key", public)
    file = spasshd.directory / "users.d" / "alice.toml"
    table = file.read_text().replace("[[key]]", "[[users.alice.key]]")
    with spasshd.path.open("a") as main:
        main.write(f"\n[users.alice]\n{table}")
    file.unlink()
    assert add(spasshd, "alice", "--key", public) == first
    assert os.listdir(file.parent) == []


def test_a_key_of_a_user_who_may_less_is_an_error(spasshd: Spasshd) -> None:
    public = encode_key(PUBLIC, PrivateKey(b"\5" * 32).public)
    spasshd.path.write_text(
        spasshd.path.read_text().replace(
            'grant_ports = ["tcp/2222"]', 'grant_ports = ["tcp/2222", "tcp/80"]'
        )
    )
    add(spasshd, "alice", "--key", public, "--port", "tcp/2222")
    again = ("user", "add", "alice", "--key", public)
    code, out, err = spasshd(*again, "--port", "tcp/80")
    assert (code, out) == (1, "")
    assert "the key belongs to user 'alice' already" in err


def test_each_of_a_users_keys_gets_its_own_invite_again(spasshd: Spasshd) -> None:
    public = encode_key(PUBLIC, PrivateKey(b"\5" * 32).public)
    first = add(spasshd, "alice", "--key", public)
    code, out, _ = spasshd("user", "rotate", "alice")
    second = decode_invite(out.strip())
    assert (code, second.psk == first.psk) == (0, False)
    assert add(spasshd, "alice", "--key", public) == first
    again = add(spasshd, "alice", "--key", encode_key(PUBLIC, second.client))
    assert again == second._replace(secret=b"")


def test_a_port_that_cannot_be_granted_is_mended_in_the_configuration(
    spasshd: Spasshd,
) -> None:
    _, _, err = spasshd("user", "add", "bob", "--port", "tcp/80")
    assert f"grant_ports of {spasshd.path}\n" in err
    assert 'hint: add "tcp/80" there and restart spasshd' in err
    assert "users.d" not in err


def test_a_name_that_nobody_chose_for_the_server_is_noted(spasshd: Spasshd) -> None:
    name = socket.gethostname()
    _, out, err = spasshd("user", "add", "alice")
    assert decode_invite(out.strip()).address == name
    assert err.startswith(f'spasshd: note text="the invite calls this server {name}: ')
    assert "--address" in err.splitlines()[0]
    _, _, err = spasshd("user", "add", "bob", "--address", "server.example.org")
    assert "calls this server" not in err
    spasshd.path.write_text(spasshd.path.read_text() + 'address = "192.0.2.1"\n')
    _, _, err = spasshd("user", "add", "carol")
    assert "calls this server" not in err


def test_removing_nobody_is_an_error(spasshd: Spasshd) -> None:
    for name in ("nobody", "../spasshd"):
        assert spasshd("user", "remove", name)[0] == 1
    assert spasshd.path.exists()


@pytest.mark.usefixtures("_firewall")
def test_check_says_what_is_right(spasshd: Spasshd) -> None:
    key = encode_key(PUBLIC, PrivateKey(b"\5" * 32).public)
    add(spasshd, "alice", "--key", key)
    code, out, err = spasshd("check")
    assert (code, err) == (0, "")
    assert "users: 1\n" in out
    assert "protected: tcp/2222\n" in out
    assert "(the test says so)" in out
    assert "note: " not in out


@pytest.mark.usefixtures("_firewall")
@pytest.mark.parametrize("secret", ["server.key", "users.d/alice.toml"])
def test_check_refuses_keys_that_others_can_read_and_says_how_to_mend_it(
    spasshd: Spasshd, secret: str
) -> None:
    add(spasshd, "alice")
    path = spasshd.directory / secret
    path.chmod(0o644)
    code, _, err = spasshd("check")
    assert code == 1
    assert f"error: {path}: readable or writable by others" in err
    assert f"hint: chmod 600 {path}" in err


@pytest.mark.usefixtures("_firewall")
@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("lifetme = 3", "lifetme: unknown key", "did you mean 'lifetime'?"),
        ("lifetime = [", "not valid TOML", "strings need quotes"),
        ('backend = "pf"', "not valid TOML", ""),
    ],
)
def test_check_names_file_line_key_and_remedy(
    spasshd: Spasshd, line: str, what: str, hint: str
) -> None:
    text = spasshd.path.read_text()
    number = text.count("\n") + 1
    spasshd.path.write_text(text + line + "\n")
    code, out, err = spasshd("check")
    assert (code, out) == (1, "")
    assert f"error: {spasshd.path}:{number}: {what}" in err
    assert hint in err


@pytest.mark.usefixtures("_firewall")
def test_check_notes_an_interface_that_is_waited_for(spasshd: Spasshd) -> None:
    """It is a typing error, or a VPN that comes later."""
    text = spasshd.path.read_text()
    old, new = 'interfaces = ["any"]', 'interfaces = ["any", "lo", "nowhere0"]'
    spasshd.path.write_text(text.replace(old, new))
    code, out, err = spasshd("check")
    assert (code, err) == (0, "")
    assert "interfaces: any, lo, nowhere0\n" in out
    notes = [line for line in out.splitlines() if line.startswith("note: ")]
    assert notes == ["note: no interface 'nowhere0' now: 'spasshd run' waits for it"]


def test_check_says_when_no_packet_filter_works(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(*_: object) -> object:
        raise FirewallError("no packet filter works here", "apt install nftables")

    monkeypatch.setattr(check, "choose", choose)
    code, _, err = spasshd("check")
    assert code == 1
    assert "hint: apt install nftables" in err


@pytest.mark.usefixtures("_firewall")
def test_the_verbs_for_a_running_daemon_say_that_there_is_none(
    spasshd: Spasshd,
) -> None:
    verbs = ("status", "stop", "reload", "flush", "revoke ada", "revoke --kill ::1")
    for verb in verbs:
        code, out, err = spasshd(*verb.split())
        assert code == 3
        assert "spasshd is not running" in out + err


def test_a_configuration_that_is_not_there_is_named_with_the_remedy(
    tmp_path: Path, capsys: Captured
) -> None:
    spasshd = Spasshd(tmp_path, capsys)
    for verb in (["check"], ["run"], ["user", "add", "alice"], ["status"]):
        code, out, err = spasshd(*verb)
        assert (code, out) == (1, "")
        assert f"{spasshd.path}: no such file or directory" in err
        assert "hint: make it with 'spasshd init'" in err
