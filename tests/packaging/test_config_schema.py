"""spasshd.toml(5), `spasshd init` and the code say the same about every key."""

import os
import re
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import pytest

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.fwknop.digests import DEFAULT_DIGEST, DIGESTS
from spassh.protocol.fwknop.keys import MAX_HMAC_KEY, MAX_KEY, MAX_LEGACY_KEY
from spassh.protocol.keys import PSK, PUBLIC, encode_key
from spassh_server import (
    commands,
    config,
    config_commands,
    config_forwards,
    fwknop_keys,
    fwknop_variables,
    users,
)
from spassh_server.config import Config, ConfigError
from spassh_server.firewall import Width
from spassh_server.limits import (
    MAX_ALWAYS_ALLOW,
    MAX_COMMANDS,
    MAX_FILE_BYTES,
    MAX_FORWARDS,
    MAX_KEYS_PER_USER,
    MAX_PROGRAM_WORDS,
    MAX_USER_FILES,
    MAX_USERS_IN_MAIN_FILE,
)
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
        # What is no key is an argument or a value, and described with its key.
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
    assert set(CONFIGURATION["forward"].nested) == config_forwards._KEYS
    assert set(CONFIGURATION["command"].nested) == config_commands._KEYS


def test_every_key_of_a_user_is_described_and_back() -> None:
    assert set(USER) == users._KEYS
    assert set(USER["key"].nested) == users._KEY_KEYS | fwknop_keys.TABLE_KEYS


def test_every_other_key_has_nothing_inside() -> None:
    nested = {name for name, key in (CONFIGURATION | USER).items() if key.nested}
    assert nested == {"forward", "command", "key"}


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
    assert set(BOUNDED) == {
        "hook_timeout",
        "ipfw_rule",
        "knock_port",
        "mark",
        "max_grants",
        "max_lifetime",
    }


def test_the_lifetime_is_at_most_the_longest_one() -> None:
    assert parse("max_lifetime = 60\nlifetime = 60").lifetime == 60
    assert parse("max_lifetime = 10").lifetime == 10
    with pytest.raises(ConfigError, match="from 1 to 60"):
        parse("max_lifetime = 60\nlifetime = 61")


def test_the_granted_ports_are_the_protected_ones_unless_told() -> None:
    assert parse('protect = ["udp/53"]').grant_ports == (parse_port("udp/53"),)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        (CONFIGURATION["backend"], config.BACKENDS),
        (CONFIGURATION["manage"], config.MANAGE),
        (CONFIGURATION["log"], config.LOGS),
    ],
    ids=["backend", "manage", "log"],
)
def test_the_choices_of_a_key_are_described(key: Key, choices: tuple[str, ...]) -> None:
    words = re.findall(r'^\.Li "(\w+)"', key.text, re.MULTILINE)
    assert set(words) == set(choices)


def test_the_widths_are_described_from_the_narrowest_on() -> None:
    words = re.findall(r"^\.It Li \\\(dq(\w+)\\\(dq$", section("USERS"), re.MULTILINE)
    assert words == [width.label for width in sorted(Width)]
    assert list(users.WIDTHS) == words


def test_the_numbers_of_tables_and_words_are_described() -> None:
    for key, most in (
        ("always_allow", f"at most {MAX_ALWAYS_ALLOW} networks"),
        ("forward", f"at most {MAX_FORWARDS} tables\n"),
        ("command", f"at most {MAX_COMMANDS} tables\n"),
        ("on_open", f"at most {MAX_PROGRAM_WORDS} words"),
        ("users", f"at most {MAX_USERS_IN_MAIN_FILE} tables\n"),
    ):
        assert most in CONFIGURATION[key].text


def test_the_bounds_of_a_command_are_described() -> None:
    text = section("CONFIGURATION").replace("\\(dq", '"')
    for words in (
        f"A list of 1 to {MAX_PROGRAM_WORDS} words",
        f"a whole number from 1 to {config_commands._MAX_SECONDS}.\n",
        f"from 1 to {commands.MAX_VALUE}.\n",
        f"at most {commands.MAX_VALUE} letters",
        f".Li {commands._SIGNS} .\n",
    ):
        assert words in text
    patterns = re.findall(r'^\.Li "(.*[|[].*)"', text, re.MULTILINE)
    assert len(patterns) == 3
    for pattern in patterns:
        assert commands.parse_pattern(pattern).text == pattern


def test_a_forward_and_a_command_get_the_described_defaults() -> None:
    (forward,) = parse('[[forward]]\nport = "tcp/2222"\nto = "10.0.0.5"').forward
    assert (forward.number, forward.masquerade) == (2222, False)
    (command,) = parse('[[command]]\nname = "x"\nargv = ["/bin/x"]').command
    text = section("CONFIGURATION")
    assert f"Without this key it is\n.Li \\(dq{command.run_as}\\(dq .\n" in text
    assert f"Without this key it is {command.seconds}.\n" in text


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
    assert USER["widths"].default == '["flow", "address"]'
    assert user.widths == {Width.FLOW, Width.ADDRESS}
    for name in ("forwards", "commands"):
        assert USER[name].default == "[]"
        assert getattr(user, name) == ()
    for name in ("not_before", "expires"):
        assert USER[name].default == "none"
        assert getattr(user, name) == 0
    assert user.keys[0].expires == 0
    assert USER["sources"].default == "none"
    assert user.sources == ()
    assert USER["any_address"].default == "false"
    assert user.any_address is False


