import ctypes
import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.server.child import in_child, needs_root
from unit.server.disk import WRITING, Disk, KilledError
from unit.server.parties import HERE, NOW, THERE

from spassh.protocol.errors import PacketError, Replayed, Stale
from spassh_server import store
from spassh_server.replay import Entry
from spassh_server.store import ReplayStore, boot_id

BOOT = b"0123456-boot-of-this-machine-9abcdef"
OTHER_BOOT = b"f" * 36
SECOND = 1000


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def disk(directory: int, monkeypatch: pytest.MonkeyPatch) -> Disk:
    broken = Disk(directory)
    monkeypatch.setattr(store, "os", broken)
    return broken


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the memory hold 3 entries, and the file twice that many."""
    capacity = 3
    largest = store._HEADER.size + store._RECORD.size * (2 * capacity + 1)
    monkeypatch.setattr(store, "REPLAY_CAPACITY", capacity)
    monkeypatch.setattr(store, "MAX_BYTES", largest)
    return largest


opened: list[ReplayStore] = []


@pytest.fixture(autouse=True)
def _close_what_was_opened() -> Iterator[None]:
    yield
    while opened:
        opened.pop()._close()


def start(directory: int, now: int = NOW, boot: bytes = BOOT) -> ReplayStore:
    """Start the daemon; an earlier one was killed without a word."""
    while opened:
        opened.pop()._close()
    opened.append(ReplayStore(directory, now, boot))
    return opened[-1]


def entry(number: int, time: int | None = None) -> Entry:
    """Make the entry of a datagram from `number` seconds after the beginning."""
    time = NOW + number * SECOND if time is None else time
    return Entry(number.to_bytes(16, "big", signed=True), time)


def admit(current: ReplayStore, *numbers: int) -> None:
    for number in numbers:
        current.admit(entry(number), HERE, NOW + number * SECOND)


def outcome(current: ReplayStore, one: Entry, now: int) -> str:
    try:
        current.admit(one, THERE, now)
    except PacketError as error:
        return error.outcome
    return "accepted"


def replays(current: ReplayStore, *numbers: int, now: int = NOW + SECOND) -> set[str]:
    return {outcome(current, entry(number), now) for number in numbers}


def path_in(directory: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{directory}")) / "replay"


class TestAFirstStart:
    def test_accepts_nothing_made_before_it(self, directory: int) -> None:
        current = start(directory)
        assert not current.lost
        assert not current.problem
        assert outcome(current, entry(0, NOW - 1), NOW) == "stale"
        assert outcome(current, entry(0, NOW), NOW) == "stale"
        assert outcome(current, entry(0, NOW + 1), NOW) == "accepted"

    def test_leaves_a_file_that_nobody_else_can_read(self, directory: int) -> None:
        start(directory)
        assert path_in(directory).stat().st_mode & 0o777 == 0o600
        assert os.listdir(directory) == ["replay"]


class TestARestart:
    def test_remembers_what_was_accepted(self, directory: int) -> None:
        admit(start(directory), 1, 2, 3)
        current = start(directory, NOW + 4 * SECOND)
        assert not current.lost
        assert len(current) == 3
        assert replays(current, 1, 2, 3) == {"replayed"}

    def test_goes_on_accepting_what_was_made_before_it(self, directory: int) -> None:
        admit(start(directory), 1)
        current = start(directory, NOW + 10 * SECOND)
        assert outcome(current, entry(2), NOW + 10 * SECOND) == "accepted"

    def test_keeps_the_floor(self, directory: int) -> None:
        start(directory)
        current = start(directory, NOW + 10 * SECOND)
        assert outcome(current, entry(0), NOW + 10 * SECOND) == "stale"

    def test_does_not_know_any_more_where_a_datagram_came_from(
        self, directory: int
    ) -> None:
        admit(start(directory), 1)
        with pytest.raises(Replayed) as caught:
            start(directory).admit(entry(1), HERE, NOW)
        assert not caught.value.same_source

    def test_may_come_again_and_again(self, directory: int) -> None:
        for number in range(1, 6):
            current = start(directory, NOW + (number - 1) * SECOND)
            assert len(current) == number - 1
            admit(current, number)
        assert replays(start(directory), 1, 2, 3, 4, 5) == {"replayed"}

    def test_remembers_what_was_refused_for_nothing(self, directory: int) -> None:
        current = start(directory)
        with pytest.raises(Stale):
            current.admit(entry(0), HERE, NOW)
        assert len(start(directory)) == 0


class TestAnotherBoot:
    """A power cut may have taken the last entries with it."""

    def test_accepts_nothing_made_before_its_start(self, directory: int) -> None:
        admit(start(directory), 1)
        later = NOW + 30 * SECOND
        current = start(directory, later, OTHER_BOOT)
        assert not current.lost
        assert outcome(current, entry(2), later) == "stale"
        assert outcome(current, entry(30), later) == "stale"
        assert outcome(current, entry(31), later) == "accepted"

    def test_still_knows_what_the_disk_kept(self, directory: int) -> None:
        # A minute ahead: above the floor, so only its identity keeps it out.
        start(directory).admit(entry(50), HERE, NOW)
        current = start(directory, NOW + SECOND, OTHER_BOOT)
        assert len(current) == 1
        assert outcome(current, entry(50), NOW + SECOND) == "replayed"

    def test_with_a_clock_set_back_a_little_does_not_lower_the_floor(
        self, directory: int
    ) -> None:
        start(directory)
        current = start(directory, NOW - 60 * SECOND, OTHER_BOOT)
        assert outcome(current, entry(0), NOW) == "stale"
        assert outcome(current, entry(1), NOW) == "accepted"

    def test_with_a_clock_set_back_by_more_begins_anew(self, directory: int) -> None:
        admit(start(directory), 1)
        earlier = NOW - 3600 * SECOND
        current = start(directory, earlier, OTHER_BOOT)
        assert outcome(current, entry(-3600), earlier) == "stale"
        assert outcome(current, entry(-3599), earlier) == "accepted"
        assert outcome(current, entry(1), NOW) == "replayed"

    def test_becomes_this_boot_for_the_next_start(self, directory: int) -> None:
        start(directory)
        start(directory, NOW + SECOND, OTHER_BOOT)
        later = NOW + 10 * SECOND
        current = start(directory, later, OTHER_BOOT)
        assert outcome(current, entry(2), later) == "accepted"


class TestAClockThatWasAheadAtTheStart:
    """It was an hour ahead, and NTP has set it back to `NOW`."""

    AHEAD = NOW + 3600 * SECOND

    def test_locks_nobody_out_while_the_daemon_runs(self, directory: int) -> None:
        current = start(directory, self.AHEAD)
        assert outcome(current, entry(0), NOW) == "stale"
        assert outcome(current, entry(1), NOW + SECOND) == "accepted"

    @pytest.mark.parametrize("noticed", [True, False])
    @pytest.mark.parametrize("boot", [BOOT, OTHER_BOOT])
    def test_locks_nobody_out_after_a_restart(
        self, directory: int, boot: bytes, noticed: bool
    ) -> None:
        before = start(directory, self.AHEAD)
        if noticed:
            assert outcome(before, entry(0), NOW) == "stale"
        current = start(directory, NOW, boot)
        assert outcome(current, entry(0), NOW) == "stale"
        assert outcome(current, entry(1), NOW + SECOND) == "accepted"

    def test_is_told_once(self, directory: int) -> None:
        current = start(directory, self.AHEAD)
        assert current.set_back == 0
        outcome(current, entry(0), NOW)
        assert current.set_back == 3600 * SECOND
        current.set_back = 0
        outcome(current, entry(1), NOW + SECOND)
        outcome(current, entry(1), NOW + SECOND)
        assert current.set_back == 0

    def test_leaves_what_was_made_before_that_refused_after_a_restart(
        self, directory: int
    ) -> None:
        current = start(directory, self.AHEAD)
        assert outcome(current, entry(1), NOW) == "accepted"
        for _ in range(2):
            current = start(directory, NOW + SECOND)
            assert current.set_back == 0
            assert replays(current, -50, -1, 0) == {"stale"}
            assert replays(current, 1) == {"replayed"}

    def test_is_noticed_by_a_check_too(self, directory: int) -> None:
        current = start(directory, self.AHEAD)
        current.check(entry(1), HERE, NOW)
        assert current.set_back == 3600 * SECOND
        assert len(current) == 0
        assert len(start(directory)) == 0

    def test_and_was_written_by_a_failing_disk_harms_nobody(
        self, directory: int, disk: Disk
    ) -> None:
        current = start(directory, self.AHEAD)
        disk.fail(*WRITING)
        assert outcome(current, entry(1), NOW) == "accepted"
        assert current.problem
        disk.heal()
        after = start(directory, NOW + 2 * SECOND)
        assert replays(after, 1) == {"stale"}
        assert outcome(after, entry(3), NOW + 3 * SECOND) == "accepted"


class TestAFileThatCannotBeBelieved:
    """Nothing made before the start is accepted then, and the administrator is told."""

    @staticmethod
    def assert_lost(directory: int, *numbers: int) -> None:
        later = NOW + 20 * SECOND
        current = start(directory, later)
        assert current.lost.startswith("replay store: ")
        assert not current.problem
        assert len(current) == 0
        assert replays(current, *numbers, 19, 20, now=later) == {"stale"}
        assert outcome(current, entry(21), later) == "accepted"
        # It was written anew, whole.
        after = start(directory, later)
        assert not after.lost
        assert outcome(after, entry(21), later) == "replayed"
        assert outcome(after, entry(20), later) == "stale"

    @pytest.mark.parametrize("size", [0, 1, 60, 75, 77, 107, 109, 139])
    def test_because_it_is_truncated(self, directory: int, size: int) -> None:
        # One header of 76 bytes, two records of 32.
        admit(start(directory), 1, 2)
        assert path_in(directory).stat().st_size == 140
        os.truncate(path_in(directory), size)
        self.assert_lost(directory, 1, 2)

    @pytest.mark.parametrize("at", range(16))
    def test_because_it_is_not_ours(self, directory: int, at: int) -> None:
        admit(start(directory), 1, 2)
        content = bytearray(path_in(directory).read_bytes())
        content[at] ^= 1
        path_in(directory).write_bytes(content)
        self.assert_lost(directory, 1, 2)

    @pytest.mark.parametrize("extra", [b"\n", b"\0" * 23, b"\0" * 25])
    def test_because_it_has_bytes_too_many(self, directory: int, extra: bytes) -> None:
        admit(start(directory), 1, 2)
        with path_in(directory).open("ab") as file:
            file.write(extra)
        self.assert_lost(directory, 1, 2)

    def test_because_it_is_larger_than_we_write(
        self, directory: int, small: int
    ) -> None:
        admit(start(directory), 1, 2)
        with path_in(directory).open("ab") as file:
            file.write(bytes(small - 116 + 24))
        self.assert_lost(directory, 1, 2)

    def test_because_it_is_a_fifo(self, directory: int) -> None:
        admit(start(directory), 1)
        path_in(directory).unlink()
        os.mkfifo(path_in(directory))
        self.assert_lost(directory, 1)

    def test_because_it_is_a_link(self, directory: int, tmp_path: Path) -> None:
        admit(start(directory), 1)
        target = tmp_path / "target"
        path_in(directory).rename(target)
        path_in(directory).symlink_to(target)
        before = target.read_bytes()
        self.assert_lost(directory, 1)
        assert before == target.read_bytes()
        assert not path_in(directory).is_symlink()

    def test_because_the_disk_cannot_read_it(self, directory: int, disk: Disk) -> None:
        admit(start(directory), 1)
        disk.fail("open to read", error=errno.EIO)
        current = start(directory, NOW + 20 * SECOND)
        assert "Input/output error" in current.lost
        assert replays(current, 1, now=NOW + 20 * SECOND) == {"stale"}


def test_a_link_at_the_temporary_name_is_not_followed(directory: int) -> None:
    target = path_in(directory).with_name("target")
    target.write_bytes(b"precious")
    path_in(directory).with_name("replay.tmp").symlink_to(target)
    current = start(directory)
    assert current.problem
    admit(current, 1)
    assert target.read_bytes() == b"precious"
    # The link was in our way and ours to take away, so the next entry is durable.
    assert not current.problem
    assert replays(start(directory), 1) == {"replayed"}


def test_a_directory_at_the_name_is_reported_and_harmless(directory: int) -> None:
    path_in(directory).mkdir()
    current = start(directory)
    assert current.lost
    assert current.problem
    admit(current, 1)
    assert replays(current, 1) == {"replayed"}


class TestAFailingDisk:
    @pytest.mark.parametrize("call", WRITING)
    def test_forgets_nothing_while_the_daemon_runs(
        self, directory: int, disk: Disk, small: int, call: str
    ) -> None:
        current = start(directory)
        disk.fail(call)
        problems = set()
        for number in range(1, 9):
            admit(current, number)
            current.sync()
            assert replays(current, *range(1, number + 1)) <= {"replayed", "stale"}
            problems.add(current.problem)
        assert "replay store: No space left on device" in problems

    @pytest.mark.parametrize("recovers", [True, False])
    @pytest.mark.parametrize("failing", [*WRITING, "all", "short"])
    @pytest.mark.parametrize("earlier", [0, 1, 6])
    def test_accepts_no_replay_after_a_restart(
        self,
        directory: int,
        disk: Disk,
        small: int,
        earlier: int,
        failing: str,
        recovers: bool,
    ) -> None:
        current = start(directory)
        admit(current, *range(1, earlier + 1))
        if failing == "short":
            disk.short = True
        else:
            disk.fail(*(WRITING if failing == "all" else [failing]))
        admit(current, 10, 11)
        current.sync()
        if recovers:
            disk.heal()
        later = NOW + 12 * SECOND
        after = start(directory, later)
        assert replays(after, *range(1, earlier + 1), 10, 11, now=later) <= {
            "replayed",
            "stale",
        }

    def test_that_cannot_even_be_emptied_is_not_believed_at_the_next_start(
        self, directory: int, disk: Disk
    ) -> None:
        """A file system that became read-only keeps the file, with its gap."""
        current = start(directory)
        admit(current, 1)
        disk.fail(*WRITING, "unlink", error=errno.EROFS)
        admit(current, 2)
        later = NOW + 3 * SECOND
        after = start(directory, later)
        assert after.problem == "replay store: Read-only file system"
        assert replays(after, 1, 2, now=later) == {"replayed", "stale"}
        assert outcome(after, entry(3), later) == "stale"
        assert outcome(after, entry(4), later) == "accepted"

    def test_at_the_first_start_does_not_stop_the_daemon(
        self, directory: int, disk: Disk
    ) -> None:
        disk.fail(*WRITING, "unlink")
        current = start(directory)
        assert current.problem
        admit(current, 1)
        assert replays(current, 1) == {"replayed"}

    @pytest.mark.parametrize("call", WRITING)
    def test_that_recovers_gets_everything_that_was_accepted_meanwhile(
        self, directory: int, disk: Disk, small: int, call: str
    ) -> None:
        current = start(directory)
        admit(current, 1)
        disk.fail(call)
        admit(current, 2)
        current.sync()
        disk.heal()
        admit(current, 3)
        assert not current.problem
        after = start(directory, NOW + 4 * SECOND)
        assert not after.lost
        assert replays(after, 1, 2, 3) == {"replayed"}

    def test_is_reported_by_its_first_reason(self, directory: int, disk: Disk) -> None:
        """What is not open any more is not synced either."""
        current = start(directory)
        admit(current, 1)
        disk.fail("append")
        admit(current, 2)
        current.sync()
        assert current.problem == "replay store: No space left on device"

    def test_is_noticed_by_the_sync_after_the_grant(
        self, directory: int, disk: Disk
    ) -> None:
        current = start(directory)
        disk.fail("sync", error=errno.EIO)
        admit(current, 1)
        before = current.problem
        current.sync()
        assert (before, current.problem) == ("", "replay store: Input/output error")
        assert not path_in(directory).exists()


def test_an_idle_daemon_does_not_touch_the_disk(directory: int, disk: Disk) -> None:
    current = start(directory)
    admit(current, 1)
    current.sync()
    disk.kill_after(0)
    current.sync()


@pytest.mark.parametrize("accepted", range(8))
def test_a_daemon_killed_at_any_call_knows_what_it_accepted(
    directory: int, disk: Disk, small: int, accepted: int
) -> None:
    """The loop kills it at its 1st, 2nd, ... call until there is none left."""
    numbers = range(1, accepted + 1)
    for calls in range(40):
        path_in(directory).unlink(missing_ok=True)
        current = start(directory)
        admit(current, *numbers)
        disk.kill_after(calls)
        try:
            admit(current, 9)
            current.sync()
        except KilledError:
            finished = False
        else:
            finished = True
        disk.dead = False
        disk.kill_after(-1)
        later = NOW + 10 * SECOND
        after = start(directory, later)
        assert not after.lost
        assert replays(after, *numbers, now=later) <= {"replayed", "stale"}
        if finished:
            assert replays(after, 9, now=later) == {"replayed"}
            return
    pytest.fail("it never finished")


def test_the_file_is_rewritten_at_twice_the_capacity_and_never_grows_beyond(
    directory: int, small: int
) -> None:
    current = start(directory)
    sizes = [path_in(directory).stat().st_size]
    for number in range(1, 30):
        admit(current, number)
        sizes.append(path_in(directory).stat().st_size)
    assert max(sizes) <= small
    records = [(size - store._HEADER.size) / store._RECORD.size for size in sizes]
    assert records[:12] == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3]
    after = start(directory)
    assert len(after) == 3
    assert replays(after, *range(1, 30), now=NOW + 15 * SECOND) == {"replayed", "stale"}


def test_a_restart_with_a_smaller_capacity_raises_the_floor(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(start(directory), *range(1, 6))
    monkeypatch.setattr(store, "REPLAY_CAPACITY", 2)
    after = start(directory)
    assert len(after) == 2
    assert replays(after, 4, 5) == {"replayed"}
    assert replays(after, 1, 2, 3) == {"stale"}


def test_the_boot_id_is_that_of_the_kernel() -> None:
    expected = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    assert expected == boot_id()
    assert len(boot_id()) == 36


def test_without_a_boot_id_each_start_is_another_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(store, "open", refuse, raising=False)
    first, second = boot_id(), boot_id()
    assert first != second
    assert len(first) == len(second) == 36


class TestARealDisk:
    """The same with the kernel's own errors instead of ours."""

    def test_that_is_full_is_reported_and_forgets_nothing(self) -> None:
        def work() -> tuple[str, set[str], bool, set[str]]:
            with tempfile.TemporaryDirectory() as path:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                current = start(fd)
                admit(current, 1)
                # The limit that the sandbox sets fails as a full disk does.
                limits = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (108 + 10, limits[1]))
                admit(current, 2)
                problem = current.problem
                here = replays(current, 1, 2)
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                exists = os.path.exists(f"{path}/replay")
                later = NOW + 3 * SECOND
                return problem, here, exists, replays(start(fd, later), 1, 2, now=later)

        problem, here, exists, after = in_child(work)
        assert problem == "replay store: disk full"
        assert here == {"replayed"}
        assert not exists
        assert after == {"stale"}

    @needs_root
    def test_that_became_read_only_is_reported_and_forgets_nothing(
        self, tmp_path: Path
    ) -> None:
        libc = ctypes.CDLL(None, use_errno=True)

        def call(name: str, *arguments: object) -> None:
            if getattr(libc, name)(*arguments):
                raise OSError(ctypes.get_errno(), name)

        def work() -> tuple[str, str, set[str], set[str]]:
            new_mounts, private, read_only, remount = 0x20000, 0x44000, 1, 32
            call("unshare", new_mounts)
            call("mount", b"none", b"/", None, private, None)
            place = bytes(tmp_path)
            call("mount", b"tmpfs", place, b"tmpfs", 0, None)
            fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
            current = start(fd)
            admit(current, 1)
            # A descriptor open for writing would keep it writable.
            current._close()
            call("mount", b"tmpfs", place, b"tmpfs", read_only | remount, None)
            admit(current, 2)
            problem, here = current.problem, replays(current, 1, 2)
            later = NOW + 3 * SECOND
            after = start(fd, later)
            return problem, after.problem, here, replays(after, 1, 2, now=later)

        problem, after_problem, here, after = in_child(work)
        assert problem == after_problem == "replay store: Read-only file system"
        assert here == {"replayed"}
        assert after == {"replayed", "stale"}


