import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from spassh_server import config
from spassh_server.commands import Command
from spassh_server.config import ConfigError, load, parse
from spassh_server.firewall import Forward, Settings
from spassh_server.limits import (
    MAX_ALWAYS_ALLOW,
    MAX_FWKNOP_TRANSPORTS,
    MAX_PROGRAM_WORDS,
)
from spassh_server.ports import Port
from spassh_server.toml import read_toml
from spassh_server.transports import Transport

PATH = "/etc/spassh/spasshd.toml"


def test_an_empty_file_is_a_configuration_that_protects_nothing() -> None:
    settings = parse("", PATH)
    assert settings.protect == ()
    assert settings.grant_ports == (Port(6, 22),)
    assert settings.interfaces == ("any",)
    assert settings.knock_port == 62201
    assert settings.lifetime == 15
    assert settings.max_lifetime == 300
    assert settings.max_grants == 4096
    assert settings.backend == "auto"
    assert settings.user == "_spassh"
    assert settings.fwknop_transports == ()
    assert settings.address == ""
    assert settings.manage == "drop"
    assert settings.always_allow == ()
    assert settings.forward == ()
    assert settings.command == ()
    assert settings.on_open == settings.on_close == ()
    assert settings.log == "auto"


def test_every_key_is_read() -> None:
    text = """
interfaces = ["eth0", "wg0"]
knock_port = 7
fwknop = true
fwknop_transports = ["udp/any", "tcp/443", "http/80", "icmp", "http/80"]
address = "server.example.org"
backend = "nftables"
protect = ["tcp/22", "udp/51820"]
firewall_name = "spassh-2"
mark = 0x40
ipset = false
manage = "accept"
always_allow = ["192.0.2.0/24", "2001:db8::1"]
ipfw_path = "/usr/sbin/ipfw"
ipfw_rule = 7
pfctl_path = "/usr/sbin/pfctl"
on_open = ["/usr/local/sbin/tell", "opened"]
on_close = ["/usr/local/sbin/tell", "closed"]
hook_user = "teller"
hook_timeout = 3
log = "json"
grant_ports = ["tcp/22", "udp/51820"]
lifetime = 20
max_lifetime = 40
max_grants = 3
user = "61234"
key_file = "/run/secrets/key"
users_dir = "people"
state_dir = "../state"
run_dir = "/run/spassh"
gpg_path = "/opt/gpg"
gnupg_dir = "keys"

[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
to_port = 22

[[command]]
name = "uptime"
argv = ["/usr/bin/uptime"]
"""
    expected = config.Config(
        path=PATH,
        interfaces=("eth0", "wg0"),
        knock_port=7,
        fwknop=True,
        fwknop_transports=(
            Transport("udp"),
            Transport("tcp", 443),
            Transport("http", 80),
            Transport("icmp"),
        ),
        address="server.example.org",
        backend="nftables",
        protect=(Port(6, 22), Port(17, 51820)),
        firewall_name="spassh-2",
        mark=0x40,
        ipset=False,
        manage="accept",
        always_allow=(ip_network("192.0.2.0/24"), ip_network("2001:db8::1/128")),
        ipfw_path="/usr/sbin/ipfw",
        ipfw_rule=7,
        pfctl_path="/usr/sbin/pfctl",
        forward=(Forward(Port(6, 2222), bytes([10, 0, 0, 5]), 22),),
        command=(Command("uptime", ("/usr/bin/uptime",), (), "nobody", 30),),
        on_open=("/usr/local/sbin/tell", "opened"),
        on_close=("/usr/local/sbin/tell", "closed"),
        hook_user="teller",
        hook_timeout=3,
        log="json",
        grant_ports=(Port(6, 22), Port(17, 51820)),
        lifetime=20,
        max_lifetime=40,
        max_grants=3,
        user="61234",
        key_file="/run/secrets/key",
        users_dir="/etc/spassh/people",
        state_dir="/etc/spassh/../state",
        run_dir="/run/spassh",
        gpg_path="/opt/gpg",
        gnupg_dir="/etc/spassh/keys",
    )
    assert expected == parse(text, PATH)
    assert set(read_toml(text, PATH).keys()) == set(config.Config._fields) - {"path"}
    assert set(config.Config._fields) - {"path"} | {"users"} == config._KEYS


