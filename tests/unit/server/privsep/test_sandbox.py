import ctypes
import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from unit.server.child import NOBODY, in_child, needs_root

from spassh_server.privsep import sandbox
from spassh_server.privsep.sandbox import (
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    SandboxError,
    become,
    capabilities,
    keep_capabilities,
)

pytestmark = needs_root

_PR_GET_DUMPABLE = 3


class Status(NamedTuple):
    """What the kernel says about a process."""

    uids: set[str]
    gids: set[str]
    groups: list[str]
    capabilities: dict[str, int]
    no_new_privs: str


def read_status(text: str) -> Status:
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return Status(
        set(fields["Uid"].split()),
        set(fields["Gid"].split()),
        fields["Groups"].split(),
        {
            name: int(value, 16)
            for name, value in fields.items()
            if name.startswith("Cap")
        },
        fields["NoNewPrivs"].strip(),
    )


def status() -> Status:
    return read_status(Path("/proc/self/status").read_bytes().decode())


def become_nobody() -> None:
    become(NOBODY, NOBODY, file_bytes=1000)


def refused(action: Callable[[], object]) -> str:
    """Return the name of the error that `action` meets, or nothing."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


class TestTheListener:
    def test_keeps_nothing_of_root(self) -> None:
        def work() -> Status:
            os.setgroups([0, 1, 2, 3])
            become_nobody()
            return status()

        now = in_child(work)
        assert now.uids == {str(NOBODY)}
        assert now.gids == {str(NOBODY)}
        assert now.groups == []
        assert now.capabilities == dict.fromkeys(
            ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0
        )
        assert now.no_new_privs == "1"

    @pytest.mark.parametrize(
        "back",
        [
            lambda: os.setuid(0),
            lambda: os.seteuid(0),
            lambda: os.setresuid(0, 0, 0),
            lambda: os.setresuid(-1, -1, 0),
            lambda: os.setgid(0),
            lambda: os.setresgid(-1, -1, 0),
            lambda: os.setgroups([0]),
            lambda: os.setuid(1),
            lambda: os.chroot("/"),
            lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
            lambda: os.kill(os.getppid(), 0),
            lambda: os.nice(-1),
        ],
    )
    def test_cannot_come_back(self, back: Callable[[], object]) -> None:
        def work() -> str:
            become_nobody()
            return refused(back)

        assert in_child(work) in {"EPERM", "EACCES"}

    def test_cannot_start_a_process(self) -> None:
        def work() -> tuple[str, str]:
            become_nobody()
            return refused(os.fork), refused(lambda: subprocess.run(["true"]))  # noqa: PLW1510

        assert in_child(work) == ("EAGAIN", "EAGAIN")

    def test_cannot_become_root_by_starting_a_program(self, setuid_id: str) -> None:
        def output(prepare: Callable[[], None]) -> str:
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    prepare()
                    os.dup2(write_end, 1)
                    os.execv(setuid_id, [setuid_id, "-u"])  # noqa: S606 - to keep the process
                finally:
                    os._exit(1)
            os.close(write_end)
            with os.fdopen(read_end, encoding="ascii") as file:
                text = file.read()
            os.waitpid(pid, 0)
            return text.strip()

        # Without the sandbox the program works as it is meant to.
        if output(lambda: os.setresuid(NOBODY, NOBODY, NOBODY)) != "0":
            pytest.skip("this file system ignores the setuid bit")
        assert output(become_nobody) == str(NOBODY)

    @pytest.fixture
    def setuid_id(self) -> Iterator[str]:
        # Not tmp_path: the directories above it are closed to others.
        with tempfile.TemporaryDirectory() as path:
            Path(path).chmod(0o755)
            program = shutil.copy("/usr/bin/id", path)
            Path(program).chmod(0o4755)
            yield program

    def test_cannot_be_looked_into(self) -> None:
        def work() -> tuple[int, tuple[int, int]]:
            become_nobody()
            dumpable = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
            return dumpable, resource.getrlimit(resource.RLIMIT_CORE)

        assert in_child(work) == (0, (0, 0))

    def test_cannot_write_a_large_file(self, tmp_path: Path) -> None:
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)

        def work() -> tuple[int, str]:
            become_nobody()
            return os.write(fd, b"x" * 2000), refused(lambda: os.write(fd, b"x"))

        assert in_child(work) == (1000, "EFBIG")
        os.close(fd)

    def test_cannot_raise_its_limits_again(self) -> None:
        def work() -> list[bool]:
            become_nobody()
            found = []
            for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
                try:
                    resource.setrlimit(kind, (5000, 5000))
                except ValueError:
                    found.append(True)
            return found

        assert in_child(work) == [True, True]

    @pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, NOBODY), (NOBODY, 0)])
    def test_is_never_root(self, uid: int, gid: int) -> None:
        def work() -> tuple[str, set[str]]:
            with pytest.raises(SandboxError) as caught:
                become(uid, gid, file_bytes=1000)
            return str(caught.value), status().uids

        assert in_child(work) == ("the listener must not run as root", {"0"})

    def test_does_not_go_on_as_itself_when_it_is_not_root(self) -> None:
        def work() -> str:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with pytest.raises(SandboxError) as caught:
                become(NOBODY - 1, NOBODY - 1, file_bytes=1000)
            return str(caught.value)

        assert "PR_CAPBSET_DROP" in in_child(work)

    @pytest.mark.parametrize("missing", ["setresuid", "setresgid"])
    def test_does_not_go_on_if_the_way_back_is_open(
        self, missing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call that does nothing, as a broken drop does, is noticed."""
        monkeypatch.setattr(os, missing, lambda *_: None)

        def work() -> str:
            with pytest.raises(SandboxError) as caught:
                become_nobody()
            return str(caught.value)

        assert in_child(work) == "privileges came back after they were dropped"

    def test_does_not_go_on_if_it_cannot_become_somebody_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        monkeypatch.setattr(os, "setresuid", refuse)

        def work() -> str:
            with pytest.raises(SandboxError) as caught:
                become_nobody()
            return str(caught.value)

        expected = f"cannot become uid {NOBODY}: Resource temporarily unavailable"
        assert in_child(work) == expected

    def test_does_not_go_on_without_its_limits(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            # As Python has it for EPERM.
            raise ValueError("not allowed to raise maximum limit")

        monkeypatch.setattr(resource, "setrlimit", refuse)

        def work() -> str:
            with pytest.raises(SandboxError) as caught:
                become_nobody()
            return str(caught.value)

        reason = "not allowed to raise maximum limit"
        assert in_child(work) == f"cannot become uid {NOBODY}: {reason}"


def after_exec() -> Status:
    """Become another program, and return what it is: in a child of this child."""
    code = "print(open('/proc/self/status').read())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True
    )
    return read_status(done.stdout)