class TestOneFlippedBit:
    @pytest.mark.parametrize("at", [0, 16, 60, 75, 76, 92, 100, 107, 108, 139])
    def test_anywhere_makes_the_whole_file_unbelievable(
        self, directory: int, at: int
    ) -> None:
        admit(start(directory), 1, 2)
        data = bytearray(path_in(directory).read_bytes())
        data[at] ^= 1
        path_in(directory).write_bytes(data)
        later = NOW + 3 * SECOND
        current = start(directory, later)
        assert current.lost == "replay store: damaged"
        assert replays(current, 1, 2, now=later) == {"stale"}


class TestAClientThatIsAhead:
    AHEAD = 50 * SECOND

    def lose(self, directory: int) -> None:
        path_in(directory).unlink()

    def test_is_not_replayed_when_the_store_was_lost(self, directory: int) -> None:
        one = entry(1, NOW + self.AHEAD)
        start(directory).admit(one, HERE, NOW)
        self.lose(directory)
        current = start(directory, NOW + SECOND)
        assert outcome(current, one, NOW + 2 * SECOND) == "stale"

    def test_is_not_replayed_when_the_store_was_damaged(self, directory: int) -> None:
        one = entry(1, NOW + self.AHEAD)
        start(directory).admit(one, HERE, NOW)
        path_in(directory).write_bytes(b"rubbish")
        current = start(directory, NOW + SECOND)
        assert outcome(current, one, NOW + 2 * SECOND) == "stale"
        # And those who are not ahead wait no longer than a window.
        late = NOW + SECOND + self.AHEAD
        assert outcome(current, entry(2, late), late) == "accepted"

    def test_is_not_replayed_after_a_power_cut(self, directory: int) -> None:
        one = entry(1, NOW + self.AHEAD)
        start(directory).admit(one, HERE, NOW)
        empty = path_in(directory).read_bytes()[:-32]
        path_in(directory).write_bytes(empty)
        current = start(directory, NOW + SECOND, OTHER_BOOT)
        assert outcome(current, one, NOW + 2 * SECOND) == "stale"

    @pytest.mark.parametrize("content", [b"", b"x" * 16, b"x" * 17])
    def test_is_forgotten_if_that_file_is_damaged_too(
        self, directory: int, content: bytes
    ) -> None:
        start(directory).admit(entry(1, NOW + self.AHEAD), HERE, NOW)
        path_in(directory).with_name("highest").write_bytes(content)
        path_in(directory).write_bytes(b"rubbish")
        current = start(directory, NOW + SECOND)
        assert outcome(current, entry(2), NOW + 2 * SECOND) == "accepted"

    def test_by_hours_locks_nobody_out(self, directory: int) -> None:
        hours = 3 * 3600 * SECOND
        start(directory).admit(entry(1, NOW + hours), HERE, NOW + hours)
        highest = path_in(directory).with_name("highest")
        assert not highest.exists()
        start(directory)._write_highest(NOW + hours)
        path_in(directory).write_bytes(b"rubbish")
        current = start(directory)
        assert outcome(current, entry(1), NOW + SECOND) == "accepted"


