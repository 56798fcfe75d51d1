"""Packets from a file: what `explain` says of them, and `run --pcap` does."""

import json
import os
from collections.abc import Iterator

import pytest
from lab.network import CLIENT4, wait_for
from lab.programs import Spasshd, recording

from spassh.protocol.limits import DEFAULT_KNOCK_PORT

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    """Run the daemon once, so that it remembers since then."""
    spasshd = lab.spasshd("--protect", "tcp/22")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    spasshd.running.stop()
    yield spasshd
    spasshd.verb("stop", "--open", check=False)


def record(lab: Lab, server: Spasshd, user: str) -> str:
    """Record a knock of a new user that no daemon has heard."""
    client = lab.client(server, user)
    path = lab.path("knock.pcap")
    with recording(lab.server, path, "udp", "dst", "port", str(DEFAULT_KNOCK_PORT)):
        knock = client.popen("spassh", "proxy", "v4.server.test", "22")
        wait_for(lambda: os.path.getsize(path) > 192, "a recorded packet")
        knock.kill()
    return path


def grants(spasshd: Spasshd) -> list[str]:
    """Return who is let in, whether the daemon runs or not."""
    status = json.loads(spasshd.verb("status", "--json", check=False).stdout)
    return [one["address"] for one in status["grants"]]


def state(spasshd: Spasshd) -> dict[str, bytes]:
    directory = os.path.join(spasshd.directory, "state")
    found = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), "rb") as file:
            found[name] = file.read()
    return found


def test_a_file_is_explained_then_run_and_is_a_replay_from_then_on(
    lab: Lab, server: Spasshd
) -> None:
    recorded = record(lab, server, "alice")
    server.flush()
    before = state(server)
    for _ in range(2):
        explained = server.verb("explain", recorded)
        assert f"ok  grant      {CLIENT4} may reach tcp/22" in explained.stdout
        assert explained.stdout.rstrip().endswith("by nftables")
    assert state(server) == before
    assert grants(server) == []

    done = server.verb("run", "--pcap", recorded)
    assert f"granted user=alice address={CLIENT4} port=tcp/22" in done.stderr
    assert "stopped" in done.stderr
    assert set(grants(server)) == {CLIENT4}

    server.flush()
    again = server.verb("run", "--pcap", recorded)
    assert "granted" not in again.stderr
    assert "replayed" in again.stderr
    explained = server.verb("explain", "--json", recorded, check=False)
    assert explained.returncode == 1
    first = json.loads(explained.stdout.splitlines()[0])
    assert first["steps"][-1]["name"] == "replay"


def test_a_file_may_come_through_a_pipe(lab: Lab, server: Spasshd) -> None:
    recorded = record(lab, server, "bob")
    argv = ["sh", "-c", 'cat "$0" | spasshd run --pcap - --config "$1"']
    server.flush()
    done = lab.server.run([*argv, recorded, server.config])
    assert f"granted user=bob address={CLIENT4} port=tcp/22" in done.stderr
    assert "stopped" in done.stderr
    assert set(grants(server)) == {CLIENT4}


def test_what_is_no_capture_file_starts_nothing(lab: Lab, server: Spasshd) -> None:
    done = server.verb("run", "--pcap", server.config, check=False)
    assert done.returncode == 1
    assert "unknown file format" in done.stderr
    assert "ready" not in done.stderr
