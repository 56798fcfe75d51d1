"""The replay memory on disk, so that a restart forgets nothing.

An append-only file of fixed records, rewritten when it has grown. A record is written
before the grant is asked for, so a killed daemon knows what it accepted. It is synced
after the grant, so nobody waits for the disk; a machine that loses power has another
boot id, and then nothing made before the start is accepted (PROTOCOL.md section 6.3).

Beside it are two smaller nets. The file `highest` has the latest time of a datagram
whose client was ahead of our clock: should the store be lost, one that was made "after"
the start is not accepted again. And a mark outside of this disk says that accepted
datagrams could not be written: a later start on a disk that is well again would else
believe an old file.
"""

import errno
import os
from contextlib import suppress
from hashlib import blake2s
from struct import Struct

from spassh.protocol.limits import WINDOW_MS

from .limits import REPLAY_CAPACITY
from .replay import IDENTITY_SIZE, Entry, ReplayMemory

_NAME = "replay"
_TEMPORARY = "replay.tmp"
_HIGHEST_NAME = "highest"
FILES = frozenset({_NAME, _TEMPORARY, _HIGHEST_NAME})
"""All that is ever in state_dir."""

_MAGIC = b"spassh replay 3\n"
_CHECK_SIZE = 8
# magic, boot id, floor of what was forgotten and floor of the start in ms, check
_HEADER = Struct(f"!16s36sQQ{_CHECK_SIZE}s")
# identity, time in ms, check
_RECORD = Struct(f"!{IDENTITY_SIZE}sQ{_CHECK_SIZE}s")
_HIGHEST = Struct(f"!Q{_CHECK_SIZE}s")

_WHOLE = b"0"
_GAP = b"1"

_RETRY_MS = 1000
"""Shortest time between two tries to write a store that could not be written."""

MAX_BYTES = _HEADER.size + _RECORD.size * (2 * REPLAY_CAPACITY + 1)
"""Largest size that the file can reach, and the limit that the sandbox sets."""


