"""Whatever bytes a store has, the daemon starts, and accepts no datagram twice.

One that is not believed locks nobody out for more than a minute. The first byte chooses
which file the others are in: the store, or the highest time.
"""

import os
import tempfile
from collections.abc import Iterator

from spassh.protocol.errors import Replayed, Stale
from spassh.protocol.limits import WINDOW_MS
from spassh_server.replay import Entry
from spassh_server.store import MAX_BYTES, ReplayStore, _check, _pack, _pack_header

_NOW = 1_767_225_600_000
_BOOT = bytes(36)
_FILES = ("replay", "highest")
_HERE = bytes([192, 0, 2, 7])


def seeds() -> Iterator[tuple[str, bytes]]:
    entries = [Entry(bytes([at]) * 16, _NOW - at) for at in range(3)]
    body = b"".join(map(_pack, entries))
    yield "store", b"\0" + _pack_header(_BOOT, 0, _NOW - WINDOW_MS) + body
    yield "another boot", b"\0" + _pack_header(b"\1" * 36, 0, _NOW) + body
    yield "from the future", b"\0" + _pack_header(_BOOT, _NOW * 2, _NOW * 2)
    yield "not ours", b"\0" + bytes(200)
    spelled = (_NOW + 5).to_bytes(8, "big")
    yield "highest", b"\1" + spelled + _check(spelled)


def check(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_memory()) as path:
        name = _FILES[data[0] % 2] if data else _FILES[0]
        with open(os.path.join(path, name), "wb") as file:
            file.write(data[1:])
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            store = ReplayStore(directory, _NOW, _BOOT)
            try:
                _use(store)
            finally:
                store._close()
            assert os.stat("replay", dir_fd=directory).st_size <= MAX_BYTES
        finally:
            os.close(directory)


def _memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108


def _use(store: ReplayStore) -> None:
    assert not store.problem
    later = _NOW + WINDOW_MS + 1
    fresh = Entry(b"\xff" * 16, later)
    try:
        store.admit(fresh, _HERE, later)
    except Stale:
        # It says that it has forgotten later ones.
        assert not store.lost
        return
    try:
        store.admit(fresh, _HERE, later)
    except Replayed:
        return
    raise AssertionError("a datagram was accepted twice")
