"""Run the stand-ins without a process: for tests that take hundreds of steps."""

import contextlib
import io
import os
import tempfile
from collections.abc import Callable

from spassh_server.firewall.run import ProgramError

from . import ipfw, pfctl

Step = Callable[[], None]


class Direct:
    """Stands in for `run`; before and after each change it calls `look`."""

    def __init__(self, look: Step | None = None) -> None:
        self.look = look
        self.fail_at = -1
        """Die in this change, counted from 0."""
        self.changes = 0

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> bytes:
        words = list(arguments)
        if words[-1:] == ["/dev/stdin"]:
            # Line by line, as the real one reads it: packets come between the lines.
            lines = [line.split() for line in stdin.decode().splitlines()]
            for line in lines:
                self._once(program, [*words[:-1], *line], b"")
            return b""
        return self._once(program, words, stdin)

    def _once(self, program: str, words: list[str], stdin: bytes) -> bytes:
        changes = "list" not in words and "-n" not in words and "-s" not in words
        changes = changes and "show" not in words
        if changes:
            if self.changes == self.fail_at:
                raise KeyboardInterrupt
            self.changes += 1
        output = _main(program, words, stdin)
        if changes and self.look is not None:
            self.look()
        return output


def _main(program: str, words: list[str], stdin: bytes) -> bytes:
    name = os.path.basename(program)
    main = {"ipfw": ipfw.main, "pfctl": pfctl.main}[name]
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        tempfile.NamedTemporaryFile("wb", buffering=0) as file,
    ):
        file.write(stdin)
        status = main([program, *words], file.name)
    if status:
        raise ProgramError(program, status, errors.getvalue().partition("\n")[0])
    return output.getvalue().encode()
