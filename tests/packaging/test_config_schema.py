"""spasshd.toml(5), `spasshd init` and the code say the same about every key."""

import os
import re
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import pytest

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh_server import config, users
from spassh_server.config import Config, ConfigError
from spassh_server.limits import MAX_FILE_BYTES, MAX_KEYS_PER_USER, MAX_USER_FILES
from spassh_server.ports import parse_port
from spassh_server.users import parse_user
from spassh_server.verbs import init

SOURCE = (Path(__file__).parents[2] / "man" / "spasshd.toml.5").read_text(
    encoding="ascii"
)
FILE = config.DEFAULT_PATH


class Key(NamedTuple):
    """What the page says about one key."""

    text: str
    nested: list[str]
    """Keys that are described inside of this one."""

    @property
    def default(self) -> str:
        """The default without markup; empty if none is given."""
        after = self.text.partition("Default:")[2]
        return re.sub(r"\.(Li|Ic) ", "", after).replace("\n", " ").strip()


def section(name: str) -> str:
    return SOURCE.partition(f"\n.Sh {name}\n")[2].partition("\n.Sh ")[0]


def described(name: str) -> dict[str, Key]:
    """Return the keys in the list of the section `name`."""
    found: dict[str, Key] = {}
    depth, current = 0, ""
    for line in section(name).replace("\\(dq", '"').splitlines():
        depth += line.startswith(".Bl") - line.startswith(".El")
        item = line.removeprefix(".It Ic ")
        if item == line:
            if current and depth == 1:
                found[current] = found[current]._replace(
                    text=f"{found[current].text}{line}\n"
                )
        elif depth == 1:
            current = item
            found[current] = Key("", [])
        else:
            found[current].nested.append(item)
    return found


CONFIGURATION = described("CONFIGURATION")
USER = described("USERS")


def parse(text: str) -> Config:
    return config.parse(text, FILE)


def user_keys(count: int = 1) -> str:
    """Return tables with keys that are good for a user's file."""
    return "".join(
        f'[[key]]\npublic = "{encode_key(PUBLIC, PrivateKey(os.urandom(32)).public)}"\n'
        f'psk = "{encode_key(PSK, os.urandom(32))}"\n'
        for _ in range(count)
    )


def parse_alice(text: str, settings: Config) -> users.User:
    return parse_user("alice", text, "alice.toml", settings)


# Which keys there are


def test_every_key_of_the_configuration_is_described_and_back() -> None:
    assert set(CONFIGURATION) == config._KEYS


def test_every_key_of_a_user_is_described_and_back() -> None:
    assert set(USER) == users._KEYS
    assert set(USER["key"].nested) == users._KEY_KEYS


# Defaults and bounds


def test_each_described_default_is_the_real_one() -> None:
    lines = {
        name: f"{name} = {key.default}\n"
        for name, key in CONFIGURATION.items()
        if key.default != "none"
    }
    assert set(CONFIGURATION) - set(lines) == {"address"}
    for line in lines.values():
        assert parse(line) == parse(""), line
    assert parse("".join(lines.values())) == parse("")
    assert parse("").address == ""


BOUNDED = {
    name: (int(bounds[1], 0), int(bounds[2], 0))
    for name, key in CONFIGURATION.items()
    if (bounds := re.search(r"from (\w+) to (\w+)\.", key.text))
}


@pytest.mark.parametrize("key", BOUNDED)
def test_each_described_bound_is_the_real_one(key: str) -> None:
    least, most = BOUNDED[key]
    for value in (least, most):
        assert getattr(parse(f"{key} = {value}"), key) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ConfigError, match=f": {key}: expected a whole number"):
            parse(f"{key} = {value}")


def test_the_bounded_keys_are_found() -> None:
    assert set(BOUNDED) == {"knock_port", "mark", "max_grants", "max_lifetime"}


def test_the_lifetime_is_at_most_the_longest_one() -> None:
    assert parse("max_lifetime = 60\nlifetime = 60").lifetime == 60
    assert parse("max_lifetime = 10").lifetime == 10
    with pytest.raises(ConfigError, match="from 1 to 60"):
        parse("max_lifetime = 60\nlifetime = 61")


