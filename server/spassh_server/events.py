"""What the daemon says: one line for each decision, on standard error.

The service manager puts the lines into the journal. Names are stable: `granted`,
`refused`, `replayed`, ... followed by key=value pairs.
"""

import contextlib
import select
import sys
from collections.abc import Callable


def say(event: str, **fields: object) -> None:
    """Write one line: the event's name and its fields."""
    words = [event] + [f"{key}={_quote(value)}" for key, value in fields.items()]
    _write("spasshd: " + " ".join(words))


def error(text: object, hint: str = "") -> None:
    """Write an error, and its remedy if there is one."""
    _write(f"spasshd: error: {_printable(str(text))}")
    if hint:
        _write(f"spasshd: hint: {_printable(hint)}")


def _write(line: str) -> None:
    # A log that is full, gone or read by nobody is no reason to stop the guard.
    with contextlib.suppress(OSError):
        if not _writable():
            return
        # One write, so that lines of the two programs never mix.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


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
    text = _printable(str(value).replace("\\", "\\\\"))
    return (
        text
        if text and not set(text) & set(' "=')
        else '"' + text.replace('"', '\\"') + '"'
    )


def _printable(text: str) -> str:
    """Spell out what could move a terminal's cursor or begin a line of its own."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class Limiter:
    """Lets so many lines a second pass, and counts the others.

    Lines that somebody without a key can provoke, by sending a recorded packet again,
    go through here: they must not be able to fill a disk.
    """

    def __init__(self, monotonic: Callable[[], float], lines: int) -> None:
        """Let `lines` pass in each second of the clock `monotonic`."""
        self._monotonic = monotonic
        self._most = lines
        self._second = 0
        self._lines = 0
        self.suppressed = 0

    def say(self, event: str, **fields: object) -> None:
        """Write a line unless there were too many in this second."""
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
            if self.suppressed:
                say("suppressed", lines=self.suppressed)
                self.suppressed = 0
        if self._lines < self._most:
            self._lines += 1
            say(event, **fields)
        else:
            self.suppressed += 1
