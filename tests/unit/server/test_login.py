"""Which connection a verb was started from."""

import os
import socket
import subprocess
import sys
import time
from ipaddress import ip_address

import pytest

from spassh_server.login import Above, Login, find_login, processes_above
from spassh_server.ports import Port

SSH, DNS = Port(6, 22), Port(17, 22)
NOW = 1_000_000


def above(age: float, *connections: tuple[int, str]) -> Above:
    return Above(age, connections)


def test_the_nearest_connection_to_such_a_port_is_it() -> None:
    found = find_login(
        [above(1.0), above(2.0, (22, "192.0.2.7")), above(9.0, (22, "192.0.2.8"))],
        [SSH],
        NOW,
    )
    assert found == Login(ip_address("192.0.2.7").packed, SSH, NOW - 2000)


def test_it_began_with_the_oldest_process_that_has_it() -> None:
    """The other one is there only since the user is known."""
    found = find_login(
        [above(1.0, (22, "192.0.2.7")), above(31.5, (22, "192.0.2.7"))], [SSH], NOW
    )
    assert found == Login(ip_address("192.0.2.7").packed, SSH, NOW - 31_500)


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_that_of_the_client_on_the_wire(
    address: str, packed: str
) -> None:
    found = find_login([above(1.0, (22, address))], [SSH], NOW)
    assert found is not None
    assert found.address == ip_address(packed).packed


@pytest.mark.parametrize("ports", [[], [Port(6, 2222)], [DNS]])
def test_another_port_is_no_login(ports: list[Port]) -> None:
    assert find_login([above(1.0, (22, "192.0.2.7"))], ports, NOW) is None


def test_the_processes_above_are_seen_with_their_ages_and_connections() -> None:
    """As below sshd: a process has a connection, and starts the one that looks."""
    look = (
        "from spassh_server.login import processes_above as up;"
        "print([(a.age, a.connections) for a in up()])"
    )
    begin = (
        "import socket, subprocess, sys, time;"
        "a = socket.create_server(('127.0.0.1', 0));"
        "b = socket.create_connection(a.getsockname());"
        "c, _ = a.accept();"
        "a.close(); b.close;"
        "print(c.getsockname()[1], flush=True);"
        f"subprocess.run([sys.executable, '-c', {look!r}], check=True)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", begin],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    took = time.monotonic() - started
    port, seen = done.stdout.splitlines()
    age, connections = eval(seen)[0]  # noqa: S307 - what we have just printed
    assert (int(port), "127.0.0.1") in connections
    # The clock of processes has hundredths of a second.
    assert 0 < age < took + 0.02


def test_this_process_has_someone_above_it() -> None:
    ages = [one.age for one in processes_above()]
    assert ages == sorted(ages)
    assert ages


def test_a_socket_that_only_listens_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code = (
            "from spassh_server.login import processes_above as up;"
            f"print(any({port} in dict(a.connections) for a in up()))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.stdout == "False\n"