def boot_id() -> bytes:
    """Return what tells this boot of the machine from every other, 36 bytes."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read(36)
    except OSError:
        # Never equal to a stored one: each start counts as a new boot.
        return os.urandom(18).hex().encode()


class ReplayStore:
    """A `ReplayMemory` with a durable copy in one file."""

    def __init__(self, directory: int, now: int, boot: bytes, mark: int = -1) -> None:
        """Load the file, or begin at `now` (ms): nothing made before is accepted then.

        `directory` is an open descriptor, because the directories above it may be
        closed to the user that we have become. So is `mark`: a file elsewhere that
        tells the next start whether something is missing here; -1 for none.
        """
        self._directory = directory
        self._boot = boot
        self._mark = mark
        self._tried = now
        self._fd = -1
        self.unsynced = False
        """Whether something was accepted that a power cut could still take away."""
        self._records = 0
        self.lost = ""
        """Why what an earlier run remembered could not be read, or empty."""
        self.problem = ""
        """Why the file cannot be written, or empty. The memory works all the same."""
        self.set_back = 0
        """Milliseconds that the clock at the start was ahead, once that is noticed.

        Whoever has reported it sets it to 0 again.
        """
        self._highest = self._read_highest()
        self._memory = self._load(now)
        if self._has_gap():
            self.lost = self.lost or "replay store: an earlier run could not write it"
            self._memory.start = max(self._memory.start, now)
        if self._memory.start >= now:
            self._look_ahead(now)
        self._rewrite()
        if self.problem:
            # An earlier run may have failed to write as well: the file may have a gap.
            self._memory.start = max(self._memory.start, now)

    def check(self, entry: Entry, source: bytes, now: int) -> None:
        """See whether `entry` would be accepted. A clock set back is noticed here.

        Raises:
            Stale, Replayed: as `ReplayMemory.check`.
        """
        ahead = self._memory.lower_start(now)
        if ahead:
            self.set_back = ahead
            self._look_ahead(now)
            # Else the next start would believe the wrong clock again.
            self._rewrite()
        self._memory.check(entry, source, now)

    def admit(self, entry: Entry, source: bytes, now: int) -> None:
        """Accept `entry` once, and remember it on disk before anything else happens.

        Raises:
            Stale, Replayed: as `ReplayMemory.admit`.
        """
        self.check(entry, source, now)
        self._memory.admit(entry, source, now)
        if entry.time > max(now, self._highest):
            self._write_highest(entry.time)
        if self._fd < 0:
            # A full disk must not be written to for each packet, all over again.
            if abs(now - self._tried) >= _RETRY_MS:
                self._tried = now
                self._rewrite()
            return
        if self._records >= 2 * REPLAY_CAPACITY:
            self._rewrite()
            return
        try:
            written = os.write(self._fd, _pack(entry))
            self._records += 1
            self.unsynced = True
        except OSError as error:
            self._give_up(error)
        else:
            if written != _RECORD.size:
                self._give_up(OSError(errno.ENOSPC, "disk full"))

    def _look_ahead(self, now: int) -> None:
        """Whatever was the reason to begin anew: who was ahead is not let in again."""
        if self._highest <= now + WINDOW_MS:
            self._memory.start = max(self._memory.start, self._highest)

    def sync(self) -> None:
        """Make what was accepted survive a power cut. Call it when nobody waits."""
        if self.unsynced:
            self.unsynced = False
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._give_up(error)

    def __len__(self) -> int:
        return len(self._memory)

    def _load(self, now: int) -> ReplayMemory:
        try:
            with os.fdopen(self._open(_NAME, os.O_RDONLY), "rb") as file:
                data = file.read(MAX_BYTES + 1)
            return self._parse(data, now)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.lost = f"replay store: {error}"
        return ReplayMemory(REPLAY_CAPACITY, 0, start=now)

    def _parse(self, data: bytes, now: int) -> ReplayMemory:
        if len(data) < _HEADER.size or len(data) > MAX_BYTES:
            raise ValueError("damaged")
        magic, boot, floor, start, check = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC or len(body) % _RECORD.size:
            raise ValueError("damaged")
        entries = _parse_records(body)
        if check != _check(data[: _HEADER.size - _CHECK_SIZE]) or entries is None:
            raise ValueError("damaged")
        if boot != self._boot:
            # The last records may not have reached the disk.
            start = now if start > now + WINDOW_MS else max(start, now)
        return ReplayMemory(REPLAY_CAPACITY, floor, entries, start)

    def _rewrite(self) -> None:
        """Write the file anew with what is remembered, whole or not at all."""
        self._close()
        self._records = len(self._memory)
        try:
            fd = self._open(_TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(fd, "wb") as file:
                memory = self._memory
                floors = memory.floor, memory.start
                file.write(_pack_header(self._boot, *floors))
                for entry in memory.entries():
                    file.write(_pack(entry))
                file.flush()
                os.fsync(fd)
            directory = self._directory
            os.rename(_TEMPORARY, _NAME, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
            self._fd = self._open(_NAME, os.O_WRONLY | os.O_APPEND)
            self.problem = ""
            self._set_mark(_WHOLE)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Go on in memory. The file has a gap now, so no later start may believe it."""
        self._close()
        self.problem = f"replay store: {error.strerror or error}"
        self._set_mark(_GAP)
        for name in (_NAME, _TEMPORARY):
            try:
                os.unlink(name, dir_fd=self._directory)
            except OSError:
                continue

    def _has_gap(self) -> bool:
        if self._mark < 0:
            return False
        try:
            return os.pread(self._mark, 1, 0) == _GAP
        except OSError:
            return True  # Nobody knows.

    def _set_mark(self, value: bytes) -> None:
        # In place: that takes no space on a disk that is full.
        if self._mark >= 0:
            with suppress(OSError):
                os.pwrite(self._mark, value, 0)

    def _read_highest(self) -> int:
        """Return the time in the file, or 0 if there is none to be believed."""
        try:
            with os.fdopen(self._open(_HIGHEST_NAME, os.O_RDONLY), "rb") as file:
                data = file.read(_HIGHEST.size + 1)
        except OSError:
            return 0
        if len(data) != _HIGHEST.size:
            return 0
        time, check = _HIGHEST.unpack(data)
        return int(time) if check == _check(data[:-_CHECK_SIZE]) else 0

    def _write_highest(self, time: int) -> None:
        """Write the time in place, which takes no space.

        That it cannot be written is no reason to stop: the store has the same disk, and
        says what is wrong with it.
        """
        self._highest = time
        spelled = time.to_bytes(8, "big")
        with suppress(OSError):
            fd = self._open(_HIGHEST_NAME, os.O_WRONLY | os.O_CREAT)
            try:
                os.write(fd, spelled + _check(spelled))
            finally:
                os.close(fd)

    def _open(self, name: str, flags: int) -> int:
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(name, flags, 0o600, dir_fd=self._directory)

    def _close(self) -> None:
        self.unsynced = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # Whoever closes it writes all of it anew, or takes it away.
            with suppress(OSError):
                os.close(fd)


def _pack(entry: Entry) -> bytes:
    spelled = entry.identity + entry.time.to_bytes(8, "big")
    return spelled + _check(spelled)


def _pack_header(boot: bytes, floor: int, start: int) -> bytes:
    fields = _HEADER.pack(_MAGIC, boot, floor, start, b"")[:-_CHECK_SIZE]
    return fields + _check(fields)


def _parse_records(body: bytes) -> list[Entry] | None:
    """Return the entries in `body`, or None if one of them was damaged."""
    entries = []
    for at in range(0, len(body), _RECORD.size):
        identity, time, check = _RECORD.unpack_from(body, at)
        if check != _check(body[at : at + _RECORD.size - _CHECK_SIZE]):
            return None
        entries.append(Entry(identity, time))
    return entries


def _check(data: bytes) -> bytes:
    """Return what tells `data` from what a failing disk makes of it."""
    return blake2s(data, digest_size=_CHECK_SIZE).digest()
