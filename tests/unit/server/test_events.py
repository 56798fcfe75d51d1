import io
import os
import shlex
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spassh_server import events
from spassh_server.limits import OTHER_LINES_PER_SECOND as LINES

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture) -> str:
    return capsys.readouterr().err


def test_an_event_is_one_line_of_name_and_fields(capsys: Capture) -> None:
    events.say("granted", user="ada", address="192.0.2.7", seconds=15)
    assert said(capsys) == "spasshd: granted user=ada address=192.0.2.7 seconds=15\n"


def test_an_event_may_have_no_fields(capsys: Capture) -> None:
    events.say("stopped")
    assert said(capsys) == "spasshd: stopped\n"


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("x\ny", r"x\ny"),
        ("x\r\ny", r"x\r\ny"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\0", r"\x00"),
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),
        ("\u2028", r"\u2028"),
        ("\u202e", r"\u202e"),
        ("\udcff", r"\udcff"),
        ("\U000e0001", r"\U000e0001"),
        (r"a\nb", r"a\\nb"),
        ('\\" granted=yes', r'"\\\" granted=yes"'),
        ("ä", "ä"),
        (7, "7"),
        (None, "None"),
    ],
)
def test_a_value_stays_one_word_of_its_line(
    capsys: Capture, value: object, spelled: str
) -> None:
    events.say("event", key=value)
    assert said(capsys) == f"spasshd: event key={spelled}\n"


class _Stream(io.StringIO):
    """Standard error of the program."""


@settings(deadline=None)
@given(st.text(max_size=30) | st.text('\\" =n\n\x1b', max_size=12), st.text(max_size=9))
def test_no_value_can_make_a_line_or_a_field(value: str, other: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stream = _Stream()
        patch.setattr(sys, "stderr", stream)
        events.say("event", key=value, last=other)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    # What a careful reader of the log splits it into: quotes as a shell reads them.
    words = shlex.split(line[:-1].replace("'", "_").replace("#", "_"))
    assert [word.partition("=")[0] for word in words] == [
        "spasshd:",
        "event",
        "key",
        "last",
    ]


def test_an_error_has_its_hint_on_a_line_of_its_own(capsys: Capture) -> None:
    events.error("it broke", "mend it")
    assert said(capsys) == "spasshd: error: it broke\nspasshd: hint: mend it\n"
    events.error(ValueError("it broke"))
    assert said(capsys) == "spasshd: error: it broke\n"


def test_an_error_makes_no_other_line(capsys: Capture) -> None:
    events.error("a\nspasshd: granted user=root", "b\x1b]0;x\x07")
    assert said(capsys) == (
        "spasshd: error: a\\nspasshd: granted user=root\n"
        "spasshd: hint: b\\x1b]0;x\\x07\n"
    )


def test_a_line_is_written_at_once_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w", encoding="utf-8", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        events.say("granted", user="ada")
        assert os.read(read_end, 100) == b"spasshd: granted user=ada\n"
    os.close(read_end)


def test_a_log_that_is_gone_does_not_end_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    events.say("granted")
    events.error("it broke", "mend it")


class TestALimiter:
    def test_lets_so_many_lines_a_second_pass(self, capsys: Capture) -> None:
        now = 5.0
        limiter = events.Limiter(lambda: now, LINES)
        for number in range(LINES + 7):
            limiter.say("replayed", number=number)
        lines = said(capsys).splitlines()
        assert len(lines) == LINES
        assert lines[-1] == f"spasshd: replayed number={LINES - 1}"
        assert limiter.suppressed == 7
        now = 5.999
        limiter.say("replayed")
        assert said(capsys) == ""
        now = 6.0
        limiter.say("replayed")
        assert said(capsys) == "spasshd: suppressed lines=8\nspasshd: replayed\n"
        assert limiter.suppressed == 0

    def test_says_nothing_about_nothing(self, capsys: Capture) -> None:
        now = 5.0
        limiter = events.Limiter(lambda: now, LINES)
        for now in (5.0, 6.0, 7.0):  # noqa: B007 - the limiter reads it
            limiter.say("stale")
        assert said(capsys) == "spasshd: stale\n" * 3

    def test_starts_anew_each_second(self, capsys: Capture) -> None:
        now = 0.0
        limiter = events.Limiter(lambda: now, LINES)
        for second in range(3):
            now = float(second)
            for _ in range(LINES):
                limiter.say("stale")
        assert len(said(capsys).splitlines()) == 3 * LINES
