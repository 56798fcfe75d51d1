"""What a login waits for: the modules that `spassh proxy` loads, and no others.

It runs at each login, and most of its time goes into imports. So all that it may load
is on the lists below, each with its price in milliseconds, beside what every
interpreter has loaded anyway (ADR 0008).
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from unit.client.parties import Home, open_knock

ROOT = str(Path(__file__).parents[2])

OURS = {
    "spassh",
    "spassh.cli",
    "spassh.answers",
    "spassh.connect",
    "spassh.errors",
    "spassh.handover",
    "spassh.knock",
    "spassh.patterns",
    "spassh.plain_toml",
    "spassh.private",
    "spassh.profile",
    "spassh.protocol",
    "spassh.protocol.errors",
    "spassh.protocol.halfsiphash",
    "spassh.protocol.hashing",
    "spassh.protocol.keys",
    "spassh.protocol.libcrypto",
    "spassh.protocol.limits",
    "spassh.protocol.named_tuple",
    "spassh.protocol.names",
    "spassh.protocol.noise",
    "spassh.protocol.packet",
    "spassh.protocol.primitives",
    "spassh.protocol.request",
    "spassh.proxy",
    "spassh.resolve",
    "spassh.schedule",
    "spassh.sockets",
    "spassh.source",
    "spassh.ui",
}
"""A quarter of a millisecond each, and OpenSSL's library 4."""

RELAYING = {"spassh.ends", "spassh.relay", "spassh.splice"}
"""What a relay loads when it is connected."""

CTYPES = {"_ctypes", "_struct", "ctypes", "ctypes._endian", "struct", "types"}
"""2, and cryptography would be 25 to 100."""

BUILT_IN = {
    "__future__",
    "_blake2",
    "_operator",
    "_socket",
    "binascii",
    "errno",
    "gc",
    "select",
}
"""Next to nothing: they are written in C, all but the first."""

ALLOWED = OURS | CTYPES | BUILT_IN

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

# A relay is all there is of the client that goes on after the connection.
UNTIL_THE_END = """
import os, sys

leave = os._exit

def list_and_leave(code):
    os.write(2, "\\n".join(sys.modules).encode())
    leave(code)

os._exit = list_and_leave
sys.argv = ["spassh", "proxy", "127.0.0.1", "PORT"]
from spassh.cli import main
sys.exit(main())
"""


def modules(code: str, *, stderr: bool = False) -> set[str]:
    """Run `code` in an interpreter of its own; return the modules that it lists."""
    program = f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return set((done.stderr if stderr else done.stdout).split())


@pytest.fixture(scope="module")
def free() -> set[str]:
    """The modules of an interpreter that does nothing."""
    return modules("print(*sys.modules)")


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
    assert sorted(ALLOWED - loaded) == []


def test_a_relay_loads_little_more(free: set[str], knocks: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def accept_and_close() -> None:
            listener.accept()[0].close()

        closer = Thread(target=accept_and_close)
        closer.start()
        port = str(listener.getsockname()[1])
        loaded = modules(UNTIL_THE_END.replace("PORT", port), stderr=True)
        closer.join()
    assert open_knock(knocks.recv(2048)).request.port == int(port)
    # An editable installation has some of them loaded already.
    assert loaded - free == (ALLOWED | RELAYING) - free


@pytest.mark.parametrize("module", ["typing", "socket", "spassh.usage"])
def test_a_module_that_is_not_listed_would_be_noticed(
    free: set[str], knocks: socket.socket, module: str
) -> None:
    """The check can fail."""
    loaded = modules(f"import {module}\n{UNTIL_THE_FIRST_SYN}")
    assert module in loaded - free - ALLOWED


def test_without_the_library_of_openssl_it_knocks_all_the_same(
    knocks: socket.socket,
) -> None:
    missing = "sys.modules['spassh.protocol.libcrypto'] = None"
    loaded = modules(f"{missing}\n{UNTIL_THE_FIRST_SYN}")
    assert open_knock(knocks.recv(2048)).request.port == 9
    assert {"cryptography", "spassh.protocol.crypto"} <= loaded


def test_a_profile_that_needs_the_whole_of_toml_is_read_all_the_same(
    home: Home, knocks: socket.socket
) -> None:
    home.profile(hosts="['127.0.0.1']", port=f"+{knocks.getsockname()[1]}")
    loaded = modules(UNTIL_THE_FIRST_SYN)
    assert open_knock(knocks.recv(2048)).request.port == 9
    assert "tomllib" in loaded


EXPENSIVE = {
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "cryptography",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "json",
    "logging",
    "pathlib",
    "platformdirs",
    "re",
    "secrets",
    "selectors",
    "shlex",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "typing",
}


def test_nothing_expensive_is_listed() -> None:
    assert not EXPENSIVE & (ALLOWED | RELAYING)


def test_a_host_without_a_profile_waits_for_no_cryptography(
    free: set[str], home: Home
) -> None:
    home.profile(hosts='["other.example"]')
    loaded = modules(UNTIL_THE_FIRST_SYN.replace("connects == 2", "connects == 1"))
    assert "spassh.connect" in loaded
    assert not {"ctypes", "cryptography", "spassh.protocol.libcrypto"} & loaded
    assert not EXPENSIVE & (loaded - free)


FWKNOP = {
    **dict.fromkeys(("server", "psk", "secret"), ""),
    "format": '"fwknop"',
    "key": '"a passphrase"',
    "hmac_key": '"another"',
}
OTHER_WAYS = {"scapy", "spassh.raw_packet", "spassh.outside"}


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_login_at_an_fwknopd_loads_what_is_for_other_ways_only_if_it_takes_one(
    free: set[str], home: Home, transport: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        fields = {"hosts": '["127.0.0.1"]', "port": port}
        home.profile(**FWKNOP | fields | {"transport": f'"{transport}"'})
        loaded = modules(UNTIL_THE_FIRST_SYN)
    assert "spassh.fwknop" in loaded
    assert not OTHER_WAYS & (loaded - free)
    assert ("spassh.transport" in loaded) == (transport == "http")
