import pytest

from spassh_server.commands import Command, parse_pattern
from spassh_server.privsep.job import Ended
from spassh_server.privsep.job_log import (
    LINE_CHARACTERS,
    OUTPUT_LINES,
    OUTPUT_LINES_PER_SECOND,
    JobLog,
)

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
    # What was run is never among what is left out.
    assert len([line for line in lines if " command " in line]) == 10
    second[0] = 1.0
    log.command("alice", "192.0.2.1", RESTART, ARGV, Ended("0", 0, b"x", 1))
    assert "spasshd: suppressed lines=100" in capfd.readouterr().err


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