def test_the_firewall_is_told_its_part() -> None:
    settings = parse("protect = ['tcp/22']\nmark = 4\nknock_port = 9", PATH)
    assert settings.firewall == Settings("spassh", (Port(6, 22),), 9, 4)


def test_the_firewall_is_told_of_all_that_is_its_own() -> None:
    text = """
firewall_name = "gate"
protect = ["tcp/22"]
grant_ports = ["tcp/22", "udp/53"]
manage = "accept"
always_allow = ["192.0.2.0/24"]
ipset = false
ipfw_path = "/a"
pfctl_path = "/b"
ipfw_rule = 3
[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
"""
    settings = parse(text, PATH)
    forward = Forward(Port(6, 2222), bytes([10, 0, 0, 5]), 2222)
    assert settings.firewall == Settings(
        name="gate",
        protect=(Port(6, 22),),
        knock_port=62201,
        mark=config.DEFAULT_MARK,
        ipset=False,
        own_drop=False,
        always_allow=(ip_network("192.0.2.0/24"),),
        grant_ports=(Port(6, 22), Port(17, 53), Port(6, 2222)),
        forwards=(forward,),
        programs=("/a", "/b"),
        ipfw_rule=3,
    )


def test_a_port_that_leads_to_two_hosts_is_one_port() -> None:
    """One for each family."""
    text = """
[[forward]]
port = "tcp/2222"
to = "10.0.0.5"
[[forward]]
port = "tcp/2222"
to = "2001:db8::5"
"""
    settings = parse(text, PATH)
    assert settings.forward_ports == (Port(6, 2222),)
    assert settings.all_ports == (Port(6, 22), Port(6, 2222))


@pytest.mark.parametrize("backend", config.BACKENDS)
def test_every_packet_filter_can_be_named(backend: str) -> None:
    assert parse(f"backend = '{backend}'", PATH).backend == backend


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
        (
            "fwknop_transports = ['tcp/any']\nfwknop = true",
            "fwknop_transports: not a transport: 'tcp/any' (expected udp/53, udp/any,",
            'write fwknop_transports = ["http/80"]',
        ),
        (
            "fwknop_transports = ['icmp']",
            "fwknop_transports: packets of fwknop are not taken",
            "write fwknop = true as well",
        ),
        (
            "fwknop_transports = ['udp/53']\nknock_port = 53\nfwknop = true",
            "fwknop_transports: udp/53 is the knock port",
            "take it out: it is captured",
        ),
        (
            f"fwknop_transports = {[f'tcp/{n}' for n in range(1, 18)]}\nfwknop = true",
            f"fwknop_transports: more than {MAX_FWKNOP_TRANSPORTS}",
            "take some out, or write udp/any",
        ),
        ("address = 'a b'", "address: not a host name", "write address"),
        ("address = ''", "address: expected a string", "write address"),
        ("backend = 'npf'", "backend: expected one of auto, nftables, ipt", "auto"),
        ("manage = 'none'", "manage: expected one of drop, accept", 'manage = "drop"'),
        ("manage = true", "manage: expected a string", "write manage"),
        ("always_allow = '192.0.2.1'", "always_allow: expected a list", "write"),
        ("always_allow = ['office']", "always_allow: 'office' does not", "a network"),
        ("always_allow = ['192.0.2.7/24']", "always_allow: 192.0.2.7/24 has", "write"),
        ("always_allow = ['fe80::1%eth0']", "always_allow: 'fe80::1%eth0' has", "a"),
        (
            "always_allow = ['10.0.0.0/8', '0.0.0.0/0']",
            "always_allow: 0.0.0.0/0 is everybody",
            "take the port out of protect instead",
        ),
        ("always_allow = ['::/0']", "always_allow: ::/0 is everybody", "take the port"),
        (
            f"always_allow = {[f'192.0.2.{n}' for n in range(MAX_ALWAYS_ALLOW + 1)]}",
            f"always_allow: more than {MAX_ALWAYS_ALLOW}",
            "write larger networks",
        ),
        ("log = 'file'", "log: expected one of auto, stderr, journal, sys", "auto"),
        ("on_open = '/bin/x'", "on_open: expected a list of strings", "write on_open"),
        ("on_open = ['x']", "on_open: not an absolute path", 'write on_open = ["/'),
        ("on_close = ['']", "on_close: not an absolute path", "write on_close"),
        ("on_close = ['./x']", "on_close: not an absolute path", "write on_close"),
        ('on_open = ["/x", "\\u0000"]', "on_open: not a program and its", "shorten"),
        (
            f"on_close = {['/x'] * (MAX_PROGRAM_WORDS + 1)}",
            "on_close: not a program and its arguments",
            "shorten it",
        ),
        ("hook_timeout = 0", "hook_timeout: expected a whole number from 1", "= 10"),
        ("hook_timeout = 601", "hook_timeout: expected a whole number", "= 10"),
        ("hook_user = ''", "hook_user: expected a string", "write hook_user"),
        ("ipfw_path = 'ipfw'", "ipfw_path: not an absolute path", '= "/sbin/ipfw"'),
        ("pfctl_path = '../pfctl'", "pfctl_path: not an absolute path", "/sbin/pfctl"),
        ("ipfw_rule = 0", "ipfw_rule: expected a whole number from 1 to", "= 100"),
        ("ipfw_rule = 60001", "ipfw_rule: expected a whole number", "= 100"),
        ("users = 1", "users: expected tables", "begin each with [users.NAME]"),
        ("[[users]]", "users: expected tables", "begin each with [users.NAME]"),
        ("[users]\nada = 1", "users: expected tables", "begin each with [users."),
        ("forward = 1", "forward: expected tables", "begin each with [[forward]]"),
        ("[forward]", "forward: expected tables", "begin each with [[forward]]"),
        ("[command]", "command: expected tables", "begin each with [[command]]"),
        (
            "[[forward]]\nport = 'tcp/22'\nto = '10.0.0.5'",
            "forward: tcp/22 is in grant_ports, and so a port of this host",
            "take it out of grant_ports",
        ),
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
        ("max_grants = 0", "max_grants: expected a whole number", "= 4096"),
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


