"""rsync moves one GiB there and back: many small files and a big one."""

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from lab.programs import RELAY_LINES, Client

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns, pytest.mark.timeout(900)]

SMALL, MANY = 256 << 10, 2048
"""Bytes of a small file, and how many there are; the big one is as long as all."""

MEMORY, ENOUGH = "/dev/shm", 4 << 30  # noqa: S108 - with a name nobody can know

FAST = ("Host *", "Ciphers aes128-gcm@openssh.com", "Compression no")


@pytest.fixture(scope="module")
def client(lab: Lab) -> Client:
    server = lab.spasshd("--protect", "tcp/22")
    server.start()
    return lab.client(server)


@pytest.fixture
def directory(lab: Lab) -> Iterator[str]:
    """Return a directory whose files go when the test is over, good or bad.

    It is in memory if there is enough: GiBs that are under way to a disk hold up
    whoever else waits for it, such as the daemons of the tests beside this one.
    """
    if memory_left() < ENOUGH:
        path = lab.path("files")
        os.mkdir(path)
    else:
        path = tempfile.mkdtemp(prefix="spassh-test-", dir=MEMORY)
    yield path
    shutil.rmtree(path)


def memory_left() -> int:
    """Return how many bytes of files there may be in memory."""
    if not os.path.isdir(MEMORY):
        return 0
    with open("/proc/meminfo", encoding="ascii") as file:
        (kibibytes,) = re.findall(
            r"^MemAvailable: +(\d+) kB$", file.read(), re.MULTILINE
        )
    return min(int(kibibytes) << 10, shutil.disk_usage(MEMORY).free)


def make_files(tree: str) -> None:
    """Make a GiB that cannot be compressed, and whose pieces all differ."""
    os.makedirs(f"{tree}/many")
    noise = os.urandom(SMALL + MANY)
    with open(f"{tree}/big", "wb") as big:
        for number in range(MANY):
            piece = noise[number : number + SMALL]
            big.write(piece)
            with open(f"{tree}/many/{number}", "wb") as small:
                small.write(piece)


def checksums(tree: str) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    found = {}
    for place, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[os.path.relpath(path, tree)] = digest
    return found


def rsync(client: Client, *lines: str) -> list[str]:
    config = client.write_config(*FAST, *lines)
    return ["rsync", "-a", "-e", shlex.join(["ssh", "-F", config])]


def test_rsync_moves_a_gibibyte_there_and_back(client: Client, directory: str) -> None:
    """There by the socket that ssh was given, and back through the relay."""
    here, there, back = (f"{directory}/{name}/" for name in ("here", "there", "back"))
    make_files(here)
    expected = checksums(here)
    assert len(expected) == MANY + 1
    remote = f"v4.server.test:{there}"
    client.run(*rsync(client), here, remote, timeout=400)
    assert checksums(there) == expected
    shutil.rmtree(here)
    client.run(*rsync(client, *RELAY_LINES), remote, back, timeout=400)
    assert checksums(back) == expected
