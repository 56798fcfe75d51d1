"""The counters and the lines of the listener's decisions."""

from types import SimpleNamespace

import pytest
from unit.server.parties import HERE, HERE6, SSH

from spassh_server import report as report_module
from spassh_server.commands import Command
from spassh_server.firewall import Grant, Width
from spassh_server.limits import GRANTED_LINES_PER_SECOND, OTHER_LINES_PER_SECOND
from spassh_server.policy import Approval, Order
from spassh_server.report import Report

Capture = pytest.CaptureFixture[str]
UPTIME = Command("uptime", ("/usr/bin/uptime",), (), "nobody", 30)


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list with the monotonic time in it."""
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(report_module, "time", clock)
    return now


@pytest.fixture
def report(seconds: list[float]) -> Report:
    assert seconds
    return Report()


def log(capsys: Capture) -> list[str]:
    return [
        line.removeprefix("spasshd: ") for line in capsys.readouterr().err.splitlines()
    ]


@pytest.mark.parametrize(
    ("grant", "how"),
    [
        (Grant(HERE, SSH), "width=address"),
        (Grant(HERE, SSH, Width.ONCE), "width=once"),
        (Grant(HERE, SSH, Width.FLOW, 1234), "width=flow source_port=1234"),
    ],
)
def test_a_grant_says_how_wide_it_is(
    report: Report, capsys: Capture, grant: Grant, how: str
) -> None:
    report.granted(Approval("ada", grant, 15))
    line = f"granted user=ada address=192.0.2.7 port=tcp/22 seconds=15 {how}"
    assert log(capsys) == [line]
    assert report.counters == {"granted": 1}


def test_a_command_is_called_by_its_name_and_not_by_what_the_user_wrote(
    report: Report, capsys: Capture
) -> None:
    report.ordered(Order("ada", HERE6, UPTIME, ("/usr/bin/uptime",)))
    assert log(capsys) == ["ordered user=ada address=2001:db8::7 command=uptime"]
    assert report.counters == {"ordered": 1}


def test_what_was_not_done_has_its_reason(report: Report, capsys: Capture) -> None:
    report.denied("stale", "ada", HERE, "too old")
    assert log(capsys) == ['stale user=ada address=192.0.2.7 reason="too old"']
    assert report.counters == {"stale": 1}


def test_what_is_only_counted_has_no_line(report: Report, capsys: Capture) -> None:
    report.count("frames")
    assert log(capsys) == []
    assert report.counters == {"frames": 1}


def test_a_flood_hides_no_grant_and_every_one_is_counted(
    report: Report, capsys: Capture, seconds: list[float]
) -> None:
    for _ in range(1000):
        report.denied("replayed", "ada", HERE, "accepted before")
        report.bug(ValueError("here"))
    assert len(log(capsys)) == OTHER_LINES_PER_SECOND
    report.granted(Approval("ada", Grant(HERE, SSH), 15))
    report.ordered(Order("ada", HERE, UPTIME, ()))
    assert [line.split()[0] for line in log(capsys)] == ["granted", "ordered"]
    seconds[0] += 1
    report.denied("replayed", "ada", HERE, "accepted before")
    suppressed = 2000 - OTHER_LINES_PER_SECOND
    assert log(capsys)[0] == f"suppressed lines={suppressed}"
    assert report.counters["replayed"] == 1001
    assert report.counters["bug"] == 1000


def test_lines_about_grants_are_bounded_as_well(
    report: Report, capsys: Capture
) -> None:
    for _ in range(GRANTED_LINES_PER_SECOND + 100):
        report.granted(Approval("ada", Grant(HERE, SSH), 15))
    assert len(log(capsys)) == GRANTED_LINES_PER_SECOND
    assert report.counters["granted"] == GRANTED_LINES_PER_SECOND + 100
