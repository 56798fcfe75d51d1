import io
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spassh_server import events, journal, syslog
from spassh_server.limits import OTHER_LINES_PER_SECOND as LINES
from spassh_server.localsocket import LocalSocket

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

    def test_limits_errors_as_well(self, capsys: Capture) -> None:
        now = 5.0
        limiter = events.Limiter(lambda: now, 2)
        for _ in range(5):
            limiter.error("it broke", "mend it")
        line = "spasshd: error: it broke\nspasshd: hint: mend it\n"
        assert said(capsys) == line * 2
        now = 6.0
        limiter.error("it broke")
        assert said(capsys) == (
            "spasshd: suppressed lines=3\nspasshd: error: it broke\n"
        )


@pytest.fixture
def daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, socket.socket]]:
    """The two log daemons, on sockets of the test; the log is closed afterwards."""
    monkeypatch.setattr(events, "_log", events._to_stderr)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    opened: list[LocalSocket] = []

    def connect(path: str) -> LocalSocket:
        opened.append(LocalSocket(path))
        return opened[-1]

    monkeypatch.setattr(events, "LocalSocket", connect)
    sockets = {}
    for module in (journal, syslog):
        path = str(tmp_path / module.__name__)
        monkeypatch.setattr(module, "SOCKET", path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        sock.setblocking(False)
        sockets[module.__name__.partition(".")[2]] = sock
    yield sockets
    for connected in opened:
        connected.close()
    for sock in sockets.values():
        sock.close()


Daemons = dict[str, socket.socket]


def test_the_journal_gets_each_value_as_a_field(
    daemon: Daemons, capsys: Capture
) -> None:
    events.open_log("journal")
    events.say("granted", user="ada", note="a\x1bb")
    assert daemon["journal"].recv(1000) == (
        b"MESSAGE=granted user=ada note=a\\x1bb\nPRIORITY=6\n"
        b"SYSLOG_IDENTIFIER=spasshd\nSPASSH_EVENT=granted\n"
        b"SPASSH_USER=ada\nSPASSH_NOTE=a\x1bb\n"
    )
    assert said(capsys) == ""


def test_an_error_is_one_entry_of_the_journal(daemon: Daemons) -> None:
    events.open_log("journal")
    events.error("it\nbroke", "mend it")
    assert daemon["journal"].recv(1000) == (
        b"MESSAGE\n\x1e\0\0\0\0\0\0\0error: it\\nbroke\nhint: mend it\n"
        b"PRIORITY=3\nSYSLOG_IDENTIFIER=spasshd\nSPASSH_EVENT=error\n"
        b"SPASSH_TEXT\n\x08\0\0\0\0\0\0\0it\nbroke\n"
        b"SPASSH_HINT=mend it\n"
    )


def test_syslog_gets_the_same_lines(daemon: Daemons, capsys: Capture) -> None:
    events.open_log("syslog")
    events.say("refused", user="ada", reason="two words")
    events.error("it\nbroke", "mend it")
    me = f" spasshd[{os.getpid()}]: ".encode()
    got = [daemon["syslog"].recv(1000) for _ in range(3)]
    assert [one.partition(me)[2] for one in got] == [
        b'refused user=ada reason="two words"',
        b"error: it\\nbroke",
        b"hint: mend it",
    ]
    assert [one[:4] for one in got] == [b"<85>", b"<83>", b"<83>"]
    assert said(capsys) == ""


@pytest.mark.parametrize("kind", ["journal", "syslog"])
def test_what_no_log_daemon_takes_goes_to_standard_error(
    daemon: Daemons, capsys: Capture, kind: str
) -> None:
    events.open_log(kind)
    daemon[kind].close()
    events.say("granted", user="ada")
    events.error("it broke", "mend it")
    assert said(capsys) == (
        "spasshd: granted user=ada\nspasshd: error: it broke\nspasshd: hint: mend it\n"
    )


def test_json_is_one_object_for_each_line(
    daemon: Daemons, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "now_ms", lambda: 1_795_475_045_007)
    events.open_log("json")
    events.say("granted", user="ada", seconds=15, missing=None, ok=True)
    events.error("it\nbroke")
    assert said(capsys) == (
        '{"time": "2026-11-23T23:04:05.007Z", "event": "granted", "user": "ada",'
        ' "seconds": 15, "missing": null, "ok": true}\n'
        '{"time": "2026-11-23T23:04:05.007Z", "event": "error",'
        ' "text": "it\\nbroke"}\n'
    )


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("value", ["\x1b[2J\r\n", "\u2028", "\u202e", "\udcff", b"x"])
def test_no_value_leaves_its_place_in_json(capsys: Capture, value: object) -> None:
    events.open_log("json")
    events.say("bug", text=value)
    line = said(capsys)
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    told = str(value).encode(errors="backslashreplace").decode()
    assert json.loads(line)["text"] == told


PROGRAM = """
import os, sys
sys.path[:0] = {path!r}
for name in sys.argv[2:]:
    os.environ["JOURNAL_STREAM"] = name
if sys.argv[1] == "closed":
    os.close(2)
    sys.stderr = None
from spassh_server import events, journal, syslog
journal.SOCKET, syslog.SOCKET = {journal!r}, {syslog!r}
events.open_log("auto")
assert "json" not in sys.modules
events.say("granted", user="ada")
print(os.path.samestat(os.fstat(2), os.stat(os.devnull)))
"""


def start(*arguments: str, stderr: int) -> str:
    """Say an event in a program of its own whose log is "auto"; return its output."""
    here = [one for one in sys.path if one]
    code = PROGRAM.format(path=here, journal=journal.SOCKET, syslog=syslog.SOCKET)
    return subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=True,
        timeout=60,
        text=True,
    ).stdout