def test_the_granted_ports_are_the_protected_ones_unless_told() -> None:
    assert parse('protect = ["udp/53"]').grant_ports == (parse_port("udp/53"),)


def test_the_choices_of_the_packet_filter_are_described() -> None:
    words = re.findall(r'^\.Li "(\w+)"', CONFIGURATION["backend"].text, re.MULTILINE)
    assert set(words) == set(config.BACKENDS)


def test_the_limits_of_files_are_described() -> None:
    assert f"at most {MAX_FILE_BYTES} bytes" in section("DESCRIPTION")
    assert f"At most {MAX_USER_FILES} files" in section("USERS")
    assert f"1 to {MAX_KEYS_PER_USER} tables" in USER["key"].text


def test_a_user_gets_the_described_defaults() -> None:
    settings = parse('grant_ports = ["tcp/22", "udp/53"]\nlifetime = 20')
    user = parse_alice(user_keys(), settings)

    assert USER["ports"].default == "grant_ports of the configuration"
    assert user.ports == frozenset(settings.grant_ports)
    assert USER["lifetime"].default == "lifetime of the configuration"
    assert user.lifetime == settings.lifetime
    assert USER["max_lifetime"].default == "lifetime of this file"
    assert parse_alice("lifetime = 7\n" + user_keys(), settings).max_lifetime == 7
    assert USER["sources"].default == "none"
    assert user.sources == ()
    assert USER["any_address"].default == "false"
    assert user.any_address is False


def test_a_user_has_as_many_keys_as_described_and_no_more() -> None:
    most = parse_alice(user_keys(MAX_KEYS_PER_USER), parse(""))
    assert len(most.keys) == MAX_KEYS_PER_USER
    with pytest.raises(ConfigError, match="more than"):
        parse_alice(user_keys(MAX_KEYS_PER_USER + 1), parse(""))


# Files that are there to be copied


def examples() -> list[str]:
    blocks = re.findall(r"\n\.Bd [^\n]*\n(.*?)\n\.Ed", section("EXAMPLES"), re.DOTALL)
    assert len(blocks) == 3
    return blocks


def test_the_example_configurations_are_right() -> None:
    first, second, _ = examples()
    assert parse(first).protect == (parse_port("tcp/22"), parse_port("tcp/8443"))
    assert parse(second).interfaces == ("eth0",)


def test_the_example_user_is_right_once_it_has_keys() -> None:
    text = examples()[2]
    for key, kind in re.findall(r'("(spassh-\w+-)[^"]*")', user_keys(2)):
        text = text.replace(f'"{kind}..."', key, 1)
    assert len(parse_alice(text, parse("")).keys) == 2


def template(path: str, *protect: str, address: str = "") -> Config:
    options = Namespace(protect=[parse_port(port) for port in protect], backend="auto")
    return config.parse(init._configuration(options, path, address), path)


def test_what_init_writes_has_the_described_defaults() -> None:
    written, default = template(FILE), parse("")
    assert written == default._replace(
        user=written.user, state_dir="/var/lib/spassh", run_dir="/run/spassh"
    )
    for name in ("state_dir", "run_dir"):
        assert f".Pa {getattr(written, name)}\n" in CONFIGURATION[name].text


def test_what_init_writes_elsewhere_keeps_to_its_directory() -> None:
    written = template("/srv/one/spasshd.toml")
    default = config.parse("", "/srv/one/spasshd.toml")
    assert written == default._replace(
        user=written.user, firewall_name=written.firewall_name, mark=written.mark
    )
    assert written.firewall_name != default.firewall_name
    assert written.mark != default.mark


def test_init_writes_what_it_is_told() -> None:
    written = template(FILE, "tcp/22", "udp/53", address="server.example.org")
    assert written.protect == (parse_port("tcp/22"), parse_port("udp/53"))
    assert written.grant_ports == written.protect
    assert written.address == "server.example.org"


def test_what_init_writes_names_every_key_but_one() -> None:
    options = Namespace(protect=[], backend="auto")
    text = init._configuration(options, FILE, "")
    named = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE))
    # Nobody sets `ipset` but to find out what is wrong with it.
    assert config._KEYS - named == {"ipset"}
