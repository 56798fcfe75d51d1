"""What a capture keeps from others, in network namespaces of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("scapy.libs.winpcapy")

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[3]

OPEN = """
import sys
from spassh_server.capture import Capture, CaptureError
try:
    capture = Capture(sys.argv[1], 62201)
except CaptureError as error:
    sys.exit(error.hint)
"""

DETACH_FILTER = """
import errno, os, socket
SO_DETACH_FILTER = 27
with socket.socket(fileno=os.dup(capture.fileno())) as sock:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


# Root needs no user namespace for it, which some hosts do not allow.
NEW_NETWORK = "-n" if os.geteuid() == 0 else "-rn"


def run(
    code: str, interface: str, unshare: str = NEW_NETWORK
) -> subprocess.CompletedProcess[str]:
    python = [sys.executable, "-c", code, interface]
    return subprocess.run(
        ["unshare", unshare, "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *python],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'server'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_nobody_can_take_the_filter_off_a_capture(interface: str) -> None:
    done = run(OPEN + DETACH_FILTER, interface)
    assert (done.returncode, done.stdout) == (0, "EPERM\n"), done.stderr


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_a_capture_goes_on_when_its_filter_is_locked(interface: str) -> None:
    receive = """
import select, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.sendto(bytes(192), ("127.0.0.1", 62201))
    sock.sendto(bytes(193), ("127.0.0.1", 62201))
select.select([capture], [], [], 9)
print({len(frame) for frame in capture.frames()} != set(), capture.dropped())
capture.close()
capture.close()
"""
    done = run(OPEN + receive, interface)
    assert (done.returncode, done.stdout) == (0, "True 0\n"), done.stderr


def test_an_interface_that_is_not_there_is_told_from_a_missing_permission() -> None:
    done = run(OPEN, "nowhere0")
    assert (done.returncode, done.stderr) == (1, "'ip link' lists the interfaces\n")
    # Root of a namespace that has no network of its own.
    done = run(OPEN, "lo", "-r")
    assert done.returncode == 1
    assert done.stderr.endswith("run this as root\n")
