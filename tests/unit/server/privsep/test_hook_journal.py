"""What the journal of hooks remembers, whatever was done to its file."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from spassh.protocol.limits import MAX_LIFETIME
from spassh_server.privsep import hook_journal
from spassh_server.privsep.hook_journal import FIELDS, Entry, HookJournal, name_of
from spassh_server.privsep.hooks import _tell
from spassh_server.privsep.jobs import STDIN_BYTES


def entry(number: int = 1, **changes: Any) -> Entry:
    return {
        "user": "ada",
        "address": f"192.0.2.{number}",
        "port": "tcp/22",
        "width": "address",
        "source_port": 0,
        "seconds": 15,
        "ends": 1_000_000.5,
        "opened": True,
        **changes,
    }


def line(one: Entry) -> bytes:
    return json.dumps([one[key] for key in FIELDS]).encode() + b"\n"


def closing(one: Entry) -> bytes:
    return json.dumps([name_of(one)]).encode() + b"\n"


class Run:
    """One life of the granter: what is open in it, and the journal of it."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "open-hooks"
        self.live: dict[str, Entry] = {}
        self.journal = HookJournal(str(run_dir), self.live.values)
        self.live.update(self.journal.load())

    def open(self, one: Entry) -> None:
        self.live[name_of(one)] = one
        self.journal.note_open(one)

    def close(self, one: Entry) -> None:
        del self.live[name_of(one)]
        self.journal.note_closed(name_of(one))

    def next(self) -> "Run":
        """Return what comes after this one was killed."""
        return Run(self.path.parent)

    def lines(self) -> int:
        return self.path.read_bytes().count(b"\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def loaded(run_dir: Path, data: bytes) -> list[Entry]:
    """Return what is open by a file that has `data` in it."""
    (run_dir / "open-hooks").write_bytes(data)
    return list(Run(run_dir).live.values())


class TestAfterAKill:
    def test_what_was_open_is_known_and_what_was_closed_is_not(self, run: Run) -> None:
        for number in (1, 2, 3):
            run.open(entry(number))
        run.close(entry(2))
        assert list(run.next().live.values()) == [entry(1), entry(3)]

    def test_what_was_opened_again_is_known_as_it_was_the_last_time(
        self, run: Run
    ) -> None:
        run.open(entry(1))
        run.open(entry(2))
        run.open(entry(1, user="bob", ends=2e6))
        run.close(entry(2))
        run.open(entry(2, seconds=60))
        found = list(run.next().live.values())
        assert found == [entry(1, user="bob", ends=2e6), entry(2, seconds=60)]

    def test_nothing_is_lost_from_one_run_to_the_next(self, run: Run) -> None:
        """Each begins a new file, with all that the one before has left."""
        for number in range(1, 6):
            run.open(entry(number))
            run = run.next()
        run.close(entry(3))
        run = run.next()
        assert list(run.live) == [name_of(entry(one)) for one in (1, 2, 4, 5)]
        assert run.lines() == 4

    def test_at_any_byte_no_more_is_lost_than_the_last_line(
        self, tmp_path: Path
    ) -> None:
        lines = [line(entry(1)), line(entry(2)), closing(entry(1)), line(entry(3))]
        data = b"".join(lines)
        states = [[], [entry(1)], [entry(1), entry(2)], [entry(2)]]
        states.append([entry(2), entry(3)])
        for size in range(len(data) + 1):
            whole = data[:size].count(b"\n")
            # What lacks nothing but the end of the line is whole as well.
            likely = (states[whole], states[min(whole + 1, 4)])
            found = loaded(tmp_path, data[:size])
            assert found == likely[0] or (
                data[size : size + 1] == b"\n" and found == likely[1]
            )

    def test_of_two_lines_of_the_same_grant_the_later_counts(
        self, tmp_path: Path
    ) -> None:
        """One is being closed, and open again: `live` tells of both."""
        data = line(entry(1, ends=5.0)) + line(entry(2)) + line(entry(1, ends=9.0))
        assert loaded(tmp_path, data) == [entry(2), entry(1, ends=9.0)]


FOREIGN = [
    b"\n",
    b"\0" * 100,
    b"\xff\xfe\xfd",
    b'{"user": "ada"}',
    b'"192.0.2.1 tcp/22 address 0"',
    b"null",
    b"[]",
    b"[null]",
    b"[[]]",
    b'["x", "y"]',
    b"[" * 1000,
    line(entry(1))[:-2],
    line(entry(1))[1:],
    line(entry(1)).replace(b"tcp/22", b"tcp/0"),
    line(entry(1)).replace(b"15", b"1e999"),
    json.dumps([*entry(1).values(), "one more"]).encode(),
    closing(entry(9)),
]


class TestALineThatIsNotOurs:
    @pytest.mark.parametrize("foreign", FOREIGN)
    def test_changes_nothing_of_the_others(
        self, tmp_path: Path, foreign: bytes
    ) -> None:
        data = line(entry(2)) + foreign + b"\n" + line(entry(3))
        assert loaded(tmp_path, data) == [entry(2), entry(3)]

    @pytest.mark.parametrize("size", [1, 511, 512, 513, 1024, 100_000])
    @pytest.mark.parametrize("tail", [line(entry(1)), closing(entry(2))])
    def test_and_is_long_does_not_end_in_one_that_is(
        self, tmp_path: Path, size: int, tail: bytes
    ) -> None:
        """Of a long line, a part would be a line by itself."""
        data = line(entry(2)) + b"x" * size + tail + line(entry(3))
        assert loaded(tmp_path, data) == [entry(2), entry(3)]

    def test_and_is_long_does_not_begin_with_one_that_is(self, tmp_path: Path) -> None:
        data = line(entry(1)).rstrip() + b" " * 2000 + b"x\n" + line(entry(3))
        assert loaded(tmp_path, data) == [entry(3)]

    @pytest.mark.parametrize("letter", ["\x7f", "\xff", "\U0001f600", "\\", "a"])
    def test_is_never_more_than_a_hook_can_be_told(
        self, tmp_path: Path, letter: str
    ) -> None:
        """Too much input for a job would be the end of the granter."""
        data = ""
        for count in range(1, 1024):
            one = entry(user=letter * count, source_port=count)
            data += json.dumps([one[key] for key in FIELDS], ensure_ascii=False) + "\n"
        longest = loaded(tmp_path, data.encode())[-1]
        assert len(longest["user"]) > 100
        assert len(_tell("close", longest)) <= STDIN_BYTES

    def test_is_gone_when_the_next_run_has_written(self, tmp_path: Path) -> None:
        (tmp_path / "open-hooks").write_bytes(line(entry(1)) + b"nonsense\n")
        run = Run(tmp_path)
        run.open(entry(2))
        assert run.path.read_bytes() == line(entry(1)) + line(entry(2))


def test_the_longest_line_of_ours_is_read_back(run: Run) -> None:
    longest = entry(
        user="u" * 32,
        address="2001:db8:1111:2222:3333:4444:5555:6666",
        port="tcp/65535",
        width="address",
        source_port=65535,
        seconds=MAX_LIFETIME,
        ends=float((1 << 40) - 1) + 0.0001,
    )
    run.open(longest)
    assert list(run.next().live.values()) == [longest]
    assert 3 * len(line(longest)) <= hook_journal._MAX_LINE_BYTES


class TestADiskThat:
    """Writing as it fails; the next line tries again."""

    def test_takes_a_part_of_a_line_loses_no_other(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run.open(entry(1))
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
            run.open(entry(2))
        assert list(run.next().live.values()) == [entry(1)]
        run.open(entry(3))
        assert list(run.next().live.values()) == [entry(1), entry(2), entry(3)]
        assert run.lines() == 3

    def test_is_full_keeps_what_is_there(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "")

        run.open(entry(1))
        before = descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            run.open(entry(2))
            patch.setattr(os, "rename", full)
            run.close(entry(1))
            run.open(entry(3))
        assert descriptors() == before
        assert list(run.next().live.values()) == [entry(1)]
        run.open(entry(4))
        after = run.next()
        assert list(after.live.values()) == [entry(2), entry(3), entry(4)]

    def test_is_full_from_the_beginning_has_all_when_it_is_no_more(
        self, run: Run
    ) -> None:
        blocked = run.path.with_name("open-hooks.tmp")
        blocked.mkdir()
        before = descriptors()
        for number in range(1, 20):
            run.open(entry(number))
        assert not run.path.exists()
        assert descriptors() == before
        blocked.rmdir()
        run.close(entry(1))
        assert len(run.next().live) == 18


class TestTheSize:
    def test_is_bounded_by_what_lives(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hook_journal, "_SPARE_LINES", 10)
        for number in range(1, 6):
            run.open(entry(number))
        for _ in range(100):
            run.open(entry(6))
            run.close(entry(6))
            assert run.lines() <= 2 * 6 + 10
        assert len(run.next().live) == 5

    def test_does_not_make_every_line_a_new_file(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        renamed = []
        rename = os.rename

        def count(*paths: str) -> None:
            renamed.append(paths)
            rename(*paths)

        monkeypatch.setattr(os, "rename", count)
        for number in range(1, 2001):
            run.open(entry(number))
        assert len(renamed) <= 2

    def test_of_open_files_does_not_grow(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hook_journal, "_SPARE_LINES", 1)
        run.open(entry(1))
        before = descriptors()
        for _ in range(20):
            run.open(entry(2))
            run.close(entry(2))
        assert descriptors() == before
