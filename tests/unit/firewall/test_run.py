"""Programs are started in one place, and under its conditions only."""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from spassh_server.firewall import FirewallError, run

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a shell script as the only programs there are."""
    monkeypatch.setattr(run, "DIRECTORIES", (str(tmp_path / "no"), str(tmp_path)))

    def install(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return install


def test_the_output_is_returned(install: Install) -> None:
    install("tool", 'printf "%s|" "$@"')
    assert run.run("tool", "a b", "$(id)", "*", ";") == b"a b|$(id)|*|;|"


def test_path_has_no_say(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert run.find("true") is None
    with pytest.raises(FirewallError, match=r"^true not found in /"):
        run.run("true")


def test_an_absolute_path_is_the_only_place(install: Install, tmp_path: Path) -> None:
    install("tool", "echo here")
    assert run.run(f"{tmp_path}/tool") == b"here\n"
    missing = str(tmp_path / "no" / "tool")
    assert run.find(missing) is None
    with pytest.raises(FirewallError, match=r"/no/tool not found$"):
        run.run(missing)


def test_what_cannot_be_executed_is_not_found(install: Install, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a program")
    assert run.find("notes") is None


def test_the_environment_is_clean(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("XTABLES_LIBDIR", "/")
    install("tool", "/usr/bin/env; pwd")
    lines = run.run("tool").decode().splitlines()
    assert "LC_ALL=C" in lines
    assert f"PATH={tmp_path}/no:{tmp_path}" in lines
    assert not [line for line in lines if line.startswith(("LD_", "XTABLES", "HOME"))]
    assert lines[-1] == "/"


@pytest.mark.parametrize("size", [1, 512, 100_000, 3_000_000])
def test_input_of_any_size_gets_there_while_output_comes_back(
    install: Install, size: int
) -> None:
    install("tool", "/bin/cat")
    data = os.urandom(size)
    assert run.run("tool", stdin=data) == data


def test_without_input_there_is_none_to_wait_for(install: Install) -> None:
    install("tool", "/bin/cat; echo end")
    saved, (read_end, write_end) = os.dup(0), os.pipe()
    os.write(write_end, b"ours")
    os.dup2(read_end, 0)
    try:
        assert run.run("tool") == b"end\n"
    finally:
        os.dup2(saved, 0)
        for fd in (saved, read_end, write_end):
            os.close(fd)


def test_a_program_need_not_read_its_input(install: Install) -> None:
    install("tool", "exec 0<&-; echo done")
    assert run.run("tool", stdin=bytes(1_000_000)) == b"done\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out; echo why >&2; echo more >&2; exit 3", "exit status 3: why"),
        ("printf '# Warning: x\\n\\nreason\\n' >&2; exit 1", "exit status 1: reason"),
        ("exit 4", "exit status 4: it said nothing"),
        ("printf '\\377\\n' >&2; exit 1", "exit status 1: \ufffd"),
        ("kill -9 $$", "exit status -9: it said nothing"),
    ],
)
def test_a_failure_is_told_with_the_first_line_of_complaint(
    install: Install, script: str, message: str
) -> None:
    install("tool", script)
    with pytest.raises(run.ProgramError) as caught:
        run.run("tool")
    assert str(caught.value) == f"tool: {message}"
    assert f"status {caught.value.status}:" in message


def test_what_the_kernel_cannot_start_is_an_error(
    tmp_path: Path, install: Install
) -> None:
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(stat.S_IRWXU)
    with pytest.raises(FirewallError, match="broken: No such file or directory"):
        run.run("broken")


def test_a_program_that_cannot_be_talked_to_is_an_error_and_is_ended(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where too many files are open: each of our callers knows this error alone."""

    def fail() -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    install("tool", "exec /bin/sleep 600")
    monkeypatch.setattr("selectors.DefaultSelector", fail)
    with pytest.raises(FirewallError, match=r"/tool: Too many open files$"):
        run.run("tool")


@pytest.mark.parametrize(
    "script",
    [
        "exec /bin/sleep 60",
        "exec >&- 2>&-; exec /bin/sleep 60",
        "while :; do echo x; /bin/sleep 0.01; done",
    ],
)
def test_a_program_that_is_stuck_is_killed(
    install: Install, monkeypatch: pytest.MonkeyPatch, script: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "TIMEOUT_SECONDS", 0.2)
    install("tool", f"echo $$ > {tmp_path}/pid\n{script}")
    start = time.monotonic()
    with pytest.raises(FirewallError, match=r"^tool: not done after 0\.2 seconds$"):
        run.run("tool")
    assert time.monotonic() - start < 30
    pid = int((tmp_path / "pid").read_text())
    assert not os.path.exists(f"/proc/{pid}")


def test_a_program_that_prints_too_much_is_killed(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OUTPUT_BYTES", 100_000)
    install("tool", "exec /bin/cat /dev/zero")
    with pytest.raises(FirewallError, match=r"^tool: printed more than 100000 bytes$"):
        run.run("tool")
    install("tool", "exec /bin/cat /dev/zero >&2")
    with pytest.raises(FirewallError, match="printed more"):
        run.run("tool")


def test_no_descriptor_is_left_open(install: Install) -> None:
    install("good", "echo")
    install("bad", "exit 1")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        run.run("good", stdin=b"x")
        with pytest.raises(FirewallError):
            run.run("bad", stdin=b"x")
    assert os.listdir("/proc/self/fd") == before
