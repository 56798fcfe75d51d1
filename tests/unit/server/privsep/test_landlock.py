"""What a process can still do when it is confined: tried by children of the test."""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.server.child import in_child
from unit.server.kernel import landlock_version, needs_landlock

from spassh_server.privsep import sandbox
from spassh_server.privsep.landlock import confine, confine_helper
from spassh_server.privsep.sandbox import SandboxError


def confined(directory: Path, work: Callable[[], object]) -> object:
    """Do `work` in a child that may use `directory` alone; return what came of it."""

    def child() -> object:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        sandbox.keep_capabilities(frozenset())
        assert confine(fd)
        try:
            return work()
        except OSError as error:
            return type(error).__name__

    return in_child(child)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


def look(path: str) -> object:
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        return file.read(1)


def change(name: str, own: Path) -> None:
    """Change something that is not one file of our directory."""
    outside = own.parent / "open"
    if name == "make":
        (own.parent / "new").write_text("x")
    elif name == "write":
        outside.write_text("x")
    elif name == "delete":
        outside.unlink()
    elif name == "take":
        outside.rename(own / "mine")
    elif name == "link":
        os.symlink("/etc", own / "link")
    elif name == "pipe":
        os.mkfifo(own / "pipe")
    else:
        (own / "directory").mkdir()


@needs_landlock
class TestAConfinedProcess:
    def test_keeps_files_in_its_directory(self, own: Path) -> None:
        (own / "old").write_text("before")

        def work() -> tuple[str, list[str]]:
            (own / "new").write_text("after")
            (own / "new").rename(own / "old")
            (own / "gone").touch()
            (own / "gone").unlink()
            with open(own / "old", "r+b") as file:
                file.truncate(3)
            return (own / "old").read_text(), os.listdir(own)

        assert confined(own, work) == ("aft", ["old"])

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "/", "/proc/self/status", sys.executable]
    )
    def test_reads_nothing_else(self, own: Path, path: str) -> None:
        assert confined(own, lambda: look(path)) == "PermissionError"

    @pytest.mark.parametrize(
        "name", ["make", "write", "delete", "take", "link", "pipe", "directory"]
    )
    def test_changes_nothing_else(self, own: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "open").write_text("as before")
        # To take a file over from elsewhere is EXDEV, by a kernel before 5.19.
        assert confined(own, lambda: change(name, own)) in {
            "PermissionError",
            "OSError",
        }
        assert os.listdir(own) == []
        assert (tmp_path / "open").read_text() == "as before"

    @pytest.mark.parametrize("is_own", [False, True])
    def test_executes_nothing(self, own: Path, is_own: bool) -> None:
        program = own / "program"
        program.write_bytes(Path("/bin/true").read_bytes())
        program.chmod(0o755)
        argv = [str(program) if is_own else "/bin/true"]

        def work() -> None:
            os.execv(argv[0], argv)  # noqa: S606 - this is what must not work

        assert confined(own, work) == "PermissionError"
        assert subprocess.run(argv, check=False).returncode == 0

    def test_goes_on_with_what_is_open(self, own: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("known")
        with open(tmp_path / "secret", encoding="ascii") as file:
            assert confined(own, file.read) == "known"

    @pytest.mark.skipif(landlock_version() < 4, reason="this kernel cannot deny TCP")
    def test_makes_no_tcp_connection(self, own: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()

            def work() -> None:
                socket.socket().connect(address)

            assert confined(own, work) == "PermissionError"


def helper(own: Path, work: Callable[[], object]) -> object:
    """Do `work` in a child that is the helper, with `own` for its GnuPG home."""

    def child() -> object:
        sandbox.keep_capabilities(frozenset())
        before = len(os.listdir("/proc/self/fd"))
        assert confine_helper(str(own))
        assert len(os.listdir("/proc/self/fd")) == before
        try:
            return work()
        except OSError as error:
            return type(error).__name__

    return in_child(child)


@needs_landlock
class TestTheHelper:
    def test_reads_and_executes_what_its_account_may(self, own: Path) -> None:
        def work() -> tuple[object, int]:
            done = subprocess.run(["/bin/true"], stdout=subprocess.DEVNULL, check=False)
            return look("/etc/passwd"), done.returncode

        assert helper(own, work) == (b"r", 0)

    def test_keeps_files_and_a_socket_in_its_home(self, own: Path) -> None:
        def work() -> list[str]:
            (own / "keys").mkdir()
            (own / "lock").write_text("x")
            os.link(own / "lock", own / "locked")
            (own / "lock").unlink()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(own / "agent"))
            return sorted(os.listdir(own))

        assert helper(own, work) == ["agent", "keys", "locked"]

    @pytest.mark.parametrize("name", ["make", "write", "delete", "take"])
    def test_changes_nothing_else(self, own: Path, tmp_path: Path, name: str) -> None:
        (tmp_path / "open").write_text("as before")
        assert helper(own, lambda: change(name, own)) in {"PermissionError", "OSError"}
        assert sorted(os.listdir(tmp_path)) == ["open", "state"]
        assert (tmp_path / "open").read_text() == "as before"

    @pytest.mark.skipif(landlock_version() < 6, reason="this kernel has no such scope")
    def test_signals_only_what_it_started(self, own: Path) -> None:
        def work() -> int:
            child = subprocess.Popen(["sleep", "60"])
            child.kill()
            ended = child.wait()
            os.kill(os.getppid(), 0)
            return ended

        assert helper(own, work) == "PermissionError"


class Refusing:
    """A C library whose every system call ends with an error."""

    def __init__(self, error: int) -> None:
        self.error = error

    def syscall(self, *_: object) -> int:
        ctypes.set_errno(self.error)
        return -1


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_without_it_is_told(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing(error))
    assert confine(0) is False


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES])
def test_a_filter_of_system_calls_is_not_taken_for_an_old_kernel(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing(error))
    with pytest.raises(SandboxError) as caught:
        confine(0)
    assert str(caught.value) == f"landlock: {os.strerror(error)}"
    assert ("landlock(7)" in caught.value.hint) is (error == errno.EPERM)


@needs_landlock
def test_a_refusal_of_the_kernel_is_an_error() -> None:
    def child() -> str:
        try:
            confine(1000)
        except SandboxError as error:
            return str(error)
        return "confined"

    assert in_child(child) == "landlock: Bad file descriptor"
