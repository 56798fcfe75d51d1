"""`spasshd explain` beside a daemon that runs: which rule refuses, and nothing happens.

Files of packets are in test_pcap.py.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from lab.knocks import knock, sealed
from lab.network import CLIENT4, SERVER4
from lab.programs import Client, Spasshd
from lab.users import set_lines

from spassh_server.clock import now_ms

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    client = lab.client(server)
    # The store remembers since the start, and what is older is stale.
    knock(client, SERVER4)
    server.wait_grants({"alice"})
    server.flush()
    return client


def state(server: Spasshd) -> dict[str, tuple[bytes, int]]:
    """Return what is in state_dir, with the times of the last change."""
    found = {}
    directory = os.path.join(server.directory, "state")
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            found[name] = (file.read(), os.stat(path).st_mtime_ns)
    return found


def explained(server: Spasshd, datagram: bytes, *words: str) -> list[str]:
    """Return the lines of explain, whose last says what becomes of the packet."""
    words = words or ("--source", CLIENT4)
    done = server.verb("explain", datagram.hex(), *words, check=False)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert done.returncode == (0 if lines[-1].startswith("ok  grant") else 1)
    return lines


def test_a_packet_is_explained_and_is_as_good_as_before(
    server: Spasshd, alice: Client
) -> None:
    datagram = sealed(alice)
    log, before = server.running.log, state(server)
    counters = server.status()["counters"]

    for _ in range(2):
        lines = explained(server, datagram)
        assert [line.split()[1] for line in lines[1:4]] == [
            "datagram",
            "gate",
            "handshake",
        ]
        assert "ok  handshake  made by alice, with key 1 of 1" in lines
        assert lines[-1] == (
            "ok  grant      192.0.2.2 may reach tcp/22 for 300 s (width address),"
            " by nftables"
        )

    assert state(server) == before
    assert server.running.log == log
    assert server.status()["counters"] == counters
    assert server.status()["grants"] == []


def test_an_accepted_packet_is_explained_as_a_replay(
    server: Spasshd, alice: Client
) -> None:
    server.flush()
    datagram = knock(alice, SERVER4)
    server.wait_grants({"alice"})
    assert explained(server, datagram)[-1].startswith("no  replay ")
    server.flush()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"port": 80}, "no  policy     tcp/80 is not in the user's ports"),
        (
            {"address": bytes([198, 51, 100, 1])},
            "no  policy     the address to allow is not the packet's source",
        ),
        (
            {"protocol": 0, "port": 0, "command": ("/usr/bin/id",)},
            "no  policy     commands are not allowed",
        ),
        ({"time": -90_000}, "no  time "),
    ],
)
def test_the_rule_that_refuses_is_the_last_line(
    server: Spasshd, alice: Client, fields: dict[str, Any], line: str
) -> None:
    if "time" in fields:
        fields = fields | {"time": now_ms() + fields["time"]}
    lines = explained(server, sealed(alice, **fields))
    assert lines[-1].startswith(line)
    assert not [one for one in lines[:-1] if one.startswith("no")]


def test_the_source_port_tells_of_a_nat(
    lab: Lab, server: Spasshd, alice: Client
) -> None:
    flo = lab.client(server, "flo")
    set_lines(server, "flo", 'widths = ["flow"]')
    datagram = sealed(flo, source_port=40001)
    source = ("--source", CLIENT4, "--source-port")
    assert explained(server, datagram, *source, "50001")[-1] == (
        "no  policy     a NAT rewrites ports: 40001 became 50001"
    )
    last = explained(server, datagram, *source, "40001")[-1]
    assert "from source port 40001 (width flow)" in last


def test_what_is_none_of_ours_is_said_to_be_none(
    server: Spasshd, alice: Client
) -> None:
    datagram = sealed(alice)
    assert "192 or 1200 bytes" in explained(server, datagram[:-1])[-1]
    changed = datagram[:-1] + bytes([datagram[-1] ^ 1])
    said = "made for another server's key, or changed on the way"
    assert said in explained(server, changed)[-1]
    stranger = os.urandom(192)
    assert explained(server, stranger)[-1].startswith("no  gate ")


def test_a_packet_on_the_command_line_needs_its_source(
    server: Spasshd, alice: Client
) -> None:
    done = server.verb("explain", sealed(alice).hex(), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--source ADDRESS" in done.stderr