class TestTheMarkOutside:
    @pytest.fixture
    def mark(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
        path = tmp_path_factory.mktemp("run") / "replay-gap"
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        yield fd
        os.close(fd)

    def start(self, directory: int, mark: int, now: int) -> ReplayStore:
        while opened:
            opened.pop()._close()
        opened.append(ReplayStore(directory, now, BOOT, mark))
        return opened[-1]

    def test_tells_of_what_a_read_only_disk_did_not_take(
        self, directory: int, mark: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        admit(self.start(directory, mark, NOW), 1)
        with monkeypatch.context() as patch:
            patch.setattr(store, "os", ReadOnly())
            admit(self.start(directory, mark, NOW + SECOND), 2)
        # The disk is well again. Its file is whole, of this boot, and without the 2.
        later = NOW + 3 * SECOND
        current = self.start(directory, mark, later)
        assert current.lost == "replay store: an earlier run could not write it"
        assert replays(current, 2, now=later) == {"stale"}
        assert replays(current, 1, now=later) == {"replayed"}
        # Now that it could be written, the next start believes it.
        assert not self.start(directory, mark, later + SECOND).lost

    def test_is_not_there_for_a_store_that_was_written(
        self, directory: int, mark: int
    ) -> None:
        admit(self.start(directory, mark, NOW), 1)
        current = self.start(directory, mark, NOW + 2 * SECOND)
        assert not current.lost
        assert outcome(current, entry(2), NOW + 2 * SECOND) == "accepted"


class ReadOnly:
    """`os`, on a disk that can be read and nothing else."""

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str, flags: int, *arguments: int, **more: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return os.open(path, flags, *arguments, **more)

    def unlink(self, path: str, **more: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_disk_that_stays_full_is_tried_once_a_second(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = start(directory)
    tries = []
    monkeypatch.setattr(current, "_rewrite", lambda: tries.append(1))
    current._give_up(OSError(errno.ENOSPC, "full"))
    for number in range(1, 50):
        current.admit(entry(number), HERE, NOW + number * SECOND // 10)
    assert len(tries) == 4