def test_a_hook_may_have_so_many_words() -> None:
    words = ["/x"] * MAX_PROGRAM_WORDS
    assert parse(f"on_open = {words}", PATH).on_open == tuple(words)
    assert parse("on_open = []", PATH).on_open == ()


def test_so_many_networks_may_need_no_grant() -> None:
    networks = [f"192.0.2.{n}" for n in range(MAX_ALWAYS_ALLOW)]
    settings = parse(f"always_allow = {networks}", PATH)
    assert len(settings.always_allow) == MAX_ALWAYS_ALLOW


def test_a_forwarded_port_that_is_protected_is_told() -> None:
    """It could never be granted: a user's ports are those of this host."""
    text = "protect = ['tcp/2222']\n[[forward]]\nport = 'tcp/2222'\nto = '10.0.0.5'"
    with pytest.raises(ConfigError, match="forward: tcp/2222 is in grant_ports"):
        parse(text, PATH)
    text = "grant_ports = ['tcp/22']\n" + text
    with pytest.raises(ConfigError, match="grant_ports: tcp/2222 is protected"):
        parse(text, PATH)


def test_users_are_no_part_of_the_configuration() -> None:
    """The listener has them; the granter reads this file, and needs to know nobody."""
    assert parse("[users.ada]\nnonsense = 1", PATH) == parse("", PATH)
    assert config.has_users("[users.ada]", PATH)
    assert config.has_users("users = {}", PATH)
    assert not config.has_users("user = 'x'", PATH)


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


@pytest.mark.parametrize("text", ["[users.ada]\n", "users = {}"])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o601])
def test_a_configuration_with_users_is_for_its_owner_alone(
    tmp_path: Path, text: str, mode: int
) -> None:
    file = tmp_path / "spasshd.toml"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value) == f"{file}: readable or writable by others"
    assert caught.value.hint == f"chmod 600 {file}"
    file.chmod(0o600)
    assert load(str(file)).path == str(file)


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
