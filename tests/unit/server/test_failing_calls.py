"""Every system call of the store and of the files of the daemon fails once.

What was accepted is not accepted again, by whichever start follows, and the next
datagram is. A file is what it was, or what it was to be, whole; and if it is not what
it was to be, then that was told.
"""

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from lab.failures import ERRORS, HALF
from lab.injection import Call, Life, Work, live, needs_injection
from unit.server.parties import HERE, NOW, THERE

from spassh.protocol.errors import PacketError
from spassh_server import store
from spassh_server.config import Config, parse
from spassh_server.files import read_private, replace, write_new
from spassh_server.privsep import hook_journal
from spassh_server.privsep.hook_journal import FIELDS, HookJournal, name_of
from spassh_server.replay import Entry
from spassh_server.store import ReplayStore
from spassh_server.toml import ConfigError
from spassh_server.userfiles import locked

pytestmark = [needs_injection, pytest.mark.timeout(600)]

BOOT = b"0123456-boot-of-this-machine-9abcdef"
OTHER_BOOT = b"f" * 36
SECOND = 1000
AHEAD = 20 * SECOND
"""As far is the clock of one client ahead."""


def faults(work: Work) -> list[tuple[Call, str]]:
    """Return every way in which one of the calls of `work` may fail."""
    calls = live(work).calls
    assert {call.name for call in calls} <= ERRORS.keys()
    halves = {"read", "write"}
    return [
        (call, how)
        for call in calls
        for how in (*ERRORS[call.name], *([HALF] if call.name in halves else []))
    ]


def entry(number: int, time: int) -> Entry:
    return Entry(number.to_bytes(16, "big"), time)


class Disk:
    """state_dir and run_dir, and the lives of daemons that have them."""

    def __init__(self, path: Path) -> None:
        self._state = path / "state"
        self._mark = path / "mark"
        self._told = path / "told"
        self._state.mkdir()
        self._mark.touch()
        self._fds = (
            os.open(self._state, os.O_RDONLY | os.O_DIRECTORY),
            os.open(self._mark, os.O_RDWR),
        )

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)

    def make(self) -> None:
        """Begin anew: an earlier daemon has accepted three, one of them from ahead."""
        self.put({"": b""})
        self._told.write_bytes(b"[]")
        with self.opened(NOW - 60 * SECOND, BOOT) as daemon:
            for number in range(3):
                time = NOW - 50 * SECOND + number * SECOND
                daemon.admit(entry(number, time), HERE, time)
                daemon.sync()

    def content(self) -> dict[str, bytes]:
        """Return what is in each file; the mark has no name."""
        found = {one.name: one.read_bytes() for one in self._state.iterdir()}
        return {**found, "": self._mark.read_bytes()}

    def put(self, content: dict[str, bytes]) -> None:
        """Have just that in the files."""
        for one in self._state.iterdir():
            one.unlink()
        for name, data in content.items():
            (self._state / name if name else self._mark).write_bytes(data)

    @contextmanager
    def opened(self, now: int, boot: bytes) -> Iterator[ReplayStore]:
        """Return a daemon whose calls do not fail."""
        daemon = ReplayStore(self._fds[0], now, boot, self._fds[1])
        yield daemon
        daemon._close()

    def life(self) -> Iterator[None]:
        """Start, accept some, and be killed without a word."""
        accepted = []
        wanted = [
            *((10 + number, NOW + number * SECOND, 0) for number in range(1, 6)),
            (20, NOW + 6 * SECOND, AHEAD),
            *((30 + number, NOW + number * SECOND, 0) for number in range(8, 12)),
        ]
        daemon = ReplayStore(self._fds[0], NOW, BOOT, self._fds[1])
        for number, now, ahead in wanted:
            with suppress(PacketError):
                daemon.admit(entry(number, now + ahead), HERE, now)
                accepted.append((number, now + ahead))
            daemon.sync()
        yield
        self._told.write_text(json.dumps(accepted))

    def accepted(self) -> list[Entry]:
        earlier = [(one, NOW - 50 * SECOND + one * SECOND) for one in range(3)]
        told = json.loads(self._told.read_text())
        return [entry(number, time) for number, time in [*earlier, *told]]


def is_accepted(daemon: ReplayStore, one: Entry, now: int) -> bool:
    try:
        daemon.admit(one, THERE, now)
    except PacketError:
        return False
    return True


def test_a_call_of_the_store_that_fails_lets_no_packet_in_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The file is rewritten on the way.
    monkeypatch.setattr(store, "REPLAY_CAPACITY", 6)
    monkeypatch.setattr(store, "_RETRY_MS", 0)
    with closing(Disk(tmp_path)) as disk:
        disk.make()
        table = faults(disk.life)
        assert len(table) > 50
        lives = [live_and_be_judged(disk, fault) for fault in table]
    assert all(one.failed for one in lives)


