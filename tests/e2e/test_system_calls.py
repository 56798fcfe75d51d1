"""What the daemon calls in a whole life is what its unit lets it call."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.programs import Daemon, Spasshd
from lab.sessions import session
from lab.unit import IPTABLES, UNIT, allowed_calls, needs_systemd, values
from lab.users import set_lines

from spassh_server.cli import EXIT_STOPPED

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns, needs_systemd]

PROGRAMS = """
on_open = ["/bin/true"]
on_close = ["/bin/true"]

"""
COMMAND = """
[[command]]
name = "true"
argv = ["/bin/true"]
"""

BACKENDS = {
    "nftables": (UNIT, 'backend = "nftables"'),
    "iptables": (UNIT + IPTABLES, 'backend = "iptables"'),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = BACKENDS[request.param]
    return found


@pytest.fixture
def spasshd(lab: Lab, backend: tuple[str, str]) -> Iterator[Spasshd]:
    made = lab.spasshd("--protect", "tcp/22")
    made.edit('backend = "auto"', backend[1])
    made.edit("protect =", f"{PROGRAMS}protect =")
    with open(made.config, "a", encoding="utf-8") as file:
        file.write(COMMAND)
    yield made
    made.verb("stop", "--open", check=False)


class Record:
    """What a program and all that it started have called."""

    def __init__(self, path: Path) -> None:
        self._lines = path.read_text(encoding="utf-8", errors="replace").splitlines()

    def names(self) -> set[str]:
        return set(self._found(r"(\w+)\("))

    def families(self) -> set[str]:
        """Return the kinds of sockets that were wanted."""
        return set(self._found(r"socket(?:pair)?\((AF_\w+)"))

    def executable(self) -> list[str]:
        """Return the calls that make executable what is or was to be written."""
        return self._found(r"(mmap\(.*PROT_WRITE\|PROT_EXEC|\w*mprotect\(.*PROT_EXEC)")

    def _found(self, pattern: str) -> list[str]:
        """Return what the group of `pattern` is in each call that begins so."""
        found = (re.match(rf"\d+ +{pattern}", line) for line in self._lines)
        return [one[1] for one in found if one]


def strace(path: str) -> list[str]:
    return ["strace", "-f", "-o", path, "-e", "signal=none"]


def live(lab: Lab, spasshd: Spasshd, path: str) -> None:
    """Have the daemon do whatever it can, from its start to its end."""
    argv = [*strace(path), "spasshd", "run", "--config", spasshd.config]
    log = os.path.join(spasshd.directory, "log")
    daemon = spasshd.daemon = Daemon(lab.server, argv, log)
    daemon.wait_log("spasshd: ready")
    client = lab.client(spasshd)
    # One grant for each login: of flows, a slow machine needs several.
    client.set_profile('width = "address"')
    set_lines(spasshd, "alice", 'commands = ["true"]')
    # As the unit does it: ExecReload= is in the same box.
    argv = [*strace(f"{path}-reload"), "spasshd", "reload", "--config", spasshd.config]
    lab.server.run(argv)
    with session(client, "v4.server.test") as hers:
        assert [one["user"] for one in spasshd.status()["grants"]] == ["alice"]
        client.run("spassh", "run", "v4.server.test", "--", "/bin/true")
        daemon.wait_log("command user=alice")
        killed = spasshd.verb("revoke", "--kill", "alice").stdout
        assert killed == "grants taken back: 1\nconnections ended: 1\n"
        hers.wait_ended()
    lab.server.run(["nft", "flush", "ruleset"])
    daemon.wait_log("repaired firewall=")
    spasshd.verb("stop")
    assert daemon.process.wait(30) == EXIT_STOPPED


def test_the_unit_forbids_nothing_that_the_daemon_calls(
    lab: Lab, spasshd: Spasshd, backend: tuple[str, str]
) -> None:
    path = os.path.join(spasshd.directory, "strace")

    live(lab, spasshd, path)

    unit, _ = backend
    for record in (Record(Path(path)), Record(Path(f"{path}-reload"))):
        assert record.names() >= {"execve", "mmap", "close"}
        assert record.names() - allowed_calls(unit) == set()
        families = values("RestrictAddressFamilies", unit)
        assert record.families() - set(families) == set()
        assert record.executable() == []
