"""The tables [[command]]: what is read, and what is told about a mistake."""

import pytest

from spassh_server.commands import match
from spassh_server.config_commands import read_commands
from spassh_server.toml import ConfigError, read_toml

PATH = "/etc/spassh/spasshd.toml"

RESTART = """
[[command]]
name = "restart-web"
argv = ["/usr/bin/systemctl", "restart", "{unit}"]
unit = "nginx|php[0-9]{1}-fpm"
run_as = "root"
timeout = 60
"""

UPTIME = """
[[command]]
name = "uptime"
argv = ["/usr/bin/uptime"]
"""


def test_commands_are_read_in_their_order() -> None:
    restart, uptime = read_commands(read_toml(RESTART + UPTIME, PATH))
    assert (restart.name, restart.run_as, restart.seconds) == (
        "restart-web",
        "root",
        60,
    )
    assert match([restart], ["/usr/bin/systemctl", "restart", "php8-fpm"]) is restart
    assert match([restart], ["/usr/bin/systemctl", "restart", "sshd"]) is None
    assert uptime[1:] == (("/usr/bin/uptime",), (), "nobody", 30)


def test_there_need_be_no_command() -> None:
    assert read_commands(read_toml("", PATH)) == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"restart-web"', '"two words"', ":3: name: not a name"),
        ('"restart-web"', f'"{"a" * 33}"', ":3: name: not a name"),
        ('name = "restart-web"\n', "", ":2: name: is missing"),
        ('"/usr/bin/systemctl"', '"systemctl"', ":4: argv: expected the absolute path"),
        ("argv", "args", ":2: argv: expected the absolute path"),
        (
            '"{unit}"',
            '"{unit}", "{name}"',
            ":4: argv: {name} is the name of another key",
        ),
        ('"{unit}"', '"nginx"', ":5: unit: unknown key"),
        ('"{unit}"', '"{unit}", "{other}"', ":2: other: is missing"),
        ("nginx|", "(nginx)+|", ":5: unit: '(' cannot be in a pattern"),
        ("timeout = 60", "timeout = 0", ":7: timeout: expected a whole number"),
        ("timeout = 60", "timeout = 3601", ":7: timeout: expected a whole number"),
        ("timeout = 60", "shell = true", ":7: shell: unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_commands(read_toml(RESTART.replace(old, new), PATH))
    assert str(caught.value).startswith(PATH + message)
    assert caught.value.hint


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigError, match=r":8: name: is there already"):
        read_commands(read_toml(UPTIME + "\n" + UPTIME, PATH))


def test_there_is_a_bound() -> None:
    text = "".join(UPTIME.replace("uptime", f"u{n}", 1) for n in range(65))
    with pytest.raises(ConfigError, match="more than 64"):
        read_commands(read_toml(text, PATH))
