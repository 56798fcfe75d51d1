import os
import subprocess
import sys
from pathlib import Path

import pytest

from spassh_server import config
from spassh_server.config import ConfigError, load, parse
from spassh_server.firewall import Settings
from spassh_server.ports import Port

PATH = "/etc/spassh/spasshd.toml"


def test_an_empty_file_is_a_configuration_that_protects_nothing() -> None:
    settings = parse("", PATH)
    assert settings.protect == ()
    assert settings.grant_ports == (Port(6, 22),)
    assert settings.interfaces == ("any",)
    assert settings.knock_port == 62201
    assert settings.lifetime == 15
    assert settings.max_lifetime == 300
    assert settings.max_grants == 1024
    assert settings.backend == "auto"
    assert settings.user == "_spassh"
    assert settings.address == ""


def test_every_key_is_read() -> None:
    text = """
interfaces = ["eth0", "wg0"]
knock_port = 7
address = "server.example.org"
backend = "nftables"
protect = ["tcp/22", "udp/51820"]
firewall_name = "spassh-2"
mark = 0x40
ipset = false
grant_ports = ["tcp/22", "udp/51820"]
lifetime = 20
max_lifetime = 40
max_grants = 3
user = "61234"
key_file = "/run/secrets/key"
users_dir = "people"
state_dir = "../state"
run_dir = "/run/spassh"
"""
    expected = config.Config(
        path=PATH,
        interfaces=("eth0", "wg0"),
        knock_port=7,
        address="server.example.org",
        backend="nftables",
        protect=(Port(6, 22), Port(17, 51820)),
        firewall_name="spassh-2",
        mark=0x40,
        ipset=False,
        grant_ports=(Port(6, 22), Port(17, 51820)),
        lifetime=20,
        max_lifetime=40,
        max_grants=3,
        user="61234",
        key_file="/run/secrets/key",
        users_dir="/etc/spassh/people",
        state_dir="/etc/spassh/../state",
        run_dir="/run/spassh",
    )
    assert expected == parse(text, PATH)
    lines = [line.partition(" ")[0] for line in text.strip().splitlines()]
    assert {*lines, "path"} == set(config.Config._fields)


def test_the_firewall_is_told_its_part() -> None:
    settings = parse("protect = ['tcp/22']\nmark = 4\nknock_port = 9", PATH)
    expected = Settings("spassh", (Port(6, 22),), 9, 4, ipset=True)
    assert expected == settings.firewall


def test_protected_ports_can_be_granted_without_saying_so() -> None:
    settings = parse("protect = ['tcp/443', 'tcp/22']", PATH)
    assert settings.grant_ports == (Port(6, 443), Port(6, 22))


@pytest.mark.parametrize(("cap", "lifetime"), [(300, 15), (15, 15), (5, 5), (1, 1)])
def test_the_default_lifetime_keeps_to_the_cap(cap: int, lifetime: int) -> None:
    assert lifetime == parse(f"max_lifetime = {cap}", PATH).lifetime


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("protekt = []", "protekt: unknown key", "did you mean 'protect'?"),
        ("path = 'x'", "path: unknown key", ""),
        ("[protect]", "protect: expected a list", 'write protect = ["...'),
        ("protect = ['22']", "protect: not a port: '22'", 'write protect = ["tcp/22"'),
        ("protect = 'tcp/22'", "protect: expected a list of strings", "write protect"),
        (
            "grant_ports = ['tcp/80']\nprotect = ['tcp/22']",
            "grant_ports: tcp/22 is protected, and nobody could be granted it",
            'add "tcp/22" here',
        ),
        ("grant_ports = ['tcp/0']", "grant_ports: not a port", "write grant_ports"),
        ("interfaces = []", "interfaces: expected a list", 'write interfaces = ["any"'),
        ("interfaces = ['']", "interfaces: expected a list", "write interfaces"),
        ("interfaces = ['a/b']", "interfaces: expected a list", "write interfaces"),
        ("interfaces = ['sixteen-letters!']", "interfaces: expected", "write"),
        (f"interfaces = {['eth0'] * 17}", "interfaces: expected", "write interfaces"),
        ('interfaces = ["a\\tb"]', "interfaces: expected a list", "write interfaces"),
        (
            "knock_port = 0",
            "knock_port: expected a whole number from 1 to 65535",
            "for",
        ),
        ("knock_port = 65536", "knock_port: expected a whole number", "= 62201"),
        ("address = 'a b'", "address: not a host name", "write address"),
        ("address = ''", "address: expected a string", "write address"),
        ("backend = 'pf'", "backend: expected one of auto, nftables, iptables", "auto"),
        ("firewall_name = ''", "firewall_name: expected a string", "write"),
        ("firewall_name = 'Spassh'", "firewall_name: expected a letter", "write"),
        ("firewall_name = '2'", "firewall_name: expected a letter", "write"),
        ("firewall_name = '-a'", "firewall_name: expected a letter", "write"),
        ("firewall_name = 'a;b'", "firewall_name: expected a letter", "write"),
        ("firewall_name = 'ä'", "firewall_name: expected a letter", "write"),
        (f"firewall_name = '{'a' * 21}'", "firewall_name: expected", "write"),
        ("mark = 0", "mark: expected a whole number from 1", "for example"),
        ("mark = 3", "mark: expected a number with one bit set", "0x20000000"),
        ("mark = 0x100000000", "mark: expected a whole number", "for example"),
        ("ipset = 1", "ipset: expected true or false", "write ipset = true"),
        ("lifetime = 0", "lifetime: expected a whole number from 1 to 300", "= 15"),
        ("lifetime = 301", "lifetime: expected a whole number from 1 to 300", "= 15"),
        ("max_lifetime = 86401", "max_lifetime: expected a whole number", "= 300"),
        ("max_grants = 0", "max_grants: expected a whole number", "= 1024"),
        ("user = 7", "user: expected a string", "write user"),
        ("users_dir = []", "users_dir: expected a string", "write users_dir"),
        ("key_file = ''", "key_file: expected a string", "write key_file"),
    ],
)
def test_a_mistake_is_reported_with_file_line_key_and_remedy(
    line: str, what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"# the comments\n# above it\n{line}\n", PATH)
    assert str(caught.value).startswith(f"{PATH}:3: {what}")
    assert hint in caught.value.hint
    assert caught.value.hint


def test_the_largest_mark_is_the_top_bit() -> None:
    assert parse("mark = 0x80000000", PATH).mark == 1 << 31


def test_a_relative_path_of_the_file_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spasshd.toml").touch(0o644)
    monkeypatch.chdir(tmp_path)
    settings = load("spasshd.toml")
    assert settings.path == str(tmp_path / "spasshd.toml")
    assert settings.users_dir == str(tmp_path / "users.d")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444])
def test_a_configuration_that_others_may_read_is_read(
    tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "spasshd.toml"
    file.write_text("knock_port = 7")
    file.chmod(mode)
    assert load(str(file)).knock_port == 7


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o664, 0o602, 0o620])
def test_a_configuration_that_others_may_write_is_refused(
    tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "spasshd.toml"
    file.touch()
    file.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}: writable by others"
    assert caught.value.hint == f"chmod 644 {file}"


def test_reading_the_configuration_loads_no_cryptography() -> None:
    """The granter does it as root."""
    code = (
        "import sys, spassh_server.config\n"
        "print([m for m in sys.modules if m.partition('.')[0]"
        " in ('cryptography', 'scapy')])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"