def test_a_user_has_as_many_keys_as_described_and_no_more() -> None:
    most = parse_alice(user_keys(MAX_KEYS_PER_USER), parse(""))
    assert len(most.keys) == MAX_KEYS_PER_USER
    with pytest.raises(ConfigError, match="more than"):
        parse_alice(user_keys(MAX_KEYS_PER_USER + 1), parse(""))


# Coming from fwknop


def fates() -> dict[str, list[str]]:
    """Return what the page says of each variable of fwknopd's files."""
    text = section("COMING FROM FWKNOP").replace("\\\n", "")
    found: dict[str, list[str]] = {}
    for item in re.split(r"^\.It Li ", text, flags=re.MULTILINE)[1:]:
        names, _, fate = item.partition("\n")
        words = " ".join(fate.partition("\n.")[0].split())
        for name in names.split(" , "):
            found.setdefault(name.strip(), []).append(words)
    return found


def test_every_variable_of_fwknop_is_in_the_table_with_what_became_of_it() -> None:
    found = fates()
    tables = [
        fwknop_variables.DECISIVE,
        fwknop_variables.LEFT,
        fwknop_variables.LEFT_CONF,
    ]
    carried = fwknop_variables.CARRIED | fwknop_variables.CARRIED_CONF
    assert set(found) == carried.union(*tables)
    for table in tables:
        for name, why in table.items():
            assert why in found[name]
    assert all(map(all, found.values()))


# Files that are there to be copied


def examples() -> list[str]:
    blocks = re.findall(r"\n\.Bd [^\n]*\n(.*?)\n\.Ed", section("EXAMPLES"), re.DOTALL)
    assert len(blocks) == 5
    return blocks


def test_the_example_configurations_are_right() -> None:
    first, second, _, _, _ = examples()
    assert parse(first).protect == (parse_port("tcp/22"), parse_port("tcp/8443"))
    assert parse(second).interfaces == ("eth0",)


def test_the_example_user_is_right_once_it_has_keys() -> None:
    alice = parse_alice(with_keys(examples()[2]), parse(""))
    assert len(alice.keys) == 2
    assert 0 < alice.keys[1].expires < alice.expires


def test_the_example_gateway_is_right_once_its_user_has_keys() -> None:
    text = with_keys(examples()[3])
    settings = parse(text)
    assert settings.command[0].run_as == "root"
    assert settings.forward_ports == (parse_port("tcp/2222"),)
    (bob,), problems, _ = users.parse_main_users(text, settings)
    assert problems == []
    assert bob.ports == {parse_port("tcp/2222")}
    assert bob.commands == settings.command


def test_the_example_user_of_fwknop_is_right_once_she_has_keys() -> None:
    carol = parse_alice(with_keys(examples()[4]), parse("fwknop = true"))
    assert (len(carol.keys), len(carol.fwknop)) == (1, 1)


def test_the_bounds_and_defaults_of_a_key_of_fwknop_are_described() -> None:
    text = section("USERS")
    assert f"passphrase, of at most {MAX_KEY} bytes" in text
    assert f"passphrase, of at most {MAX_HMAC_KEY} bytes" in text
    assert f"and at most {MAX_LEGACY_KEY} may be there" in text
    found = re.findall(r'"(md5|sha\w+)"', text.replace("\\(dq", '"'))
    assert found == [*DIGESTS, DEFAULT_DIGEST]
    table = '[[key]]\nformat = "fwknop"\nkey = "k"\nhmac_key = "h"\n'
    (key,) = parse_alice(table, parse("fwknop = true")).fwknop
    assert (key.keys.hmac_digest, key.keys.legacy) == (DEFAULT_DIGEST, False)


def with_keys(text: str) -> str:
    """Fill keys in where an example has dots."""
    for key, kind in re.findall(r'("(spassh-\w+-)[^"]*")', user_keys(2)):
        text = text.replace(f'"{kind}..."', key, 1)
    return text


def template(path: str, *protect: str, address: str = "") -> Config:
    options = Namespace(protect=[parse_port(port) for port in protect], backend="auto")
    return config.parse(init._configuration(options, path, address), path)


def test_what_init_writes_has_the_described_defaults() -> None:
    written, default = template(FILE), parse("")
    assert written == default._replace(
        user=written.user,
        state_dir="/var/lib/spassh",
        run_dir="/run/spassh",
        gnupg_dir="/var/lib/spassh-gnupg",
    )
    for name in ("state_dir", "run_dir", "gnupg_dir"):
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


RARE = {
    "always_allow",
    "command",
    "forward",
    "fwknop",
    "fwknop_transports",
    "gpg_path",
    "hook_timeout",
    "hook_user",
    "ipfw_path",
    "ipfw_rule",
    "ipset",
    "log",
    "manage",
    "on_close",
    "on_open",
    "pfctl_path",
    "users",
}
"""What few configurations have; who wants it reads the page."""


def test_what_init_writes_names_every_key_but_the_rare_ones() -> None:
    options = Namespace(protect=[], backend="auto")
    text = init._configuration(options, FILE, "")
    named = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE))
    assert config._KEYS - named == RARE