class TestAuto:
    def test_is_the_journal_if_standard_error_leads_there(
        self, daemon: Daemons, tmp_path: Path
    ) -> None:
        with (tmp_path / "stderr").open("w") as file:
            status = os.fstat(file.fileno())
            stream = f"{status.st_dev}:{status.st_ino}"
            start("", stream, stderr=file.fileno())
            assert daemon["journal"].recv(1000).startswith(b"MESSAGE=granted user=ada")
            # The variable may have come from a parent that is a service.
            start("", f"{status.st_dev}:{status.st_ino + 1}", stderr=file.fileno())
        assert (tmp_path / "stderr").read_text() == "spasshd: granted user=ada\n"
        assert daemon["syslog"].recv(1000).endswith(b": granted user=ada")

    def test_is_syslog_otherwise(self, daemon: Daemons) -> None:
        start("", stderr=subprocess.DEVNULL)
        assert daemon["syslog"].recv(1000).endswith(b": granted user=ada")

    def test_is_standard_error_as_well_if_that_leads_somewhere(
        self, daemon: Daemons
    ) -> None:
        near, far = os.pipe()
        try:
            start("", stderr=far)
            assert os.read(near, 1000) == b"spasshd: granted user=ada\n"
        finally:
            os.close(near)
            os.close(far)
        assert daemon["syslog"].recv(1000).endswith(b": granted user=ada")

    def test_is_standard_error_once_if_syslog_takes_nothing(
        self, daemon: Daemons, tmp_path: Path
    ) -> None:
        daemon["syslog"].close()
        with (tmp_path / "stderr").open("w") as file:
            start("", stderr=file.fileno())
        assert (tmp_path / "stderr").read_text() == "spasshd: granted user=ada\n"

    def test_makes_sure_that_nothing_else_becomes_standard_error(
        self, daemon: Daemons
    ) -> None:
        assert start("closed", stderr=subprocess.DEVNULL) == "True\n"
        assert daemon["syslog"].recv(1000).endswith(b": granted user=ada")

    def test_is_standard_error_where_nothing_else_is(
        self, daemon: Daemons, tmp_path: Path
    ) -> None:
        os.unlink(syslog.SOCKET)
        start("", stderr=subprocess.DEVNULL)
        with (tmp_path / "stderr").open("w") as file:
            start("", stderr=file.fileno())
        assert (tmp_path / "stderr").read_text() == "spasshd: granted user=ada\n"


def test_without_standard_error_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    events.say("granted")
    events.error("it broke", "mend it")


def test_a_line_is_no_longer_than_what_a_pipe_takes_at_once() -> None:
    """Else the daemon would wait for whoever reads its log, although poll said no."""
    script = (
        "from spassh_server import events\n"
        "events.say('output', text='\\x00' * 2000)\n"
        "events.say('granted', user='ada')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        timeout=60,
        check=True,
    )
    first, second = done.stderr.splitlines(keepends=True)
    assert len(first) == 4096
    assert second == b"spasshd: granted user=ada\n"
