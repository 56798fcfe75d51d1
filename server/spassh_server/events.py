"""What the daemon says: one line for each decision, to the log that is open.

Until `open_log`, and so in every verb but `run`, that is standard error. Names are
stable: `granted`, `refused`, `replayed`, ... followed by key=value pairs.
"""

import contextlib
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from . import journal, syslog
from .clock import now_ms
from .localsocket import LocalSocket

LOGS: Final = ("auto", "stderr", "journal", "syslog", "json")
"""The kinds of logs. "auto" is the journal if standard error is that, else syslog. Then
standard error has the lines as well, unless it leads nowhere."""

_PIPE_BYTES = 4096
"""What a pipe that polls writable takes at once: PIPE_BUF of Linux."""

_INFO = 6
_PRIORITIES: Final = {
    "bug": 3,
    "error": 3,
    "failed": 3,
    "clock": 4,
    "replayed": 4,
    "store": 4,
    "suppressed": 4,
    "warning": 4,
    "refused": 5,
    "stale": 5,
}
"""Of syslog(3), 3 error to 5 notice; every other event is for information."""

_Log = Callable[[str, Mapping[str, object], list[str]], bool]
"""Takes an event, its fields and what people read; returns False if it could not."""


def say(event: str, **fields: object) -> None:
    """Write one line: the event's name and its fields."""
    words = [event] + [f"{key}={_quote(value)}" for key, value in fields.items()]
    _write(event, fields, [" ".join(words)])


def error(text: object, hint: str = "") -> None:
    """Write an error, and its remedy if there is one."""
    fields, lines = {"text": str(text)}, [f"error: {printable(str(text))}"]
    if hint:
        fields["hint"] = hint
        lines.append(f"hint: {printable(hint)}")
    _write("error", fields, lines)


def open_log(kind: str) -> None:
    """Write to a log of that kind, one of LOGS, from now on.

    It is called once, by a program that still is what it was started as. All that the
    log will need is opened and imported here.
    """
    global _log  # noqa: PLW0603 - a program has one log, as it has one standard error
    if sys.stderr is None:
        _keep_standard_descriptors()
    make = _prepared() if kind == "auto" else _MADE_BY[kind]
    _log = make()


def _keep_standard_descriptors() -> None:
    """Have 0 to 2 open, so that no key file or socket is ever called standard error."""
    fd = 0
    while fd <= 2:
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def _prepared() -> Callable[[], _Log]:
    """Return what makes the log that there is where the program was started."""
    status = os.fstat(2)
    # systemd.exec(5): the variable is inherited, so it may tell of another descriptor.
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return _to_journal
    nowhere = stat.S_ISCHR(status.st_mode) and os.path.samestat(
        status, os.stat(os.devnull)
    )
    if not os.path.exists(syslog.SOCKET):
        return lambda: _to_stderr
    return _to_syslog if nowhere else _to_both


def _to_both() -> _Log:
    to_syslog = _to_syslog()

    def write(event: str, fields: Mapping[str, object], lines: list[str]) -> bool:
        to_syslog(event, fields, lines)
        return _to_stderr(event, fields, lines)

    return write


def _to_journal() -> _Log:
    sock = LocalSocket(journal.SOCKET)

    def write(event: str, fields: Mapping[str, object], lines: list[str]) -> bool:
        priority = _PRIORITIES.get(event, _INFO)
        return sock.send(journal.entry(event, priority, "\n".join(lines), fields))

    return write


def _to_syslog() -> _Log:
    sock, pid = LocalSocket(syslog.SOCKET), os.getpid()

    def write(event: str, _: Mapping[str, object], lines: list[str]) -> bool:
        priority = _PRIORITIES.get(event, _INFO)
        when = time.localtime(now_ms() // 1000)
        sent = [sock.send(syslog.line(priority, one, pid, when)) for one in lines]
        return all(sent)

    return write


def _to_json() -> _Log:
    from json import JSONEncoder  # the granter has no memory to give away

    encode = JSONEncoder().encode

    def write(event: str, fields: Mapping[str, object], _: list[str]) -> bool:
        seconds, milliseconds = divmod(now_ms(), 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        values = {key: _plain(value) for key, value in fields.items()}
        head = {"time": f"{stamp}.{milliseconds:03}Z", "event": event}
        _print([encode(head | values)])
        return True

    return write


def _to_stderr(_event: str, _fields: Mapping[str, object], lines: list[str]) -> bool:
    _print([f"spasshd: {line}" for line in lines])
    return True


_MADE_BY: Final[dict[str, Callable[[], _Log]]] = {
    "journal": _to_journal,
    "syslog": _to_syslog,
    "json": _to_json,
    "stderr": lambda: _to_stderr,
}

_log: _Log = _to_stderr


def _write(event: str, fields: Mapping[str, object], lines: list[str]) -> None:
    if not _log(event, fields, lines):
        _to_stderr(event, fields, lines)


def _print(lines: list[str]) -> None:
    # A log that is full, gone or read by nobody is no reason to stop the guard.
    with contextlib.suppress(OSError):
        for line in lines:
            if sys.stderr is None or not _writable():
                return
            # One write, so that lines of the two programs never mix.
            sys.stderr.write(_cut(line) + "\n")
            sys.stderr.flush()


def _cut(line: str) -> str:
    """Return what of `line` a pipe that polls writable takes without waiting."""
    if len(line) < _PIPE_BYTES // 4:
        return line
    return line.encode(errors="replace")[: _PIPE_BYTES - 1].decode(errors="ignore")


def _writable() -> bool:
    """Tell whether a line can be written without waiting for whoever reads the log."""
    try:
        fd = sys.stderr.fileno()
    except (AttributeError, ValueError):
        return True  # no real file, as in a test
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _quote(value: object) -> str:
    # A backslash is doubled first: what follows adds backslashes that mean something.
    text = printable(str(value).replace("\\", "\\\\"))
    return (
        text
        if text and not set(text) & set(' "=')
        else '"' + text.replace('"', '\\"') + '"'
    )


def _plain(value: object) -> object:
    """Return what JSON has a form for, and any other value as text that is Unicode."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value).encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """Spell out what could move a terminal's cursor or begin a line of its own."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class Limiter:
    """Lets so many lines a second pass, and counts the others.

    Lines that others can provoke go through here, such as strangers who send a recorded
    packet again: they must not be able to fill a disk.
    """

    def __init__(self, monotonic: Callable[[], float], lines: int) -> None:
        """Let `lines` pass in each second of the clock `monotonic`."""
        self._monotonic = monotonic
        self._most = lines
        self._second = 0
        self._lines = 0
        self.suppressed = 0

    def say(self, event: str, **fields: object) -> bool:
        """Write a line unless there were too many in this second; tell whether."""
        room = self.has_room()
        if room:
            say(event, **fields)
        return room

    def error(self, text: object, hint: str = "") -> None:
        """Write an error unless there were too many lines in this second."""
        if self.has_room():
            error(text, hint)

    def has_room(self) -> bool:
        """Take the room for one line, or count it as suppressed; tell which."""
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
            if self.suppressed:
                say("suppressed", lines=self.suppressed)
                self.suppressed = 0
        if self._lines < self._most:
            self._lines += 1
            return True
        self.suppressed += 1
        return False
