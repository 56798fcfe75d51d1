"""What a login waits for: the modules that are loaded before the first SYN.

`spassh proxy` runs at each login, and most of its time goes into imports. So it may
load what the packet itself loads, which is mostly the cryptography library, and what
is on the lists below, each with its price.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.client.parties import Home, open_knock

ROOT = str(Path(__file__).parents[2])

OURS = {
    "spassh.cli",
    "spassh.connect",
    "spassh.errors",
    "spassh.handover",
    "spassh.knock",
    "spassh.patterns",
    "spassh.private",
    "spassh.profile",
    "spassh.protocol.keys",
    "spassh.protocol.names",
    "spassh.proxy",
    "spassh.resolve",
    "spassh.schedule",
    "spassh.source",
    "spassh.ui",
}
"""Less than half a millisecond each."""

SOCKET = {"_socket", "array", "math", "select", "selectors", "socket"}
"""3 to 4 ms: there is no other way to a socket."""

TOML = {
    "__future__",
    "_datetime",
    "_sre",
    "_string",
    "datetime",
    "re",
    "re._casefix",
    "re._compiler",
    "re._constants",
    "re._parser",
    "string",
    "tomllib",
    "tomllib._parser",
    "tomllib._re",
    "tomllib._types",
}
"""3 ms beside the rest: people read profiles, and mend them."""

SMALL = {"binascii", "errno", "gc", "time"}

ALLOWED = OURS | SOCKET | TOML | SMALL

# The first connect(2) is the knock's and comes before it; the second is the SYN's.
UNTIL_THE_FIRST_SYN = """
import os, sys

connects = 0

def watch(event, arguments):
    global connects
    if event == "socket.connect":
        connects += 1
        if connects == 2:
            os.write(1, "\\n".join(sys.modules).encode())
            os._exit(0)

sys.addaudithook(watch)
sys.argv = ["spassh", "proxy", "127.0.0.1", "9"]
from spassh.cli import main
sys.exit(main())
"""

SEAL = """
import sys
from spassh.protocol.packet import ClientKeys, seal
from spassh.protocol.request import TCP, Request
key = bytes([9]) + bytes(31)
seal(Request(time=0, protocol=TCP, port=22), ClientKeys(key, key, key), key + key[:1])
print(*sys.modules, sep="\\n")
"""


def modules(code: str) -> set[str]:
    """Run `code` in an interpreter of its own; return the modules that it lists."""
    program = f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def free() -> set[str]:
    """The modules of the interpreter and of the packet, which loads some when used."""
    return modules(SEAL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty configuration directory, which is the one in use."""
    monkeypatch.setenv("SPASSH_CONFIG_HOME", str(tmp_path))
    return Home(tmp_path)


@pytest.fixture
def knocks(home: Home) -> Iterator[socket.socket]:
    """A profile for 127.0.0.1, and where its knocks arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        home.profile(hosts='["127.0.0.1"]', port=str(sock.getsockname()[1]))
        yield sock


def test_a_login_loads_what_is_listed_and_nothing_else(
    free: set[str], knocks: socket.socket
) -> None:
    loaded = modules(UNTIL_THE_FIRST_SYN)
    assert open_knock(knocks.recv(2048)).request.port == 9
    assert sorted(loaded - free - ALLOWED) == []


def test_everything_of_ours_that_is_listed_is_loaded(
    free: set[str], knocks: socket.socket
) -> None:
    assert sorted(OURS - modules(UNTIL_THE_FIRST_SYN)) == []


@pytest.mark.parametrize("module", ["argparse", "json", "spassh.usage"])
def test_a_module_that_is_not_listed_would_be_noticed(
    free: set[str], knocks: socket.socket, module: str
) -> None:
    """The check can fail."""
    loaded = modules(f"import {module}\n{UNTIL_THE_FIRST_SYN}")
    assert module in loaded - free - ALLOWED


EXPENSIVE = {
    "argparse",
    "asyncio",
    "dataclasses",
    "json",
    "logging",
    "pathlib",
    "platformdirs",
    "secrets",
    "shlex",
    "ssl",
    "subprocess",
    "tempfile",
}


def test_nothing_expensive_is_listed() -> None:
    assert not EXPENSIVE & ALLOWED
    assert "cryptography" not in ALLOWED


def test_a_host_without_a_profile_waits_for_no_cryptography(home: Home) -> None:
    home.profile(hosts='["other.example"]')
    loaded = modules(UNTIL_THE_FIRST_SYN.replace("connects == 2", "connects == 1"))
    assert "spassh.connect" in loaded
    assert not [name for name in loaded if name.startswith("cryptography")]
    assert not EXPENSIVE & loaded
