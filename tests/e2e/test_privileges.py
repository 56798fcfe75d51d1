"""What either program could still do if somebody took it over."""

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from lab.inside import inside
from lab.network import SERVER4, Network, wait_for
from lab.programs import Spasshd
from lab.site import Site
from lab.syscalls import children, is_there
from unit.server.child import in_child

from spassh_server import daemon
from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port
from spassh_server.privsep import message
from spassh_server.privsep.message import Answer, GrantMessage, Revoke, RunMessage
from spassh_server.privsep.sandbox import become

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

_PTRACE_SEIZE = 0x4206
_PR_CAPBSET_READ = 23
_CLONE_NEWNET, _CLONE_NEWUSER = 0x4000_0000, 0x1000_0000
HERE = socket.inet_aton("192.0.2.2")
SSH = Port(6, 22)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    directory = str(tmp_path_factory.mktemp("privileges") / "spasshd")
    spasshd = Spasshd(network.server, directory, "--protect", "tcp/22")
    site = Site(network.server, SERVER4, spasshd)
    # What is tried is the listener's own lack of permission, not that of its parents.
    for path in (directory, *Path(directory).parents):
        with suppress(PermissionError):
            os.chmod(path, os.stat(path).st_mode | 0o011)
    spasshd.start()
    yield site
    spasshd.running.stop()
    spasshd.verb("stop", "--open")


def refused(work: Callable[[], object]) -> str:
    """Return the name of the error that `work` meets, or nothing."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def syscall(name: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def as_the_listener(site: Site, work: Callable[[], object]) -> str:
    """Try `work` as what the listener has become, in its network namespace."""
    uid = int(site.config.user)

    def become_and_try() -> str:
        become(uid, uid, file_bytes=1000)
        return refused(work)

    return inside(site.host, lambda: in_child(become_and_try))
