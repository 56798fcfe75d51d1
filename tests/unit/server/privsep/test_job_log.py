import pytest

from spassh_server import config
from spassh_server.commands import Command, parse_pattern
from spassh_server.limits import HOOK_LINES_PER_SECOND, OUTPUT_LINES_PER_SECOND
from spassh_server.privsep.bounds import Bounds
from spassh_server.privsep.job import Ended
from spassh_server.privsep.job_log import LINE_CHARACTERS, OUTPUT_LINES, JobLog

RESTART = Command(
    "restart",
    ("/usr/bin/systemctl", "restart", "{unit}"),
    (("unit", parse_pattern("[a-z]{1,9}")),),
    "root",
    30,
)
ARGV = ("/usr/bin/systemctl", "restart", "nginx")


def tell(
    capfd: pytest.CaptureFixture[str], ended: Ended, argv: tuple[str, ...] = ARGV
) -> list[str]:
    JobLog(lambda: 0.0).command("alice", "192.0.2.1", RESTART, argv, ended)
    return capfd.readouterr().err.splitlines()


def test_a_command_is_one_line_and_its_output_some_more(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert tell(capfd, Ended("1", 0.1234, b"first\n\n second\n", 99)) == [
        (
            "spasshd: command user=alice address=192.0.2.1 name=restart"
            ' argv="/usr/bin/systemctl restart nginx" run_as=root status=1 seconds=0.12'
            " printed=99"
        ),
        "spasshd: output name=restart text=first",
        'spasshd: output name=restart text=" second"',
    ]


def test_output_is_bounded_in_lines_and_in_their_length(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = tell(capfd, Ended("0", 0, b"x\n" * 99, 198))
    assert len(lines) == 1 + OUTPUT_LINES
    lines = tell(capfd, Ended("0", 0, b"x" * 4096, 4096))
    assert lines[1:] == ["spasshd: output name=restart text=" + "x" * LINE_CHARACTERS]


def test_an_argument_list_is_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = tell(capfd, Ended("0", 0, b"", 0), ("/bin/x", "y" * 1000))
    assert len(line) < 700


def test_output_cannot_make_a_line_or_move_the_cursor(
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = b"a\x1b[2Jb\xff\rspasshd: granted user=eve\nspasshd: granted\0\n"
    lines = tell(capfd, Ended("0", 0, output, len(output)))
    assert lines[1:] == [
        "spasshd: output name=restart text=a\\x1b[2Jb\ufffd",
        'spasshd: output name=restart text="spasshd: granted user=eve"',
        'spasshd: output name=restart text="spasshd: granted\\x00"',
    ]


def test_output_of_all_commands_together_is_bounded(
    capfd: pytest.CaptureFixture[str],
) -> None:
    second = [0.0]
    log = JobLog(lambda: second[0])
    for _ in range(10):
        log.command("alice", "192.0.2.1", RESTART, ARGV, Ended("0", 0, b"x\n" * 20, 40))
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if " output " in line]) == (
        OUTPUT_LINES_PER_SECOND
    )
    second[0] = 1.0
    log.command("alice", "192.0.2.1", RESTART, ARGV, Ended("0", 0, b"x", 1))
    assert "spasshd: suppressed lines=100" in capfd.readouterr().err


def test_no_command_is_left_out_and_the_granters_quota_bounds_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A listener that was taken over asks as one user after the other, for a minute."""
    bounds = Bounds(config.parse("", "/spasshd.toml"))
    now = [0.0]
    log = JobLog(lambda: now[0])
    ran = 0
    for second in range(60):
        now[0] = float(second)
        for number in range(200):
            if bounds.allow_command(f"u{number}", now[0]):
                log.command("u", "192.0.2.1", RESTART, ARGV, Ended("1", 0, b"x", 1))
                ran += 1
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if " command " in line]) == ran == 80 + 59 * 4


def test_a_hook_is_told_of_only_if_it_failed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = JobLog(lambda: 0.0)
    log.hook("on_open", Ended("0", 0.5, b"fine\n", 5))
    assert capfd.readouterr().err == ""
    log.hook("on_open", Ended("timeout", 10.0, b"busy\n", 5))
    assert capfd.readouterr().err.splitlines() == [
        "spasshd: hook name=on_open status=timeout seconds=10.00 printed=5",
        "spasshd: output name=on_open text=busy",
    ]


def test_hooks_that_fail_cannot_fill_a_disk(capfd: pytest.CaptureFixture[str]) -> None:
    second = [0.0]
    log = JobLog(lambda: second[0])
    for _ in range(1000):
        log.hook("on_open", Ended("1", 0, b"no\n", 3))
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if " hook " in line]) == HOOK_LINES_PER_SECOND
    # What was printed stands beside its hook's line, or not at all.
    assert len(lines) == 2 * HOOK_LINES_PER_SECOND
    log.command("alice", "192.0.2.1", RESTART, ARGV, Ended("0", 0, b"", 0))
    assert " command " in capfd.readouterr().err
    second[0] = 1.0
    log.hook("on_close", Ended("not-started", 0, b"", 0))
    assert capfd.readouterr().err.splitlines() == [
        f"spasshd: suppressed lines={1000 - HOOK_LINES_PER_SECOND}",
        "spasshd: hook name=on_close status=not-started seconds=0.00 printed=0",
    ]