class TestTheGranter:
    @pytest.mark.parametrize(
        "kept",
        [
            set(),
            {CAP_NET_ADMIN},
            {CAP_NET_RAW},
            {CAP_NET_ADMIN, CAP_NET_RAW},
        ],
    )
    def test_keeps_exactly_what_it_needs_and_so_does_what_it_starts(
        self, kept: set[int]
    ) -> None:
        def work() -> tuple[Status, Status, int]:
            keep_capabilities(frozenset(kept))
            return status(), after_exec(), capabilities()

        now, later, mask = in_child(work)
        expected = sum(1 << one for one in kept)
        assert mask == expected
        for which in (now, later):
            assert which.capabilities == {
                "CapInh": 0,
                "CapPrm": expected,
                "CapEff": expected,
                "CapBnd": expected,
                "CapAmb": 0,
            }
            assert which.no_new_privs == "1"
            assert which.uids == {"0"}

    @pytest.mark.parametrize(
        "action",
        [
            lambda: os.setuid(NOBODY),
            lambda: os.chown("/proc/self", NOBODY, NOBODY),
            lambda: os.chroot("/"),
            lambda: os.nice(-5),
        ],
    )
    def test_has_lost_the_other_powers_of_root(
        self, action: Callable[[], object]
    ) -> None:
        def work() -> str:
            keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}))
            return refused(action)

        assert in_child(work) in {"EPERM", "EACCES"}

    def test_cannot_read_what_others_keep_from_root(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch(0o000)

        def work() -> str:
            keep_capabilities(frozenset({CAP_NET_ADMIN}))
            return refused(lambda: os.open(tmp_path / "file", os.O_RDONLY))

        assert in_child(work) == "EACCES"

    def test_cannot_be_looked_into(self) -> None:
        def work() -> tuple[int, int]:
            libc = ctypes.CDLL(None)
            before = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
            keep_capabilities(frozenset({CAP_NET_ADMIN}))
            return before, libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)

        assert in_child(work) == (1, 0)

    def test_may_still_administer_the_network(self) -> None:
        def work() -> str:
            keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}))
            return refused(
                lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
            )

        assert in_child(work) == ""

    def test_may_reduce_itself_again(self) -> None:
        def work() -> int:
            keep_capabilities(frozenset({CAP_NET_ADMIN, CAP_NET_RAW}))
            # The bounding set takes CAP_SETPCAP, which is gone: so it is an error.
            with pytest.raises(SandboxError, match="PR_CAPBSET_DROP"):
                keep_capabilities(frozenset())
            return capabilities()

        assert in_child(work) == 1 << CAP_NET_ADMIN | 1 << CAP_NET_RAW

    def test_does_not_go_on_with_capabilities_that_it_does_not_have(self) -> None:
        def work() -> str:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with pytest.raises(SandboxError) as caught:
                keep_capabilities(frozenset({CAP_NET_ADMIN}))
            return str(caught.value)

        assert in_child(work) == "capset: Operation not permitted"

    def test_does_not_go_on_if_capabilities_stayed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox, "capabilities", lambda: 1 << 21)

        def work() -> str:
            with pytest.raises(SandboxError) as caught:
                keep_capabilities(frozenset({CAP_NET_ADMIN}))
            return str(caught.value)

        assert in_child(work) == "capabilities stayed after they were dropped"


def test_elsewhere_than_on_linux_there_are_no_capabilities_to_drop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")

    def work() -> tuple[set[str], int]:
        become_nobody()
        return status().uids, status().capabilities["CapEff"]

    assert in_child(work) == ({str(NOBODY)}, 0)
