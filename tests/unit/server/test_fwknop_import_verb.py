"""`spasshd import-fwknop`: all of it or nothing, and nothing in silence."""

from pathlib import Path

import pytest
from unit.server.fwknop_parties import HMAC_KEY_BASE64, KEY_BASE64
from unit.server.parties import key_table

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli

Captured = pytest.CaptureFixture[str]

STANZA = (
    f"SOURCE ANY\nOPEN_PORTS tcp/22\nKEY_BASE64 {KEY_BASE64}\n"
    f"HMAC_KEY_BASE64 {HMAC_KEY_BASE64}\n"
)


class Move:
    """A host with an fwknopd and a new spasshd.toml."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self.path = directory / "spasshd.toml"
        self.users = directory / "users.d"
        self.old = directory / "fwknop"
        self.old.mkdir()
        self._capsys = capsys
        self("init", "--protect", "tcp/22", "--address", "192.0.2.1")
        text = self.path.read_text()
        self.path.write_text("fwknop = true\n" + text)
        self.conf("")
        self.access(STANZA)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def move(self) -> tuple[int, str, str]:
        return self("import-fwknop", str(self.old))

    def access(self, text: str, name: str = "access.conf") -> None:
        (self.old / name).write_text(text)

    def conf(self, text: str) -> None:
        (self.old / "fwknopd.conf").write_text(text)

    def written(self) -> list[str]:
        return sorted(path.name for path in self.users.iterdir())


@pytest.fixture
def host(tmp_path: Path, capsys: Captured) -> Move:
    return Move(tmp_path, capsys)


def test_a_stanza_becomes_a_users_file_that_nobody_else_can_read(host: Move) -> None:
    code, out, err = host.move()
    path = host.users / "fwknop-1.toml"
    assert (code, out, err) == (0, f"wrote {path}\n", "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "1 of fwknop" in host("user", "list")[1]
    assert KEY_BASE64 not in out


def test_what_the_configuration_has_to_say_is_said_first(host: Move) -> None:
    """Nothing is written that the daemon would not read."""
    text = host.path.read_text().removeprefix("fwknop = true\n")
    host.path.write_text(text)
    host.access(STANZA.replace("tcp/22", "tcp/22,udp/53") + "MAX_FW_TIMEOUT 900\n")
    code, out, err = host.move()
    assert code == 1
    assert out.splitlines() == [
        f"needed in {host.path}: fwknop = true",
        f'needed in {host.path}: grant_ports = ["tcp/22", "udp/53"]',
        f"needed in {host.path}: max_lifetime = 900",
    ]
    assert f"error: nothing was written: {host.path} does not allow it" in err
    assert host.written() == []
    lines = [line.partition(": ")[2] for line in out.splitlines()]
    text = text.replace('grant_ports = ["tcp/22"]', lines[1])
    text = text.replace("max_lifetime = 300", lines[2])
    host.path.write_text(lines[0] + "\n" + text)
    assert host.move()[0] == 0
    assert host.written() == ["fwknop-1.toml"]


def test_what_is_left_is_told_with_its_line(host: Move) -> None:
    host.conf("# all\n\nMAX_SPA_PACKET_AGE 240;\n")
    host.access(
        STANZA + "REQUIRE_SOURCE_ADDRESS Y\n" + STANZA + "FORCE_NAT 10.1.1.1 22\n"
    )
    code, out, _ = host.move()
    assert code == 1
    told = [line for line in out.splitlines() if line.startswith("left: ")]
    assert [line.split(": ")[1:3] for line in told] == [
        [f"{host.old}/fwknopd.conf:3", "MAX_SPA_PACKET_AGE"],
        [f"{host.old}/access.conf:5", "REQUIRE_SOURCE_ADDRESS"],
        [f"{host.old}/access.conf:10", "FORCE_NAT"],
    ]
    assert host.written() == ["fwknop-1.toml"]


def test_another_port_or_interface_is_noted(host: Move) -> None:
    host.conf("PCAP_INTF eth0;\nPCAP_FILTER udp port 62201;\n")
    note = 'note: fwknopd had what is here: interfaces = ["eth0"]\n'
    assert host.move()[1].startswith(note + "wrote ")


def test_other_ways_that_were_heard_are_noted(host: Move) -> None:
    host.conf("PCAP_FILTER udp port 62201 or tcp port 80;\n")
    line = 'fwknop_transports = ["tcp/80"]'
    note = f"note: fwknopd had what is here: {line}\n"
    assert host.move()[1].startswith(note + "wrote ")


def test_other_ways_that_are_heard_already_are_not(host: Move) -> None:
    host.path.write_text('fwknop_transports = ["tcp/80"]\n' + host.path.read_text())
    host.conf("PCAP_FILTER udp port 62201 or tcp port 80;\n")
    assert host.move()[1].startswith("wrote ")


def test_access_conf_may_be_elsewhere(host: Move) -> None:
    host.access(STANZA + "REQUIRE_USERNAME eve\n", "other.conf")
    for value in (
        "other.conf",
        "$FWKNOP_CONF_DIR/other.conf",
        str(host.old / "other.conf"),
    ):
        host.conf(f"ACCESS_FILE {value};\n")
        assert host.move()[0] == 0
        assert host.written() == ["eve.toml"]
        (host.users / "eve.toml").unlink()


def test_a_user_who_is_there_stays_and_nothing_is_written(host: Move) -> None:
    host.access(STANZA + STANZA.replace("AAEC", "AAED") + "REQUIRE_USERNAME eve\n")
    path = host.users / "eve.toml"
    path.write_text(key_table(1))
    path.chmod(0o600)
    code, _, err = host.move()
    assert code == 1
    assert f"user 'eve' exists already: {path}" in err
    assert host.written() == ["eve.toml"]
    assert path.read_text() == key_table(1)


def test_two_clients_with_the_same_keys_are_an_error(host: Move) -> None:
    host.access(STANZA + STANZA)
    code, _, err = host.move()
    assert code == 1
    assert "fwknop-2 and fwknop-1 have the same keys" in err
    assert host.written() == []


def test_a_key_that_is_none_is_an_error(host: Move) -> None:
    host.access(STANZA.replace(KEY_BASE64, "AAEC="))
    code, out, err = host.move()
    assert code == 1
    assert "access.conf:3: KEY_BASE64: not base64" in err
    assert "AAEC=" not in out + err
    assert host.written() == []


def test_all_stanzas_that_are_wrong_are_told_with_their_lines(host: Move) -> None:
    bad = STANZA.replace(KEY_BASE64, "AAEC=")
    digest = STANZA.replace("AAEC", "AAED") + "HMAC_DIGEST_TYPE none\n"
    host.access(
        STANZA.replace("AAEC", "AAEE") + bad + digest + "REQUIRE_USERNAME eve\n"
    )
    path = host.users / "eve.toml"
    path.write_text(key_table(1))
    path.chmod(0o600)
    code, _, err = host.move()
    assert code == 1
    told = [line for line in err.splitlines() if "error: " in line]
    assert [line.partition("error: ")[2].split(": ")[:3] for line in told] == [
        [f"{host.old}/access.conf:7", "KEY_BASE64", "not base64"],
        [f"{host.old}/access.conf:13", "HMAC_DIGEST_TYPE", told[1].split(": ")[4]],
        ["user 'eve' exists already", str(path)],
    ]
    assert host.written() == ["eve.toml"]


def test_a_lax_user_is_warned_of(host: Move) -> None:
    host.access("SOURCE ANY\nOPEN_PORTS tcp/22\nKEY k\n")
    out = host.move()[1]
    text = "a key of fwknop-1 takes packets of fwknop without an HMAC"
    assert out.endswith(f"warning: {text}\n")


def test_a_directory_without_these_files_is_an_error(host: Move) -> None:
    code, _, err = host("import-fwknop", "/nowhere")
    assert code == 1
    assert "/nowhere/fwknopd.conf: no such file" in err
    host.access("%include_folder none\n")
    code, _, err = host.move()
    assert code == 1
    assert f"{host.old}/none: no such file or directory" in err


def test_files_that_others_can_write_are_not_believed(host: Move) -> None:
    (host.old / "access.conf").chmod(0o666)
    code, _, err = host.move()
    assert code == 1
    assert "access.conf: writable by others" in err


def test_what_is_told_moves_no_cursor(host: Move) -> None:
    host.conf("PCAP_INTF a\x9bm\n")
    host.access(STANZA + "\x1b[2J y\n")
    out = host.move()[1]
    assert r"access.conf:5: \x1b[2J: is not known" in out
    assert r'interfaces = ["a\x9bm"]' in out
