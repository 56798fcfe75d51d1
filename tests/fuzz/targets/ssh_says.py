"""What ssh says of its configuration is settings for a login, or a `SpasshError`.

The first byte chooses between `ssh -G`, `ssh -v -G` with a configuration that is looked
through for a line, and one in which our Include is looked for.
"""

import os
from collections.abc import Iterator
from unittest.mock import patch

from spassh.errors import SpasshError
from spassh.verbs import ssh_config
from spassh.verbs.doctor.here import missing_program
from spassh.verbs.doctor.ssh_lines import find_line
from spassh.verbs.ssh import Done, Ssh, Target

_CONFIG = "/home/ada/.ssh/config"
_BLOCKS = "/home/ada/.config/spassh/ssh_config"
_PROXY = "/usr/bin/spassh proxy --fdpass -- %h %p"


def seeds() -> Iterator[tuple[str, bytes]]:
    said = "host server\nuser ada\nhostname server.example\nport 22\n"
    yield "settings", b"\0" + f"{said}proxycommand {_PROXY}".encode()
    story = (
        f"debug1: Reading configuration data {_CONFIG}\n"
        f"debug1: {_CONFIG} line 1: Applying options for server\n"
    )
    config = f"Host server\n  ProxyCommand = {_PROXY}\nMatch all\n  Port 22\n"
    yield "line", b"\1" + (story + config).encode()
    yield "include", b"\2" + ssh_config.include_lines(_BLOCKS).encode()
    yield "include of several", b"\2Include=~/x 'conf.d/*' \"a b\" # c"


def check(data: bytes) -> None:
    if not data:
        return
    text = data[1:].decode("utf-8", "replace")
    (_settings, _line, _include)[data[0] % 3](text)


def _settings(text: str) -> None:
    ssh = Ssh.__new__(Ssh)
    ssh._target = Target("server")
    with (
        patch.object(Ssh, "_argv", lambda *_: []),
        patch.object(Ssh, "_converse", lambda *_: Done(0, text, text)),
    ):
        try:
            found = ssh.settings()
        except SpasshError:
            return
        assert found.host
        assert 0 < found.port < 1 << 16
        missing_program(found.proxy)


def _line(text: str) -> None:
    place = find_line(text.splitlines(), {"proxycommand"}, _PROXY, lambda _: text)
    if place is not None:
        lines = text.splitlines()
        assert _PROXY in lines[place.number - 1]


def _include(text: str) -> None:
    with patch.object(ssh_config, "_read", lambda _: text):
        if ssh_config.includes(_CONFIG, _BLOCKS):
            assert os.path.basename(_BLOCKS) in text
