import os
from pathlib import Path

import pytest
from unit.server.child import NOBODY, in_child, needs_root

from spassh_server.files import (
    read_open,
    read_private,
    replace,
    require_private,
    write_new,
)
from spassh_server.limits import MAX_FILE_BYTES
from spassh_server.toml import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes("secret ä\n".encode())
    made.chmod(0o600)
    return made


def problem(path: Path, *, secret: bool = True) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read_private(str(path), secret=secret)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path)), caught.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_is_read(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_private(str(file), secret=True) == "secret ä\n"


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_a_secret_that_others_may_open_is_refused(file: Path, bit: int) -> None:
    file.chmod(0o600 | bit)
    expected = (": readable or writable by others", f"chmod 600 {file}")
    assert expected == problem(file)


@pytest.mark.parametrize(
    ("mode", "private"), [(0o600, True), (0o700, True), (0o644, False), (0o601, False)]
)
def test_an_open_file_may_be_found_to_be_a_secret_later(
    file: Path, mode: int, private: bool
) -> None:
    """Whether it has keys is known only when it was read."""
    file.chmod(mode)
    with file.open() as opened:
        if private:
            require_private(opened.fileno(), str(file))
            return
        with pytest.raises(ConfigError) as caught:
            require_private(opened.fileno(), str(file))
    assert str(caught.value) == f"{file}: readable or writable by others"
    assert caught.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("bit", [0o020, 0o002])
def test_a_file_that_others_may_write_is_refused(file: Path, bit: int) -> None:
    file.chmod(0o644 | bit)
    assert problem(file, secret=False) == (": writable by others", f"chmod 644 {file}")


def test_a_file_that_others_may_read_is_read_where_it_is_no_secret(file: Path) -> None:
    file.chmod(0o644)
    assert read_private(str(file), secret=False)


@needs_root
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, NOBODY, NOBODY)
    expected = (f": belongs to uid {NOBODY}", f"chown root: {file}")
    assert expected == problem(file)


@needs_root
def test_the_listener_believes_no_file_of_the_account_that_it_becomes(
    file: Path,
) -> None:
    """It could write one there and make itself any user, and so could others."""
    fd = os.open(file, os.O_RDONLY)

    def work() -> str:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return read_open(fd, "file", secret=True)

    try:
        assert in_child(work) == "secret ä\n"
        os.chown(file, NOBODY, NOBODY)
        os.lseek(fd, 0, os.SEEK_SET)
        with pytest.raises(AssertionError, match=f"belongs to uid {NOBODY}"):
            in_child(work)
    finally:
        os.close(fd)


@needs_root
def test_a_file_that_may_not_be_opened_needs_root(file: Path) -> None:
    def work() -> tuple[str, str]:
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return problem(file)

    assert in_child(work) == (": permission denied", "run this as root")


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    expected = (": no such file or directory", "make it with 'spasshd init'")
    assert expected == problem(tmp_path / "none")


def test_a_path_through_a_file_is_reported(file: Path) -> None:
    assert problem(file / "below") == (
        ": not a directory",
        "see that the path is right",
    )


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert problem(tmp_path / "fifo") == (": not a regular file", "replace it")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert problem(tmp_path) == (": not a regular file", "replace it")


def test_a_device_is_refused() -> None:
    assert problem(Path("/dev/null")) == (": not a regular file", "replace it")


def test_a_link_is_judged_by_what_it_leads_to(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_private(str(link), secret=True)
    file.chmod(0o644)
    assert problem(link)[0] == ": readable or writable by others"


def test_a_link_to_nothing_is_reported(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert problem(tmp_path / "link")[0] == ": no such file or directory"


def test_a_file_may_have_so_many_bytes(file: Path) -> None:
    file.write_bytes(b"#" * MAX_FILE_BYTES)
    assert len(read_private(str(file), secret=True)) == MAX_FILE_BYTES
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert problem(file) == (f": larger than {MAX_FILE_BYTES} bytes", "replace it")


def test_what_is_not_utf8_is_reported_with_its_line(file: Path) -> None:
    file.write_bytes(b"one\ntwo\nth\xffree\n")
    assert problem(file) == (":3: not UTF-8", "save it as UTF-8")


def test_no_descriptor_stays_open(file: Path, tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    read_private(str(file), secret=True)
    problem(tmp_path)
    write_new(str(tmp_path / "new"), "x")
    replace(str(tmp_path / "new"), "y")
    assert len(before) == len(os.listdir("/proc/self/fd"))


class TestANewFile:
    def test_is_there_whole_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "new"
        before = os.umask(0)
        try:
            write_new(str(path), "text ä\n")
        finally:
            os.umask(before)
        assert path.read_text(encoding="utf-8") == "text ä\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_nlink == 1
        assert os.listdir(tmp_path) == ["new"]

    @pytest.mark.parametrize("kind", ["file", "link", "dangling link", "directory"])
    def test_replaces_nothing(self, tmp_path: Path, file: Path, kind: str) -> None:
        path = tmp_path / "new"
        if kind == "file":
            path.write_text("before")
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to(file if kind == "link" else "nowhere")
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(FileExistsError):
            write_new(str(path), "text")
        assert before == sorted(os.listdir(tmp_path))
        assert file.read_text(encoding="utf-8") == "secret ä\n"
        assert kind != "file" or path.read_text() == "before"

    def test_can_be_made_in_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_new("new", "text")
        assert (tmp_path / "new").read_text() == "text"

    def test_that_cannot_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UnicodeEncodeError):
            write_new(str(tmp_path / "new"), "\udcff")
        assert os.listdir(tmp_path) == []


class TestAFileInThePlaceOfAnother:
    @pytest.mark.parametrize("kind", ["nothing", "file", "link", "dangling link"])
    def test_is_there_whole_and_for_its_owner_alone(
        self, tmp_path: Path, file: Path, kind: str
    ) -> None:
        path = tmp_path / "new"
        if kind == "file":
            path.write_text("a text that was longer before")
            path.chmod(0o644)
        elif kind != "nothing":
            path.symlink_to(file if kind == "link" else "nowhere")
        before = os.umask(0)
        try:
            replace(str(path), "text ä\n")
        finally:
            os.umask(before)
        assert not path.is_symlink()
        assert path.read_text(encoding="utf-8") == "text ä\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert sorted(os.listdir(tmp_path)) == ["file", "new"]
        assert file.read_text(encoding="utf-8") == "secret ä\n"

    @pytest.mark.parametrize("text", ["\udcff", "a" * 100 + "\udcff"])
    def test_that_cannot_be_written_leaves_the_other_and_nothing_else(
        self, tmp_path: Path, file: Path, text: str
    ) -> None:
        with pytest.raises(UnicodeEncodeError):
            replace(str(file), text)
        assert os.listdir(tmp_path) == ["file"]
        assert file.read_text(encoding="utf-8") == "secret ä\n"

    def test_that_cannot_take_the_place_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "dir").mkdir()
        with pytest.raises(IsADirectoryError):
            replace(str(tmp_path / "dir"), "text")
        assert os.listdir(tmp_path) == ["dir"]

    def test_does_not_follow_a_link_in_the_place_of_its_first_name(
        self, tmp_path: Path, file: Path
    ) -> None:
        (tmp_path / f"new.{os.getpid()}.tmp").symlink_to(file)
        with pytest.raises(FileExistsError):
            replace(str(tmp_path / "new"), "text")
        assert file.read_text(encoding="utf-8") == "secret ä\n"
