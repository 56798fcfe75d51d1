"""Which connection a verb was started from."""

import os
import socket
import subprocess
import sys

import pytest
from unit.server.parties import HERE, THERE

from spassh_server.login import _packed, find_login
from spassh_server.ports import Port
from spassh_server.privsep.message import Connection

SSH, DNS = Port(6, 22), Port(17, 22)
LOGIN = Connection(HERE, 40_000, 22)

LOOK = (
    "from spassh_server.login import connections_above as up;"
    "print([tuple(one) for above in up() for one in above])"
)


def test_the_nearest_connection_to_such_a_port_is_it() -> None:
    other = Connection(THERE, 40_000, 22)
    assert find_login([[], [LOGIN], [other]], [SSH]) == LOGIN
    assert find_login([[], [other, LOGIN]], [SSH]) == other


@pytest.mark.parametrize("ports", [[], [Port(6, 2222)], [DNS]])
def test_another_port_is_no_login(ports: list[Port]) -> None:
    assert find_login([[LOGIN]], ports) is None


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_that_of_the_client_on_the_wire(address: str, text: str) -> None:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    assert _packed(address) == socket.inet_pton(family, text)


def looking(code: str) -> str:
    """Run a program that starts another one, which looks at what is above it."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}subprocess.run([sys.executable, '-c', {LOOK!r}])",
        ],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout


def test_the_connections_of_the_processes_above_are_seen() -> None:
    """As below sshd: a process has a connection, and starts the one that looks."""
    said = looking(
        "import socket, subprocess, sys;"
        "a = socket.create_server(('127.0.0.1', 0));"
        "b = socket.create_connection(a.getsockname());"
        "c, _ = a.accept();"
        "a.close();"
        "print(c.getpeername()[1], c.getsockname()[1], flush=True);"
    )
    ports, seen = said.splitlines()
    client_port, port = map(int, ports.split())
    assert str((b"\x7f\0\0\1", client_port, port)) in seen


def test_a_socket_that_only_listens_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert f" {port})" not in looking("import subprocess, sys;")