def live_and_be_judged(disk: Disk, fault: tuple[Call, str]) -> Life:
    disk.make()
    life = live(disk.life, *fault)
    assert life.status == 0, fault
    accepted = disk.accepted()
    # Whoever was in time while the disk failed was let in.
    assert len(accepted) == 3 + 10, fault
    there = disk.content()
    for boot in (BOOT, OTHER_BOOT):
        disk.put(there)
        for now in (NOW + 12 * SECOND, NOW + 13 * SECOND):
            with disk.opened(now, boot) as daemon:
                again = [one for one in accepted if is_accepted(daemon, one, now)]
                assert again == [], fault
        later = NOW + 6 * SECOND + AHEAD + 1
        with disk.opened(NOW + 14 * SECOND, boot) as daemon:
            assert is_accepted(daemon, entry(99, later), later), fault
    return life


def for_hooks(number: int) -> dict[str, Any]:
    values = ("ada", f"192.0.2.{number}", "tcp/22", "address", 0, 15, 2e9, True)
    return dict(zip(FIELDS, values, strict=True))


def test_a_call_of_the_journal_of_hooks_that_fails_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again with the next line: no hook is forgotten, and none is twice."""
    # The file is written anew on the way.
    monkeypatch.setattr(hook_journal, "_SPARE_LINES", 2)

    def work() -> Iterator[None]:
        still: dict[str, Any] = {}
        journal = HookJournal(str(tmp_path), still.values)

        def note(number: int) -> None:
            one = for_hooks(number)
            still[name_of(one)] = one
            journal.note_open(one)

        for number in range(9):
            note(number)
            if number % 2:
                closed = min(still)
                del still[closed]
                journal.note_closed(closed)
        yield
        note(9)

    table = faults(work)
    assert len(table) > 20
    for fault in table:
        life = live(work, *fault)
        assert life.failed
        assert life.status == 0, fault
        left = HookJournal(str(tmp_path), list).load()
        assert set(left) == {name_of(for_hooks(number)) for number in range(4, 10)}


OLD: Final = "old\n" * 300
NEW: Final = "new\n" * 5000
CONFIGURATION: Final = 'firewall_name = "spassh-t"\nprotect = ["tcp/22"]\n'


class Place:
    """A directory with a file in it."""

    def __init__(self, path: Path) -> None:
        self.file = path / "users.d" / "ada.toml"
        self.config: Config = parse(CONFIGURATION, str(path / "spasshd.toml"))
        self.file.parent.mkdir()

    def write(self, text: str) -> None:
        for one in self.file.parent.iterdir():
            one.unlink()
        if text:
            self.file.write_text(text)
            self.file.chmod(0o600)

    def names(self) -> list[str]:
        return sorted(one.name for one in self.file.parent.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def writing(place: Place, *, anew: bool) -> Work:
    """Return what the verbs do, which say that they failed by an exception."""

    def work() -> Iterator[None]:
        done = False
        with suppress(OSError, ConfigError), locked(place.config):
            write = write_new if anew else replace
            write(str(place.file), NEW)
            done = True
        yield
        assert not done or place.file.read_text() == NEW

    return work


@pytest.mark.parametrize("anew", [True, False], ids=["new", "in the place of another"])
def test_a_call_that_fails_leaves_a_file_whole(place: Place, *, anew: bool) -> None:
    before = "" if anew else OLD
    place.write(before)
    work = writing(place, anew=anew)
    table = faults(work)
    assert len(table) > 10
    for call, how in table:
        place.write(before)
        life = live(work, call, how)
        assert life.failed
        assert life.status == 0, (call, how)
        names = place.names()
        if "ada.toml" in names:
            assert place.file.read_text() in {before, NEW}, (call, how)
            assert place.file.stat().st_mode & 0o777 == 0o600
        else:
            assert anew
        if call.name not in {"unlink", "unlinkat"}:
            assert set(names) <= {"ada.toml"}, (call, how)


def test_a_call_that_fails_gives_no_other_file_than_the_whole(place: Place) -> None:
    """The last lines of a user's file may be what limits the user."""
    place.write(OLD)

    def work() -> Iterator[None]:
        read = None
        with suppress(OSError, ConfigError):
            read = read_private(str(place.file), secret=True)
        yield
        assert read in {OLD, None}

    for call, how in faults(work):
        life = live(work, call, how)
        assert life.failed
        assert life.status == 0, (call, how)
