"""System calls of the listener fail while the daemon starts, each third of them.

The daemon goes on, or leaves with an error and no traceback. Then the packet filter is
as it was, or all that it would be: half of it would shut out everybody, or nobody.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest
from firewall.network import Network, everything
from lab.failures import ERRORS
from lab.injection import Call, live, needs_injection

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli, config
from spassh_server.firewall import Firewall
from spassh_server.firewall.select import choose

NO_PACKETS = pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
"""A file of libpcap's. The daemon is done when it is."""
OF_PYTHON = {"newfstatat", "ioctl", "lseek", "fstat", "stat", "statx"}
"""What it makes to open a file, and to look for modules."""
EVERY = 3


class Spasshd:
    """A daemon that is this process, forked."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        path = directory / "spasshd.toml"
        self._argv = ["--config", str(path)]
        assert cli.main(["init", "--protect", "tcp/22", *self._argv]) == 0
        text = path.read_text().replace('backend = "auto"', 'backend = "nftables"')
        path.write_text(text)
        self._settings = config.load(str(path))
        self._packets = directory / "packets"
        self._packets.write_bytes(NO_PACKETS)
        self._said = directory / "said"

    def life(self) -> Iterator[None]:
        said = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 2)
        # pytest has put others there. What a destructor complains of ends nothing.
        sys.unraisablehook = lambda _: None
        sys.stderr = os.fdopen(said, "w", buffering=1)
        status = cli.main(["run", "--pcap", str(self._packets), *self._argv])
        yield
        os._exit(status)

    def firewall(self) -> Firewall:
        return choose("nftables", self._settings.firewall, time.time)[0]

    def said(self) -> str:
        return self._said.read_text()


def faults(spasshd: Spasshd) -> list[tuple[Call, str]]:
    # What is loaded when it is first needed is there for the second life.
    names = [call.name for call in live(spasshd.life).calls]
    assert {"flock", "vfork", "setresuid", "renameat"} <= set(names)
    calls = [call for call in live(spasshd.life).calls if not call.process]
    # It begins with its own work when it makes its directories.
    own = calls[[call.name for call in calls].index("mkdir") :]
    table = [
        (call, ERRORS[call.name][0])
        for call in own
        if call.name not in OF_PYTHON
        # One capability is dropped like all the others.
        and (call.name != "prctl" or call.number in {1, 66})
    ]
    return table[::EVERY]


@needs_injection
@pytest.mark.timeout(600)
def test_a_call_that_fails_at_the_start_leaves_no_half_of_a_packet_filter(
    network: Network, tmp_path: Path
) -> None:
    spasshd = Spasshd(tmp_path)
    table = faults(spasshd)
    assert len(table) > 20
    spasshd.firewall().remove()
    before = everything()
    statuses = set()
    for fault in table:
        life = live(spasshd.life, *fault)
        statuses.add(life.status)
        said = spasshd.said()
        assert "Traceback" not in said, (fault, said)
        if life.status:
            assert "spasshd: error: " in said, fault
        firewall = spasshd.firewall()
        if firewall.in_place():
            firewall.remove()
        else:
            assert life.status, fault
        assert everything() == before, fault
    assert statuses == {0, 1}
