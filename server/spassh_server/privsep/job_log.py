"""What the log says about commands and hooks: how they ended, and what they printed."""

from collections.abc import Callable, Sequence
from typing import Final

from .. import events
from ..commands import Command, spell
from ..limits import HOOK_LINES_PER_SECOND, OUTPUT_LINES_PER_SECOND
from .job import Ended

OUTPUT_LINES: Final = 20
"""Most lines of one program's output."""
LINE_CHARACTERS: Final = 512


class JobLog:
    """Writes one line for each command, and some for failed hooks and for output."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._hooks = events.Limiter(monotonic, HOOK_LINES_PER_SECOND)
        self._output = events.Limiter(monotonic, OUTPUT_LINES_PER_SECOND)

    def command(
        self,
        user: str,
        address: str,
        command: Command,
        argv: Sequence[str],
        ended: Ended,
    ) -> None:
        """Say how the command of `user` ended, and what it printed."""
        events.say(
            "command",
            user=user,
            address=address,
            name=command.name,
            argv=spell(argv)[:LINE_CHARACTERS],
            run_as=command.run_as,
            status=ended.status,
            seconds=f"{ended.seconds:.2f}",
            printed=ended.printed,
        )
        self._say_output(command.name, ended)

    def hook(self, name: str, ended: Ended) -> None:
        """Say how the hook `name` ended, if it did not end well."""
        if ended.status == "0":
            return
        said = self._hooks.say(
            "hook",
            name=name,
            status=ended.status,
            seconds=f"{ended.seconds:.2f}",
            printed=ended.printed,
        )
        if said:
            self._say_output(name, ended)

    def _say_output(self, name: str, ended: Ended) -> None:
        lines = ended.output.decode(errors="replace").splitlines()
        for line in [line for line in lines if line.strip()][:OUTPUT_LINES]:
            self._output.say("output", name=name, text=line[:LINE_CHARACTERS])
