"""The replay memory on disk, so that a restart forgets nothing.

An append-only file of fixed records, rewritten when it has grown. A record is written
before the grant is asked for, so a killed daemon knows what it accepted. It is synced
after the grant, so nobody waits for the disk; a machine that loses power has another
boot id, and then nothing made before the start is accepted (PROTOCOL.md section 6.3).
"""

import errno
import os
from struct import Struct

from spassh.protocol.limits import WINDOW_MS

from .limits import REPLAY_CAPACITY
from .replay import IDENTITY_SIZE, Entry, ReplayMemory

_NAME = "replay"
_TEMPORARY = "replay.tmp"

_MAGIC = b"spassh replay 2\n"
# magic, boot id, floor of what was forgotten and floor of the start in ms
_HEADER = Struct("!16s36sQQ")
_RECORD = Struct(f"!{IDENTITY_SIZE}sQ")

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

    def __init__(self, directory: int, now: int, boot: bytes) -> None:
        """Load the file, or begin at `now` (ms): nothing made before is accepted then.

        `directory` is an open descriptor, because the directories above it may be
        closed to the user that we have become.
        """
        self._directory = directory
        self._boot = boot
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
        self._memory = self._load(now)
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
        if self._fd < 0 or self._records >= 2 * REPLAY_CAPACITY:
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
        magic, boot, floor, start = _HEADER.unpack_from(data)
        body = data[_HEADER.size :]
        if magic != _MAGIC or len(body) % _RECORD.size:
            raise ValueError("damaged")
        entries = [Entry(*fields) for fields in _RECORD.iter_unpack(body)]
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
                file.write(_HEADER.pack(_MAGIC, self._boot, *floors))
                for entry in memory.entries():
                    file.write(_pack(entry))
                file.flush()
                os.fsync(fd)
            directory = self._directory
            os.rename(_TEMPORARY, _NAME, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
            self._fd = self._open(_NAME, os.O_WRONLY | os.O_APPEND)
            self.problem = ""
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Go on in memory. The file has a gap now, so no later start may believe it."""
        self._close()
        self.problem = f"replay store: {error.strerror or error}"
        for name in (_NAME, _TEMPORARY):
            try:
                os.unlink(name, dir_fd=self._directory)
            except OSError:
                continue

    def _open(self, name: str, flags: int) -> int:
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(name, flags, 0o600, dir_fd=self._directory)

    def _close(self) -> None:
        self.unsynced = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _pack(entry: Entry) -> bytes:
    return _RECORD.pack(entry.identity, entry.time)
